#!/usr/bin/env bash
# What a data directory can go through: each answer is as before, or one line that says what is wrong.
set -euo pipefail
. "$(dirname "$0")/support.bash"

mounted=""
end_of_script() {
    if [ -n "$mounted" ]; then umount -l "$mounted" 2>/dev/null || true; fi
}
cat >crew.yaml <<'YAML'
stele: 1
crew: damage
regions:
  steps: {policy: append_only, entry: {number: integer, text: string}}
  doubled: {policy: append_only, entry: {of: string}}
sources:
  step:
    kind: process
    command: [python3, -S, -E, step.py]
    when: [{each: steps as s, where: {number: {lt: 12}}}]
    may: {read: [steps], write: {steps: [insert]}}
  double:
    kind: rule
    when: [{each: steps as s}]
    then: [{insert: doubled, entry: {of: $s.@id}}]
    may: {read: [steps], write: {doubled: [insert]}}
seed: {steps: [{number: 1, text: the first}]}
YAML
cat >step.py <<'PYTHON'
import json, sys
step = json.load(sys.stdin)["match"]["s"]["entry"]["number"] + 1
entry = {"number": step, "text": " ".join(str(step * i) for i in range(100))}
print(json.dumps({"op": "insert", "region": "steps", "entry": entry}))
PYTHON

# refused CODE COMMAND...: that exit, and one line that says why, with the path.
refused() {
    expect "$@"
    same "lines on standard error of $*" 1 "$(lines_of err)"
    says err "stele: "
}

# ---- a file, and a folder of somebody else ----
echo "not a directory" >file
refused 3 "$STELE" run crew.yaml --data file
says err file
refused 3 "$STELE" run crew.yaml --data file/below
refused 3 "$STELE" log --data file
same "the file" "not a directory" "$(cat file)"
mkdir foreign
echo important >foreign/letter.txt
refused 3 "$STELE" run crew.yaml --data foreign
says err foreign
refused 3 "$STELE" log --data foreign
same "the foreign folder" letter.txt "$(ls -A foreign)"

# ---- formats ----
expect 0 "$STELE" run crew.yaml --data good --quiet
for text in 'stele-data 4' 'stele-data 1' 'stele-data x' ''; do
    rm -rf other
    cp -r good other
    printf '%s\n' "$text" >other/FORMAT
    find other -type f -exec cksum {} + | sort >before
    refused 3 "$STELE" run crew.yaml --data other
    cp err run_err
    refused 3 "$STELE" log --data other
    refused 3 "$STELE" backup other_copy --data other
    find other -type f ! -name owner.lock -exec cksum {} + | sort >after
    same "the directory of format \"$text\"" "$(grep -v owner.lock before)" "$(cat after)"
    case $text in
    *4 | *1)
        says run_err "format ${text#stele-data }"
        says run_err "format 3"
        ;;
    esac
done

# ---- no permission ----
if [ "$(id -u)" != 0 ]; then
    other_user() { "$@"; }
    mkdir locked && chmod 500 locked
    cp -r good unreadable && chmod 000 unreadable/db
elif chroot --userspec=65534:65534 / test -x "$STELE" 2>/dev/null; then
    other_user() { chroot --userspec=65534:65534 / "$@"; }
    chmod 755 "$work"
    mkdir locked
    cp -r good unreadable && chmod 700 unreadable/db
else
    other_user() { return 99; }
    echo "skipped: no permission (root without another user to be)"
fi
if [ -d locked ]; then
    refused 3 other_user "$STELE" run "$work/crew.yaml" --data "$work/locked/data"
    says err locked
    says err "ermission"
    refused 3 other_user "$STELE" run "$work/crew.yaml" --data "$work/unreadable"
    says err "ermission"
    refused 3 other_user "$STELE" log --data "$work/unreadable"
    says err "ermission"
    if [ "$(id -u)" != 0 ]; then chmod 700 locked unreadable/db; fi
fi

# ---- a flipped bit ----
# `flat` has everything in tables, `good` in the write-ahead log.
cp -r good flat
"$STELE" backup --data flat unused >/dev/null
"$STELE" resume --data flat --quiet >/dev/null
cat >flip.py <<'PYTHON'
"""Flips one bit at a time in copies of the directories, and compares what the program says."""
import os, pathlib, random, re, shutil, subprocess, sys

