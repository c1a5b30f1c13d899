#!/usr/bin/env bash
# Every reason for which a run stops: its exit code, its words, and how it goes on afterwards.
set -euo pipefail
. "$(dirname "$0")/support.bash"

started=()
end_of_script() {
    local pid
    for pid in ${started[@]+"${started[@]}"}; do kill -KILL "$pid" 2>/dev/null || true; done
}

# ---- goal, and quiescence ----
cat >base.yaml <<'YAML'
stele: 1
crew: base
regions:
  questions: {policy: append_only, entry: {text: string}}
  answers: {policy: append_only, entry: {text: string}}
sources:
  answer:
    kind: process
    command: [sh, answer.sh]
    when: [{each: questions as q}]
    may: {read: [questions], write: {answers: [insert]}}
    limits: {attempts: 2, backoff: 10ms, concurrency: 1}
seed:
  questions: [{text: a}, {text: b}, {text: c}, {text: d}]
YAML
cat >answer.sh <<'SH'
sleep "${PAUSE:-0}"
echo '{"op": "insert", "region": "answers", "entry": {"text": "an answer"}}'
SH
# crew FILE LINES...: the crew above with more lines.
crew() {
    local file=$1
    shift
    cp base.yaml "$file"
    printf '%s\n' "$@" >>"$file"
}
answers() { "$STELE" show --board "$1" --region answers --json | wc -l | tr -d ' '; }

crew goal.yaml 'stop: {goal: [{count: answers, is: {gte: 2}}]}'
expect 0 "$STELE" run goal.yaml --board goal
says out "goal"
same "answers when the goal held" 2 "$(answers goal)"
expect 0 "$STELE" resume --board goal
same "answers after going on from a goal that holds" 2 "$(answers goal)"
expect 0 "$STELE" replay --verify --board goal

expect 0 "$STELE" run base.yaml --board quiet
says out "quiescence"
crew unmet.yaml 'stop: {goal: [{count: answers, is: {gte: 9}}]}'
expect 10 "$STELE" run unmet.yaml --board unmet
says out "quiescence"
says out "goal"
expect 10 "$STELE" resume --board unmet
same "answers after going on from quiescence" 4 "$(answers unmet)"
expect 0 "$STELE" resume --board unmet --crew goal.yaml

# ---- incomplete, and retry ----
cat >answer.sh <<'SH'
if [ ! -e ready ]; then echo "there is no file called ready" >&2; exit 7; fi
echo '{"op": "insert", "region": "answers", "entry": {"text": "an answer"}}'
SH
expect 11 "$STELE" run base.yaml --board incomplete
says out "incomplete"
says out "answer"
says out "there is no file called ready"
says out "stele retry --board incomplete"
expect 11 "$STELE" run base.yaml --board incomplete_lines --json
same "attempts that failed" 8 "$(grep -c '"outcome":"failed"' out)"
same "dead activations in the last line" 4 \
    "$(tail -n 1 out | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["dead"]))')"
expect 11 "$STELE" resume --board incomplete
same "answers while nothing is ready" 0 "$(answers incomplete)"
expect 11 "$STELE" retry --board incomplete
touch ready
one=$("$STELE" log --board incomplete_lines --json | grep '"kind":"dead"' | head -n 1 | json_field activation)
expect 11 "$STELE" retry --board incomplete_lines --activation "$one"
same "answers after one was tried again" 1 "$(answers incomplete_lines)"
expect 0 "$STELE" retry --board incomplete
same "answers after all were tried again" 4 "$(answers incomplete)"
for board in incomplete incomplete_lines; do expect 0 "$STELE" replay --verify --board $board; done

# ---- budget ----
crew budget.yaml 'stop: {limits: {activations: 2}}'
expect 13 "$STELE" run budget.yaml --board budget
says out "budget"
says out "2 activations"
same "answers when the budget was spent" 2 "$(answers budget)"
expect 13 "$STELE" resume --board budget
same "answers with a spent budget" 2 "$(answers budget)"
expect 0 "$STELE" resume --board budget --crew base.yaml
same "answers with a crew that allows more" 4 "$(answers budget)"
sed 's/concurrency: 1}/concurrency: 1, activations: 3}/' base.yaml >own_budget.yaml
expect 13 "$STELE" run own_budget.yaml --board own_budget
says out "budget"
says out "answer"
same "answers when the source's budget was spent" 3 "$(answers own_budget)"
for board in budget own_budget; do expect 0 "$STELE" replay --verify --board $board; done

