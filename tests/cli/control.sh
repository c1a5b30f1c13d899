#!/usr/bin/env bash
# Control is data on the board: strategies, scores, focus, pauses, and what wakes at an impasse.
set -euo pipefail
. "$(dirname "$0")/support.bash"

# order FILE: the numbers that `work` took up, in the order in which it did.
order() { sed -n 's/.*"author":"work".*"n":\([0-9]*\).*/\1/p' "$1" | tr '\n' ' '; }

crew() { # crew CONTROL MORE: a crew whose rule works off five jobs
    cat <<YAML
stele: 1
crew: jobs
durability: memory
control: $1
regions:
  jobs: {policy: append_only, entry: {n: integer, value: number}}
  urgent: {policy: append_only, entry: {n: integer}}
  done: {policy: append_only, entry: {n: integer}}
sources:
  work:
    kind: rule
    when: [{each: jobs as j}]
    then: [{insert: done, entry: {n: \$j.n}}]
    may: {read: [jobs], write: {done: [insert]}}
$2
seed: {jobs: [{n: 1, value: 5}]}
YAML
}
more='  grow:
    kind: rule
    priority: 9
    when: [{each: jobs as j, where: {n: {lt: 5}}}]
    then: [{insert: jobs, entry: {n: 5, value: 1}}]
    may: {read: [jobs], write: {jobs: [insert]}}'

# ---- strategies ----
five='seed: {jobs: [{n: 1, value: 5}, {n: 2, value: 9}, {n: 3, value: 1}, {n: 4, value: 7}]}'
score='    score: "$j.value * 10 - cost.money"
    cost: {money: 2}'
taken() { # taken CONTROL [KEYS OF work]
    crew "$1" "" | sed "s/^seed:.*/$five/" >crew.yaml
    if [ -n "${2:-}" ]; then
        python3 - "$2" <<'PY'
import sys
text = open("crew.yaml").read()
open("crew.yaml", "w").write(text.replace("    kind: rule\n", "    kind: rule\n" + sys.argv[1] + "\n", 1))
PY
    fi
    rm -rf data
    expect 0 "$STELE" run crew.yaml --data data --quiet
    "$STELE" show --region done --data data --json | sed -n 's/.*"n":\([0-9]*\).*/\1/p' | tr '\n' ' '
}
same "by bound ids, all else equal" "1 2 3 4 " "$(taken priority)"
same "by score" "2 4 1 3 " "$(taken score "$score")"
same "a score counts only under its strategy" "1 2 3 4 " "$(taken breadth "$score")"
"$STELE" log --data data --json >plain
taken score "$score" >/dev/null
"$STELE" log --data data --json >log
says log '"rating":88'
says log '"rating_terms":{"score":"$j.value * 10 - cost.money","strategy":"score","terms":{"$j.value":9,"cost.money":2}}'
says_not plain rating_terms
expect 0 "$STELE" replay --verify --data data

# Newest first: what a rule has just written goes before what has waited.
cat >chain.yaml <<'YAML'
stele: 1
crew: chain
durability: memory
control: depth
regions:
  steps: {policy: append_only, entry: {of: string, n: integer}}
sources:
  go:
    kind: rule
    when: [{each: steps as s, where: {n: {lt: 3}}}, {each: steps as t, where: {of: next, n: $s.n}}]
    then: [{insert: steps, entry: {of: $s.of, n: 3}}]
    may: {read: [steps], write: {steps: [insert]}}
YAML
sed -i 's/{each: steps as t, where: {of: next, n: $s.n}}/{none: steps, where: {of: $s.of, n: {gt: 2}}}/' chain.yaml
echo 'seed: {steps: [{of: a, n: 1}, {of: b, n: 1}]}' >>chain.yaml
expect 0 "$STELE" run chain.yaml --data chain --quiet
expect 0 "$STELE" replay --verify --data chain

# ---- a source changes the strategy in the middle of a run ----
cat >swap.yaml <<'YAML'
stele: 1
crew: swap
durability: memory
regions:
  jobs: {policy: append_only, entry: {n: integer}}
  done: {policy: append_only, entry: {n: integer}}