stele, flips = sys.argv[1], int(sys.argv[2])
seed = int(os.environ.get("BAD_DATA_SEED") or random.SystemRandom().randrange(1_000_000))
print(f"seed {seed}")
rng = random.Random(seed)
LOOKS = [["log", "--json"], ["show", "--json", "--region", "steps"], ["show", "--json", "--region", "doubled"],
         ["replay", "--verify"]]  # fmt: skip
PLACE = re.compile(r"record \d+|byte \d+|offset|position \d+|\d{6}\.(log|sst)|MANIFEST|CURRENT|\.head")
failures = 0


def answer(directory, words):
    done = subprocess.run([stele, *words, "--data", directory], capture_output=True, text=True, errors="replace", check=False)
    return done.returncode, done.stdout, done.stderr


def complain(what, how):
    global failures
    failures += 1
    print(f"{what}: {how}")


def judge(what, words, before, after):
    """True when the damage was found."""
    code, out, err = after
    if (code, out) == before[:2]:
        return False
    if code not in (3, 20):
        complain(what, f"{' '.join(words)}: exit {code}, other answers than before: {err[-300:]}")
    elif words[0] != "replay" and not before[1].startswith(out):
        complain(what, f"{' '.join(words)}: wrong lines before the error")
    elif not PLACE.search(err + (out if code == 20 else "")):
        complain(what, f"{' '.join(words)}: no place in: {err}{out if code == 20 else ''}")
    return True


found = 0
for directory in ("good", "flat"):
    before = {tuple(words): answer(directory, words) for words in LOOKS}
    files = [path for path in sorted(pathlib.Path(directory).rglob("*"))
             if path.is_file() and re.search(r"\.(log|sst|head)$|MANIFEST|CURRENT", path.name)]  # fmt: skip
    for number in range(flips):
        # Mostly where the data is; a few in each of the others.
        weights = [3 if re.search(r"\.(log|sst)$", path.name) else 1 for path in files]
        path = rng.choices(files, weights)[0]
        if path.stat().st_size == 0:
            continue
        at, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
        shutil.rmtree("flipped", ignore_errors=True)
        shutil.copytree(directory, "flipped")
        damaged = bytearray(path.read_bytes())
        damaged[at] ^= 1 << bit
        (pathlib.Path("flipped") / path.relative_to(directory)).write_bytes(damaged)
        what = f"{path} byte {at} bit {bit} (seed {seed}, flip {number})"
        seen = [judge(what, words, before[tuple(words)], answer("flipped", words)) for words in LOOKS]
        # The owner must not make it worse: afterwards everything is as before, or it was refused.
        code, out, err = answer("flipped", ["resume", "--quiet"])
        if code == 0:
            _, log, _ = answer("flipped", ["log", "--json"])
            if not log.startswith(before[("log", "--json")][1]):
                complain(what, "resume went on with a log that has lost or changed records")
        elif code != 3:
            complain(what, f"resume: exit {code}: {err[-300:]}")
        else:
            seen.append(True)
            if not PLACE.search(err):
                complain(what, f"resume: no place in: {err}")
        found += any(seen)
print(f"{found} flips were found out")
sys.exit(1 if failures else 0)
PYTHON
if ! python3 flip.py "$STELE" "${BAD_DATA_FLIPS:-12}" >flips; then fail "a flipped bit:"; fi
cat flips

# A file that the database needs and that is gone.
for pattern in '*.sst' 'MANIFEST*' CURRENT; do
    rm -rf lost
    cp -r flat lost
    find lost/db -name "$pattern" -delete
    refused 3 "$STELE" log --data lost
    refused 3 "$STELE" resume --data lost
done