# ---- deadline ----
cat >answer.sh <<'SH'
sleep 0.4
echo '{"op": "insert", "region": "answers", "entry": {"text": "an answer"}}'
SH
crew deadline.yaml 'stop: {limits: {wall: 600ms}, grace: 5s}'
expect 14 "$STELE" run deadline.yaml --board deadline
says out "deadline"
found=$(answers deadline)
if [ "$found" -lt 1 ] || [ "$found" -gt 3 ]; then fail "$found answers were written by the deadline"; fi
expect 14 "$STELE" resume --board deadline
expect 0 "$STELE" resume --board deadline --crew base.yaml
same "answers without a deadline" 4 "$(answers deadline)"
expect 0 "$STELE" replay --verify --board deadline

# ---- cycle ----
cat >hit.py <<'PYTHON'
import json, sys
request = json.load(sys.stdin)
text = request["match"]["b"]["entry"]["text"]
if sys.argv[2] == "counting":
    head, number = text.rsplit(" ", 1)
    text = f"{head} {int(number) + 1}"
print(json.dumps({"op": "insert", "region": sys.argv[1], "entry": {"text": text}}))
PYTHON
# players KIND NUMBER: a crew in which each wakes the next for ever.
players() {
    local kind=$1 number=$2 i next
    echo "stele: 1"
    echo "crew: players"
    echo "regions:"
    for ((i = 0; i < number; ++i)); do echo "  side_$i: {policy: append_only, entry: {text: string}}"; done
    echo "sources:"
    for ((i = 0; i < number; ++i)); do
        next=$(((i + 1) % number))
        echo "  player_$i:"
        echo "    when: [{each: side_$i as b}]"
        echo "    may: {read: [side_$i], write: {side_$next: [insert]}}"
        if [ "$kind" = rule ]; then
            echo "    kind: rule"
            echo "    then: [{insert: side_$next, entry: {text: \$b.text}}]"
        else
            echo "    kind: process"
            echo "    command: [python3, hit.py, side_$next, $kind]"
        fi
    done
    echo "seed: {side_0: [{text: the ball is over the net for the time 1}]}"
    # Without the detector the budget would be what stops it.
    echo "stop: {limits: {activations: 200}}"
}
for kind in rule plain counting; do
    for number in 2 3; do
        board=${kind}_$number
        players "$kind" "$number" >"$board.yaml"
        expect 15 "$STELE" run "$board.yaml" --board "$board"
        says out "cycle"
        for ((i = 0; i < number; ++i)); do says out "player_$i"; done
        expect 15 "$STELE" run "$board.yaml" --board "$board-lines" --json --quiet
        for ((i = 0; i < number; ++i)); do says <(json_field detail <out) "player_$i"; done
        says <(json_field detail <out) "side_0/"
        expect 0 "$STELE" replay --verify --board "$board"
    done
done
expect 15 "$STELE" resume --board rule_2
players rule 2 | sed '$d' >off.yaml
echo 'stop: {limits: {activations: 300}, cycle: "off"}' >>off.yaml
expect 13 "$STELE" run off.yaml --board off

# What else is done about a loop: its sources are paused, slowed, or somebody is asked.
cycle_crew() { # cycle_crew ON_CYCLE MORE: the same three players, and what is done about them
    players rule 3 | sed '/^seed:/d; /^stop:/d'
    if [ -n "${2:-}" ]; then echo "$2"; fi
    echo "seed: {side_0: [{text: over and over}]}"
    echo "stop: {cycle: {on_cycle: $1}, limits: {wall: 8s, activations: 5000}}"
}
cycle_crew pause >pause.yaml
expect 15 "$STELE" run pause.yaml --board pause
says out "player_2"
cycle_crew damp >damp.yaml
expect 14 "$STELE" run damp.yaml --board damp --json --quiet
firings=$("$STELE" log --board damp --json | grep -c '"author":"player_')
if [ "$firings" -lt 7 ] || [ "$firings" -gt 21 ]; then fail "a damped loop fired $firings times in 8 s"; fi
# It lets go of one of three, so the loop stays broken.
cycle_crew '{wake: referee}' '  referee:
    kind: rule
    when: [{each: control as c, where: {key: {matches: ^cycle/}}}]
    then: [{put: control, entry: {key: pause/player_0, value: false}}]
    may: {read: [control], write: {control: [put]}}' >wake.yaml
