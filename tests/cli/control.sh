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

# ---- a source ranks the agenda ----
cat >chooser.py <<'PY'
# Ranks what could start by what its job pays.
import json, sys

activation = json.load(sys.stdin)
pays = {job["id"]: job["entry"]["pays"] for job in activation["view"]["jobs"]}
for shown in activation["view"]["agenda"]:
    assert shown["entry"]["source"] == "work", shown
    number = shown["id"].split("/")[1]
    print(json.dumps({"op": "put", "region": "control", "why": "what it pays",
                      "entry": {"key": "rank/" + number, "value": pays[shown["entry"]["bound"]["j"]]}}))
PY
cat >ranked.yaml <<'YAML'
stele: 1
crew: ranked
control: chooser
regions:
  jobs: {policy: append_only, entry: {n: integer, pays: integer}}
  done: {policy: append_only, entry: {n: integer}}
sources:
  work:
    kind: rule
    when: [{each: jobs as j}]
    then: [{insert: done, entry: {n: $j.n}}]
    may: {read: [jobs], write: {done: [insert]}}
  more:
    kind: rule
    priority: 5
    when: [{each: done as d, where: {n: 4}}]
    then: [{insert: jobs, entry: {n: 5, pays: 8}}]
    may: {read: [done], write: {jobs: [insert]}}
  chooser:
    kind: process
    command: [python3, chooser.py]
    when: [{each: agenda as a, where: {source: work}}]
    wake: batch
    view: [{region: agenda, where: {source: work}}, jobs]
    may: {read: [agenda, jobs], write: {control: [put]}}
seed: {jobs: [{n: 1, pays: 3}, {n: 2, pays: 9}, {n: 3, pays: 1}, {n: 4, pays: 7}]}
YAML
done_by() { "$STELE" show --region done --data "$1" --json | sed -n 's/.*"n":\([0-9]*\).*/\1/p' | tr '\n' ' '; }
expect 0 "$STELE" check ranked.yaml
says out "and as chooser ranks it"
says_not err warning
expect 0 "$STELE" run ranked.yaml --data ranked --quiet
same "by what the source gave them" "2 4 5 1 3 " "$(done_by ranked)"
"$STELE" log --data ranked --json >log
says log '"rank":9,"ranked_by":"chooser"'
same "wakes of who ranks" 2 "$(grep -c '"kind":"claimed"' log)"
expect 0 "$STELE" show --data ranked --region agenda --json
same "entries of an agenda on which nothing is left" 0 "$(wc -l <out)"
expect 0 "$STELE" replay --verify --data ranked
# Paused, or dead, it holds nobody up.
sed 's/^seed: {/seed: {control: [{key: pause\/chooser, value: true}], /' ranked.yaml >unranked.yaml
expect 0 "$STELE" run unranked.yaml --data unranked --quiet
same "by the strategy" "1 2 3 4 5 " "$(done_by unranked)"
sed 's/\[python3, chooser.py\]/[sh, -c, "exit 3"]\n    limits: {attempts: 1}/' ranked.yaml >broken.yaml
expect 11 "$STELE" run broken.yaml --data broken --quiet
same "though who ranks is dead" "1 2 3 4 5 " "$(done_by broken)"
expect 0 "$STELE" replay --verify --data broken
sed 's/^control: chooser/control: choser/' ranked.yaml >typo.yaml
expect 2 "$STELE" check typo.yaml
says err 'did you mean "chooser"?'
says_not err 'no region "agenda"'

finish
