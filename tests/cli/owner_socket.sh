#!/usr/bin/env bash
# Several processes in one data directory: the first owns it, the others ask it or only read.
set -euo pipefail
. "$(dirname "$0")/support.bash"

started=()
end_of_script() {
    local pid
    for pid in ${started[@]+"${started[@]}"}; do kill -KILL "$pid" 2>/dev/null || true; done
}

mark="stele_cli_$$_$RANDOM"
# wait.sh NAME MARK: begins, and ends when somebody makes the file NAME.go.
cat >wait.sh <<'SH'
touch "$1.running"
until [ -e "$1.go" ]; do sleep 0.05; done
echo '{"op": "insert", "region": "answers", "entry": {"text": "an answer"}}'
SH
# crew NAME LINES...: a crew whose one source waits for NAME.go.
crew() {
    local name=$1
    shift
    cat >"$name.yaml" <<YAML
stele: 1
crew: $name
regions:
  questions: {policy: append_only, entry: {text: string}}
  answers: {policy: append_only, entry: {text: string}}
sources:
  answer:
    kind: process
    command: [sh, wait.sh, $name, $mark]
    when: [{each: questions as q}]
    may: {read: [questions], write: {answers: [insert]}}
    limits: {attempts: 2, backoff: 10ms}
seed: {questions: [{text: a}]}
YAML
    printf '%s\n' "$@" >>"$name.yaml"
}
# begin NAME WORDS...: in the background, until its source runs; the process id goes to $pid.
begin() {
    local name=$1
    shift
    rm -f "$name.running"
    "$STELE" "$@" >"$name.out" 2>"$name.err" </dev/null &
    pid=$!
    started+=("$pid")
    wait_for 10 test -e "$name.running"
}
# ends NAME PID CODE
ends() {
    local code=0
    wait "$2" || code=$?
    cp "$1.out" out
    cp "$1.err" err
    check_code "$3" "$code" "the run of $1"
}

# ---- a second run goes through the owner, and has its own exit code ----
crew first 'stop: {goal: [{exists: answers}]}'
crew second 'stop: {goal: [{count: answers, is: {gte: 2}}]}'
begin first run first.yaml
first=$pid
if [ ! -S .stele/owner.sock ]; then fail "the owner has no socket"; fi
case $(stat -c %a .stele/owner.sock) in
*00) ;;
*) fail "others than its owner may use the socket: $(stat -c %A .stele/owner.sock)" ;;
esac
begin second run second.yaml
second=$pid
says second.out "second"
crew third
touch third.go
begin third run third.yaml --json
ends third "$pid" 0
all_json out
says out '"kind":"run_started"'
same "the exit code in the last line" 0 "$(tail -n 1 out | json_field exit_code)"

# ---- readers beside the owner ----
expect 0 "$STELE" boards --json
same "boards beside the owner" "first second third" "$(json_field board <out | tr '\n' ' ' | sed 's/ $//')"
expect 0 "$STELE" log --board first --json
all_json out
says out '"kind":"started"'
expect 0 "$STELE" show --board first --json
expect 0 "$STELE" show questions/1 --board second
expect 0 "$STELE" replay --verify --board third
expect 0 "$STELE" replay --verify --board first

# ---- what is wrong with a request comes back to the one that asked ----
expect 2 "$STELE" run third.yaml --board first
says err 'board "first" exists'
expect 3 "$STELE" run first.yaml --board first --continue
says err "running"
expect 4 "$STELE" resume --board nobody
says err "nobody"
expect 3 "$STELE" resume --board first
expect 3 "$STELE" boards rm first
says err "running"
expect 4 "$STELE" boards rm nobody
expect 0 "$STELE" boards rm third
expect 4 "$STELE" log --board third

# ---- a backup while both run ----
expect 0 "$STELE" backup copy
expect 0 "$STELE" boards --data copy
for board in first second; do expect 0 "$STELE" replay --verify --data copy --board $board; done
touch first.go

# ---- the owner's run ends before its guest's ----
wait_for 10 grep -q '^stopped' first.out
if ! kill -0 "$first" 2>/dev/null; then fail "the owner left while another run was going on"; fi
touch second.go
ends second "$second" 10
ends first "$first" 0
for board in first second; do expect 0 "$STELE" replay --verify --board $board; done
if [ -S .stele/owner.sock ]; then fail "the socket is left"; fi