expect 15 "$STELE" run wake.yaml --board wake
expect 0 "$STELE" show --board wake --region control --json
says out '"key":"cycle/'
says out '"sources":["player_'
says out '"key":"pause/player_1","value":true'
for board in pause damp wake; do expect 0 "$STELE" replay --verify --board $board; done
sed 's/each: control as c, where: {key: {matches: ^cycle.}}/start: true/' wake.yaml >deaf.yaml
expect 2 "$STELE" check deaf.yaml
says err 'nothing of a loop would wake'

# What counts in a number of its own comes to something new each time: no cycle.
cat >count.py <<'PYTHON'
import json, sys
step = json.load(sys.stdin)["match"]["s"]["entry"]["number"]
if step < 30:
    print(json.dumps({"op": "insert", "region": "steps", "entry": {"number": step + 1}}))
PYTHON
cat >progress.yaml <<'YAML'
stele: 1
crew: progress
regions: {steps: {policy: append_only, entry: {number: integer}}}
sources:
  count:
    kind: process
    command: [python3, count.py]
    when: [{each: steps as s}]
    may: {read: [steps], write: {steps: [insert]}}
seed: {steps: [{number: 1}]}
stop: {goal: [{max: steps, field: number, is: {gte: 30}}]}
YAML
expect 0 "$STELE" run progress.yaml --board progress

# ---- interrupt ----
mark="stele_cli_$$_$RANDOM"
cat >slow.sh <<'SH'
# $1 only marks the process; $2 is how long it takes.
touch running
sleep "$2"
echo '{"op": "insert", "region": "answers", "entry": {"text": "an answer"}}'
SH
# slow_crew SECONDS GRACE
slow_crew() {
    sed "s/command: .*/command: [sh, slow.sh, $mark, \"$1\"]/" base.yaml
    echo "stop: {grace: $2}"
}
# interrupted BOARD CREW SIGNAL...: runs it, sends the signals while a source runs, waits.
interrupted() {
    local board=$1 file=$2 signal code=0
    shift 2
    rm -f running
    "$STELE" run "$file" --board "$board" >out 2>err </dev/null &
    local pid=$!
    started+=("$pid")
    wait_for 10 test -e running
    for signal in "$@"; do
        kill -"$signal" "$pid"
        sleep 0.2
    done
    local begin
    begin=$(date +%s%N)
    wait "$pid" || code=$?
    took_ms=$((($(date +%s%N) - begin) / 1000000))
    check_code 130 "$code" "$board, interrupted by $*"
    says out "interrupt"
    if ! gone "$mark"; then fail "$board: a process is left: $(alive "$mark")"; fi
}

slow_crew 1 10s >finishes.yaml
interrupted once finishes.yaml INT
same "the running source finished within the grace time" 1 "$(answers once)"
same "nothing else started" 1 "$("$STELE" log --board once --json | grep -c '"kind":"started"')"
sed -i 's/^sleep .*/sleep 0/' slow.sh
expect 0 "$STELE" resume --board once
same "answers after the interrupted run went on" 4 "$(answers once)"
expect 0 "$STELE" replay --verify --board once

sed -i 's/^sleep .*/sleep "$2"/' slow.sh
slow_crew 30 20s >twice.yaml
for signal in INT TERM; do
    interrupted "twice_$signal" twice.yaml "$signal" "$signal"
    if [ "$took_ms" -gt 3000 ]; then fail "interrupted twice, it still took $took_ms ms"; fi
    same "answers of an attempt that was ended" 0 "$(answers "twice_$signal")"
done
slow_crew 30 500ms >grace.yaml
interrupted grace grace.yaml INT
if [ "$took_ms" -gt 4000 ]; then fail "with a grace of 0.5 s it still took $took_ms ms"; fi
sed -i 's/^sleep .*/sleep 0/' slow.sh
for board in twice_INT twice_TERM grace; do
    expect 0 "$STELE" resume --board $board
    same "answers after $board went on" 4 "$(answers $board)"
    expect 0 "$STELE" replay --verify --board $board
done

finish
