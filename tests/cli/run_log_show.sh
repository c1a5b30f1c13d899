#!/usr/bin/env bash
# A small crew from its first run to its removal, with every command that looks at it.
set -euo pipefail
. "$(dirname "$0")/support.bash"

mkdir sources
cat >sources/count.py <<'PYTHON'
import json, sys
question = json.load(sys.stdin)["match"]["q"]
entry = {"question": question["id"], "words": len(question["entry"]["text"].split())}
print(json.dumps({"op": "insert", "region": "facts", "entry": entry, "cites": [question["id"]], "why": "counted"}))
print(json.dumps({"op": "increment", "region": "counted", "by": 1}))
print(json.dumps({"op": "note", "text": "counted " + question["id"]}))
print(json.dumps({"op": "cost", "tokens": 3}))
PYTHON
cat >sources/sum_up.py <<'PYTHON'
import json, sys
facts = json.load(sys.stdin)["view"]["facts"]
entry = {"name": "all", "words": sum(fact["entry"]["words"] for fact in facts)}
print(json.dumps({"op": "put", "region": "summary", "entry": entry, "cites": [fact["id"] for fact in facts]}))
PYTHON
cat >crew.yaml <<'YAML'
stele: 1
crew: counters
inputs:
  greeting: {type: string, default: "hello from the crew"}
regions:
  questions: {policy: append_only, entry: {text: string}}
  facts:     {policy: append_only, entry: {question: string, words: integer}}
  counted:   {policy: counter}
  long:      {policy: append_only, entry: {fact: string}}
  summary:   {policy: single_writer, owner: sum_up, key: [name], entry: {name: string, words: integer}}
sources:
  count:
    kind: process
    command: [python3, sources/count.py]
    when: [{each: questions as q}]
    may: {read: [questions], write: {facts: [insert], counted: [increment]}}
  long_ones:
    kind: rule
    when: [{each: facts as f, where: {words: {gte: 4}}}]
    then: [{insert: long, entry: {fact: $f.@id}}]
    may: {read: [facts], write: {long: [insert]}}
  sum_up:
    kind: process
    command: [python3, sources/sum_up.py]
    when: [{idle: true}, {exists: facts}]
    may: {read: [facts], write: {summary: [put]}}
seed:
  questions: [{text: "${inputs.greeting}"}, {text: one two}, {text: "three"}]
YAML

# ---- run ----
expect 0 "$STELE" run crew.yaml
says out 'the run begins on board "counters"'
says out "quiescence"
says out "stele show --board counters"
expect 0 "$STELE" run crew.yaml
says out 'the run begins on board "counters-2"'
expect 0 "$STELE" run crew.yaml --board other --input "greeting=only this"
says out 'the run begins on board "other"'

# ---- an existing board ----
expect 2 "$STELE" run crew.yaml --board counters
says err 'board "counters" exists'
says err "--continue"
"$STELE" show --board counters --json >before.json
expect 0 "$STELE" run crew.yaml --board counters --continue
says out 'the run begins on board "counters"'
same "the board after a second run that finds nothing to do" "$(cat before.json)" \
    "$("$STELE" show --board counters --json)"
expect 0 "$STELE" run crew.yaml --continue --quiet
says_not out "the run begins"
expect 0 "$STELE" boards --json
same "boards, the oldest first" "counters counters-2 other" "$(json_field board <out | tr '\n' ' ' | sed 's/ $//')"

# ---- --json and --quiet ----
expect 0 "$STELE" run crew.yaml --board lines --json
all_json out
cp out told.json
same "kinds of lines before the last" "" "$(sed '$d' out | grep -v '"kind":' || true)"
says <(tail -n 1 out) '"event":"stopped"'
same "exit code in the last line" 0 "$(tail -n 1 out | json_field exit_code)"
same "reason in the last line" quiescence "$(tail -n 1 out | json_field reason)"
same "cost in the last line" '{"tokens": 9}' "$(tail -n 1 out | json_field cost)"
expect 0 "$STELE" run crew.yaml --board quiet --quiet
says_not out "count #"
says out "quiescence"
expect 0 "$STELE" run crew.yaml --board quiet_lines --quiet --json
all_json out
same "lines of --quiet --json" 1 "$(lines_of out)"

# ---- log ----
expect 0 "$STELE" log --board counters
says out "run_started"
says out "run_stopped"
records=$(lines_of out)
expect 0 "$STELE" log --board counters --json
all_json out
same "records in --json" "$records" "$(lines_of out)"
same "positions" "$(seq "$records")" "$(json_field position <out)"
expect 0 "$STELE" log --board counters --last 3 --json
same "positions of --last 3" "$(seq $((records - 2)) "$records")" "$(json_field position <out)"
expect 0 "$STELE" log --board counters --from 2 --json
same "positions of --from 2" "$(seq 2 "$records")" "$(json_field position <out)"
expect 0 "$STELE" log --board counters --long
says out "three"
expect 0 "$STELE" log
same "the log without a name is the newest board's" "$("$STELE" log --board quiet_lines)" "$(cat out)"
same "records told by run --json" "$(sed '$d' told.json)" "$("$STELE" log --board lines --json)"