# ---- a torn tail ----
# Acknowledged at once and synced a little later, so that the newest records may be torn.
{ sed 's/lt: 12/lt: 100000/' crew.yaml; echo "durability: async"; } >async.yaml
torn=0
for round in 1 2 3 4 5 6 7 8; do
    rm -rf torn
    "$STELE" run async.yaml --data torn --quiet >out 2>err </dev/null &
    pid=$!
    # Counted from its first records, which a busy machine writes late.
    for _ in $(seq 200); do
        if [ -n "$(find torn/db -name '*.log' -size +0 2>/dev/null)" ]; then break; fi
        sleep 0.05
    done
    sleep "0.$((3 + round % 3))$round"
    kill -KILL "$pid"
    { wait "$pid" || true; } 2>/dev/null
    wal=$({ find torn/db -name '*.log' -size +0 2>/dev/null || true; } | sort | tail -n 1)
    if [ -z "$wal" ]; then continue; fi
    truncate -s -7 "$wal"
    "$STELE" log --data torn --json >before 2>err || true
    if ! grep -q '"kind":"claimed"' before; then continue; fi  # killed before it began to work
    records=$(lines_of before)
    # A crew that comes to an end.
    { sed 's/lt: 12/lt: 1/' crew.yaml; echo "durability: async"; } >ending.yaml
    code=0
    "$STELE" resume --data torn --crew ending.yaml --json >out 2>err </dev/null || code=$?
    if [ "$code" = 0 ]; then
        torn=$((torn + 1))
        says err "cut a torn record of"
        says err "$(basename "$wal")"
        "$STELE" log --data torn --json >after
        same "the records before the torn tail" "$(cksum <before)" "$(head -n "$records" after | cksum)"
        expect 0 "$STELE" replay --verify --data torn
    else
        # What was torn had been synced: that is no torn tail but a loss.
        check_code 3 "$code" "stele resume after a loss"
        says err "had been written to disk"
    fi
done
if [ "$torn" = 0 ]; then fail "no torn tail was cut in eight rounds"; fi

# Half a record behind the last whole one, as a power cut leaves it.
rm -rf torn
cp -r good torn
wal=$(find torn/db -name '*.log' -size +0 | sort | tail -n 1)
printf '\x11\x22\x33\x44\xc8\x00\x01half a record' >>"$wal"
"$STELE" log --data good --json >before
same "what a reader sees beside a torn tail" "$(cat before)" "$("$STELE" log --data torn --json)"
expect 0 "$STELE" resume --data torn
says err "cut a torn record of 20 bytes at the end of $(basename "$wal")"
"$STELE" log --data torn --json >after
same "the records before the torn tail" "$(cat before)" "$(head -n "$(lines_of before)" after)"
expect 0 "$STELE" replay --verify --data torn
expect 0 "$STELE" resume --data torn
says_not err "torn"

# What was synced and is gone is no torn tail.
rm -rf torn
cp -r good torn
truncate -s -7 "$(find torn/db -name '*.log' -size +0 | sort | tail -n 1)"
refused 3 "$STELE" log --data torn
says err "had been written to disk"
expect 3 "$STELE" resume --data torn
says err "record $(lines_of before)"

# ---- a full disk ----
mkdir small
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=12m stele_cli small 2>/dev/null; then
    mounted="$work/small"
    cat >fill.py <<'PYTHON'
import json, random, sys
step = json.load(sys.stdin)["match"]["s"]["entry"]["number"] + 1
text = "%x" % random.Random(step).getrandbits(1_600_000)
print(json.dumps({"op": "insert", "region": "steps", "entry": {"number": step, "text": text}}))
PYTHON
    sed 's/step.py/fill.py/; s/lt: 12/lt: 60/' crew.yaml >fill.yaml
    expect 3 "$STELE" run fill.yaml --data small/data --json
    cp out told
    same "lines about the full disk" 1 "$(lines_of err)"
    says err "No space left"
    says err small/data
    mount -o remount,size=200m small
    expect 0 "$STELE" resume --data small/data --quiet
    "$STELE" log --data small/data --json >after
    grep '"kind"' told >acknowledged || true
    same "what had been acknowledged" "$(cksum <acknowledged)" "$(head -n "$(lines_of acknowledged)" after | cksum)"
    if [ "$(lines_of acknowledged)" -lt 10 ]; then fail "only $(lines_of acknowledged) records before the disk was full"; fi
    expect 0 "$STELE" show --data small/data --region steps --json
    same "steps in the end" 60 "$(lines_of out)"
    expect 0 "$STELE" replay --verify --data small/data
else
    echo "skipped: a full disk (needs to mount a small file system)"
fi

finish