# ---- an interrupt reaches only the run of the one that got it ----
rm -f ./*.go
begin first run first.yaml --board first_again
first=$pid
begin second run second.yaml --board second_again
second=$pid
kill -INT "$second"
sleep 0.3
kill -INT "$second"
ends second "$second" 130
says second.out "interrupt"
if ! kill -0 "$first" 2>/dev/null; then fail "the owner was interrupted as well"; fi
touch first.go
ends first "$first" 0
expect 0 "$STELE" show --board first_again --region answers --json
same "answers of the run that was not interrupted" 1 "$(lines_of out)"
expect 0 "$STELE" show --board second_again --region answers --json
same "answers of the run that was interrupted" 0 "$(lines_of out)"
if ! gone "$mark"; then fail "processes are left: $(alive "$mark")"; fi
touch second.go
expect 10 "$STELE" resume --board second_again
expect 0 "$STELE" replay --verify --board second_again

# ---- a guest that is killed is interrupted, and harms nobody ----
rm -f ./*.go
begin first run first.yaml --board first_third_time
first=$pid
begin second run second.yaml --board orphan
kill -KILL "$pid"
{ wait "$pid" || true; } 2>/dev/null
touch first.go second.go
ends first "$first" 0
expect 0 "$STELE" log --board orphan --json
says out '"kind":"run_stopped"'
expect 0 "$STELE" replay --verify --board orphan

# ---- an owner that was killed leaves its lock and its socket ----
rm -f ./*.go
begin first run first.yaml --board stale
kill -KILL "$pid"
{ wait "$pid" || true; } 2>/dev/null
if [ ! -S .stele/owner.sock ]; then fail "a killed owner's socket is expected to be left"; fi
wait_for 5 gone "$mark"
expect 0 "$STELE" log --board stale
expect 0 "$STELE" backup copy_of_stale
touch first.go
expect 0 "$STELE" resume --board stale
expect 0 "$STELE" replay --verify --board stale
touch third.go
expect 0 "$STELE" run third.yaml --board after_stale

# ---- a path too long for a socket: runs work, and a second one is told so ----
rm -f ./*.go
deep=$(printf 'd%.0s' $(seq 120))
begin first run first.yaml --data "$deep"
first=$pid
expect 3 "$STELE" run third.yaml --data "$deep"
says err "in use"
expect 0 "$STELE" log --data "$deep"
touch first.go
ends first "$first" 0

# ---- an owner that leaves just when a second run comes ----
for round in $(seq 8); do
    rm -f ./*.go
    begin first run first.yaml --board "leaving_$round" --quiet
    first=$pid
    "$STELE" run third.yaml --board "coming_$round" >third.out 2>third.err </dev/null &
    third=$!
    started+=("$third")
    sleep "0.0$((round - 1))"
    touch first.go third.go
    ends third "$third" 0
    ends first "$first" 0
done

# ---- what a guest prints ----
rm -f ./*.go
begin first run first.yaml --board hosting
first=$pid
touch third.go
expect 0 "$STELE" run third.yaml --board quiet_guest --quiet
says_not out "claimed"
says out "quiescence"
expect 0 "$STELE" run third.yaml --board quiet_json_guest --quiet --json
all_json out
same "lines of a guest's --quiet --json" 1 "$(lines_of out)"
same "the event that ends a guest's --json" stopped "$(tail -n 1 out | json_field event)"
# An entry far larger than a line of the socket.
cat >large.py <<'PYTHON'
import json
print(json.dumps({"op": "insert", "region": "answers", "entry": {"text": "x" * 6_000_000}}))
PYTHON
sed 's/command: .*/command: [python3, large.py]/; s/crew: third/crew: large/' third.yaml >large.yaml
expect 0 "$STELE" run large.yaml --quiet
expect 0 "$STELE" show answers/1 --board large --json
if [ "$(wc -c <out)" -lt 6000000 ]; then fail "the large entry is not on the board"; fi
touch first.go
ends first "$first" 0

# ---- a copy of a board that runs is gone on with, and the run that was copied is not touched ----
rm -f ./*.go
begin first run first.yaml --board copied
first=$pid
expect 0 "$STELE" backup live_copy
"$STELE" resume --data live_copy --board copied >copied.out 2>copied.err </dev/null &
copied=$!
started+=("$copied")
sleep 0.5
touch first.go
ends copied "$copied" 0
ends first "$first" 0
says_not out "killed"
expect 0 "$STELE" replay --verify --data live_copy --board copied
expect 0 "$STELE" replay --verify --board copied

finish