# ---- show ----
expect 0 "$STELE" show --board counters
says out "questions"
says out "append_only"
expect 0 "$STELE" show --board counters --json
all_json out
same "regions" "control counted facts long questions summary" \
    "$(json_field region <out | sort | tr '\n' ' ' | sed 's/ $//')"
expect 0 "$STELE" show --board counters --region facts --json
all_json out
same "facts" 3 "$(lines_of out)"
expect 0 "$STELE" show --board counters facts/1 --json
same "the fact's author" count "$(json_field author <out)"
same "the fact's cites" 1 "$(json_field cites <out | grep -c questions/)"
expect 0 "$STELE" show --board counters summary/1
says out "words"
says out "sum_up"
same "the sum of the words" '{"name": "all", "words": 7}' \
    "$("$STELE" show --board counters summary/1 --json | json_field entry)"

# Each version as it was: the entries that --json told up to it.
expect 0 "$STELE" log --board counters --json
cp out log.json
seeded=$(python3 -c '
import json
print(next(r["position"] for r in map(json.loads, open("log.json")) if r.get("author") == "seed"))')
expect 0 "$STELE" show --board counters --region questions --at "$seeded" --json
same "questions at the seed" 3 "$(lines_of out)"
expect 0 "$STELE" show --board counters --region questions --at $((seeded - 1)) --json
same "questions before the seed" 0 "$(lines_of out)"
expect 0 "$STELE" show --board counters --region facts --at "$seeded"
same "facts at the seed" 0 "$(lines_of out)"
expect 4 "$STELE" show --board counters facts/1 --at "$seeded"
says err "facts/1"
expect 4 "$STELE" show --board counters --at $((records + 1))
says err "record $records"

# ---- what is not there ----
expect 4 "$STELE" log --board countres
says err 'did you mean counters'
expect 4 "$STELE" show --board counters --region fact
says err 'did you mean facts'
expect 4 "$STELE" show --board counters facts/99
expect 2 "$STELE" show --board counters facts
expect 4 "$STELE" log --data nowhere
says err "nowhere"
same "a reader makes no data directory" "" "$(ls -d nowhere 2>/dev/null || true)"
expect 4 "$STELE" resume --data nowhere
same "resume makes no data directory" "" "$(ls -d nowhere 2>/dev/null || true)"
expect 4 "$STELE" resume --board countres
expect 4 "$STELE" retry --board countres
expect 4 "$STELE" boards rm countres
expect 2 "$STELE" run crew.yaml --input nonsense
expect 2 "$STELE" run crew.yaml --input nonsense=1
says err "nonsense"
expect 2 "$STELE" run no_such_file.yaml
says err "no_such_file.yaml"
expect 2 "$STELE" frobnicate
expect 2 "$STELE"
expect 2 "$STELE" replay --board counters
expect 2 "$STELE" log --color sometimes

# ---- check ----
expect 0 "$STELE" check crew.yaml
says out "facts"
expect 0 "$STELE" check crew.yaml --json

# ---- replay ----
for board in counters counters-2 other lines quiet; do
    expect 0 "$STELE" replay --verify --board $board
    says out "the same again"
done
expect 0 "$STELE" replay --verify --board counters --json
all_json out
same "the replay's answer" true "$(json_field same <out)"

# ---- backup, and the commands on it ----
expect 0 "$STELE" backup copy
expect 0 "$STELE" boards --data copy --json
same "boards in the backup" "$("$STELE" boards --json)" "$(cat out)"
for command in "log --json" "show --json" "show --json --region facts" "show summary/1"; do
    # shellcheck disable=SC2086
    same "$command of the backup" "$("$STELE" $command --board counters)" \
        "$("$STELE" $command --board counters --data copy)"
done
expect 0 "$STELE" replay --verify --board counters --data copy
expect 0 "$STELE" run crew.yaml --board counters --continue --data copy
same "the board that was copied stays as it was" "$records" "$("$STELE" log --board counters --json | wc -l)"
expect 2 "$STELE" backup copy
says err "copy"

# ---- removal ----
expect 0 "$STELE" boards rm counters
expect 4 "$STELE" log --board counters
expect 0 "$STELE" boards --json
says_not out '"counters"'
expect 0 "$STELE" replay --verify --board counters-2
expect 0 "$STELE" run crew.yaml
says out 'the run begins on board "counters"'
same "the name's new board begins anew" 1 "$("$STELE" log --board counters --json | head -n 1 | json_field position)"
expect 0 "$STELE" replay --verify --board counters

# ---- help ----
for command in "" run resume retry check log show boards "boards rm" backup replay; do
    # shellcheck disable=SC2086
    expect 0 "$STELE" $command --help
    if [ -n "$command" ]; then says out "Example"; fi
    says out "stele"
done
expect 0 "$STELE" --version
says out "stele "

# ---- the data directory from the environment ----
expect 0 env STELE_DATA=copy "$STELE" boards
says out counters

finish
