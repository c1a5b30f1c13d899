#!/usr/bin/env bash
# Each wrong crew: `check` and `run` name every mistake with its place, and nothing is created.
set -euo pipefail
. "$(dirname "$0")/support.bash"

cp "$project"/tests/runtime/wrong_crews/*.yaml .
# The first lines of each file say how the mistakes begin: "# expect: 12:7: message".
cat >compare.py <<'PYTHON'
import sys
crew = sys.argv[1]
begin = "# expect: "
wanted = sorted(crew + ":" + line[len(begin):].rstrip("\n") for line in open(crew, encoding="utf-8") if line.startswith(begin))
found = sorted(line.rstrip("\n") for line in sys.stdin if ": warning: " not in line)
missing = [line for line in wanted if not any(other.startswith(line) for other in found)]
other = [line for line in found if not any(line.startswith(begins) for begins in wanted)]
for line in missing:
    print("    missing:", line)
for line in other:
    print("    unexpected:", line)
sys.exit(1 if missing or other or len(wanted) != len(found) else 0)
PYTHON

count=0
for crew in *.yaml; do
    count=$((count + 1))
    for command in check run; do
        code=0
        if [ "$command" = check ]; then
            "$STELE" check "$crew" >out 2>err </dev/null || code=$?
        else
            "$STELE" run "$crew" --data data/below >out 2>err </dev/null || code=$?
        fi
        check_code 2 "$code" "stele $command $crew"
        if ! python3 compare.py "$crew" <err; then fail "stele $command $crew tells other mistakes"; fi
        if grep -vE "^[^ ]*$crew:[0-9]+:[0-9]+: " err >stray; then
            fail "stele $command $crew has lines without file:line:column:"
            cat stray
        fi
        if [ -e .stele ] || [ -e data ]; then
            fail "stele $command $crew created a data directory"
            rm -rf .stele data
        fi
    done
    code=0
    "$STELE" check "$crew" --json >out 2>err </dev/null || code=$?
    check_code 2 "$code" "stele check $crew --json"
    all_json out
    same "mistakes of $crew in --json" "$(grep -c '^# expect: ' "$crew")" "$(grep -c '"severity":"error"' out || true)"
done
if [ "$count" -lt 20 ]; then fail "only $count wrong crews were found"; fi

# Beside a board that exists, nothing is added either.
cat >right.yaml <<'YAML'
stele: 1
crew: right
regions: {notes: {policy: append_only, entry: {text: string}}}
sources:
  write:
    kind: process
    command: [echo, '{"op": "insert", "region": "notes", "entry": {"text": "a"}}']
    when: [{start: true}]
    may: {write: {notes: [insert]}}
YAML
expect 0 "$STELE" run right.yaml
"$STELE" boards --json >before
expect 2 "$STELE" run ten_mistakes.yaml
expect 2 "$STELE" resume --crew ten_mistakes.yaml
same "boards after wrong crews" "$(cat before)" "$("$STELE" boards --json)"

finish