sources:
  work:
    kind: rule
    when: [{each: jobs as j}]
    then: [{insert: done, entry: {n: $j.n}}]
    may: {read: [jobs], write: {done: [insert]}}
  turn:
    kind: rule
    priority: 5
    when: [{each: done as d, where: {n: 2}}]
    then:
      - {put: control, entry: {key: focus/odd, value: {weight: 3, source: late}}}
      - {put: control, entry: {key: strategy, value: lifo}}
    may: {read: [done], write: {control: [put]}}
  late:
    kind: rule
    when: [{each: jobs as j, where: {n: 4}}]
    then: [{insert: done, entry: {n: 40}}]
    may: {read: [jobs], write: {done: [insert]}}
seed: {jobs: [{n: 1}, {n: 2}, {n: 3}, {n: 4}]}
YAML
expect 0 "$STELE" run swap.yaml --data swap --quiet
"$STELE" log --data swap --json >log
says log '"rating_terms":{"focus":{"odd":3},"priority":0,"strategy":"lifo"}'
says log '"rating":3'
expect 0 "$STELE" show --region control --data swap
says out 'focus/odd'
expect 0 "$STELE" replay --verify --data swap

# What does not fit is refused before anything starts, and when it comes from outside.
sed 's/value: lifo/value: sideways/' swap.yaml >wrong.yaml
expect 2 "$STELE" run wrong.yaml --data wrong --quiet
says err 'found string "sideways"'

# ---- a person pauses, focuses and lets go ----
crew priority "" >person.yaml
expect 0 "$STELE" run person.yaml --data person --quiet
expect 0 "$STELE" control strategy depth --data person
expect 0 "$STELE" control focus hot --weight 4 --region jobs --data person
expect 0 "$STELE" show --region control --data person
says out depth
says out focus/hot
code=0
"$STELE" control strategy sideways --data person >out 2>err || code=$?
if [ "$code" = 0 ]; then fail "a strategy that there is not was taken"; fi
says err sideways
expect 0 "$STELE" replay --verify --data person
code=0
"$STELE" control pause work --data nowhere >out 2>err || code=$?
says err "no data directory"

# ---- paused work is waited for, and said ----
cat >held.yaml <<'YAML'
stele: 1
crew: held
regions:
  jobs: {policy: append_only, entry: {n: integer}}
  done: {policy: append_only, entry: {n: integer}}
sources:
  brake:
    kind: rule
    priority: 9
    when: [{each: jobs as j, where: {n: 1}}]
    then: [{put: control, entry: {key: pause/work, value: true}}]
    may: {read: [jobs], write: {control: [put]}}
  work:
    kind: process
    command: [sh, -c, 'echo "{\"op\":\"insert\",\"region\":\"done\",\"entry\":{\"n\":1}}"']
    when: [{each: jobs as j}]
    may: {read: [jobs], write: {done: [insert]}}
seed: {jobs: [{n: 1}, {n: 2}]}
YAML
code=0
"$STELE" run held.yaml --data held --quiet >out 2>err || code=$?
check_code 12 "$code" "a run whose work is paused"
says out "held back by the region control: work"
expect 0 "$STELE" control resume work --data held
expect 0 "$STELE" resume --data held --quiet
same "jobs done" 2 "$("$STELE" show --region done --data held --json | wc -l)"
expect 0 "$STELE" replay --verify --data held

# ---- an impasse wakes whoever knows a way out ----
cat >impasse.yaml <<'YAML'
stele: 1
crew: impasse
durability: memory
regions:
  tries: {policy: append_only, entry: {n: integer}}
  found: {policy: append_only, entry: {by: string}}
sources:
  first:
    kind: rule
    when: [{start: true}]
    then: [{insert: tries, entry: {n: 1}}]
    may: {write: {tries: [insert]}}
  rescue:
    kind: rule
    when: [{impasse: true}, {exists: tries}]
    then: [{insert: found, entry: {by: rescue}}]
    may: {read: [tries], write: {found: [insert]}}
stop: {goal: [{exists: found}]}
YAML
expect 0 "$STELE" run impasse.yaml --data impasse --quiet
says out goal
expect 0 "$STELE" replay --verify --data impasse
# Without a goal nothing is missing, so nobody is woken.
sed '/^stop:/d' impasse.yaml >none.yaml
expect 0 "$STELE" run none.yaml --data none --quiet
same "found without a goal" 0 "$("$STELE" show --region found --data none --json | wc -l)"
# And where nobody knows a way out, the run says what is missing.
sed 's/{exists: tries}/{exists: found}/; s/read: \[tries\]/read: [tries, found]/' impasse.yaml >lost.yaml
code=0
"$STELE" run lost.yaml --data lost --quiet >out 2>err || code=$?
says out "the goal is not reached"

finish
