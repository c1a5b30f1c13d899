# shellcheck shell=bash
# What the scripts of this folder share: the program, a folder of their own, and words for what must
# hold. A script goes on after a failure, so that one run shows all of them; `finish` ends it.

STELE=$(realpath "${STELE:?names the program to test}")
# shellcheck disable=SC2034  # for the scripts
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/stele-cli-XXXXXX")
failures=0
trap 'clean_up' EXIT
cd "$work" || exit 1

clean_up() {
    if declare -F end_of_script >/dev/null; then end_of_script; fi
    rm -rf "$work"
}

fail() {
    failures=$((failures + 1))
    printf 'FAILED: %s\n' "$*"
}

finish() {
    if [ "$failures" -gt 0 ]; then
        printf '%d failed\n' "$failures"
        exit 1
    fi
    echo "all passed"
}

# expect CODE COMMAND...: runs it, its output goes to out and err in the working folder.
expect() {
    local wanted=$1 code=0
    shift
    "$@" >out 2>err </dev/null || code=$?
    check_code "$wanted" "$code" "$*"
}

check_code() {
    if [ "$1" = "$2" ]; then return; fi
    fail "expected exit $1, found $2: $3"
    show_output
}

show_output() {
    head -n 12 out | cut -c 1-400 | sed 's/^/    out: /'
    tail -n 12 err | cut -c 1-400 | sed 's/^/    err: /'
}

# says FILE TEXT: the text stands in the file.
says() {
    if grep -qF -- "$2" "$1"; then return; fi
    fail "\"$2\" is not in $1, which says:"
    head -n 12 "$1" | cut -c 1-400 | sed 's/^/    /'
}

says_not() {
    if grep -qF -- "$2" "$1"; then fail "\"$2\" is in $1"; fi
}

# lines_of FILE: how many there are.
lines_of() { wc -l <"$1" | tr -d ' '; }

# same WHAT WANTED FOUND
same() {
    if [ "$2" != "$3" ]; then fail "$1: expected \"$2\", found \"$3\""; fi
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" 2>/dev/null; do
        if [ "$SECONDS" -ge "$end" ]; then
            fail "waited in vain for: $*"
            return 0
        fi
        sleep 0.05
    done
}

# json_field FIELD: of each JSON line on standard input that has it.
json_field() {
    python3 -c '
import json, sys
for line in sys.stdin:
    value = json.loads(line).get(sys.argv[1])
    if value is not None:
        print(value if isinstance(value, str) else json.dumps(value, sort_keys=True))' "$1"
}

# all_json FILE: each line is one JSON object, and there is at least one.
all_json() {
    python3 - "$1" <<'PYTHON' || fail "$1 is not one JSON object a line"
import json, sys
lines = open(sys.argv[1], encoding="utf-8").read().splitlines()
assert lines, "no line at all"
for line in lines:
    assert isinstance(json.loads(line), dict), line
PYTHON
}

# alive MARK: processes whose command line holds the mark, but for this script's own children
# that look for it.
alive() {
    local file
    for file in /proc/[0-9]*/cmdline; do
        if tr "\0" " " 2>/dev/null <"$file" | grep -qF -- "$1"; then
            file=${file#/proc/}
            echo "${file%/cmdline}"
        fi
    done
}

gone() { [ -z "$(alive "$1")" ]; }
