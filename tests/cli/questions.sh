#!/usr/bin/env bash
# A report says 12.4 %: who wrote that first, what had they seen, what came of it.
set -euo pipefail
. "$(dirname "$0")/support.bash"

mkdir sources
cat >sources/survey.py <<'PYTHON'
import json, sys
given = json.load(sys.stdin)
for name, text in [("churn", "Churn rose to 12.4 % in Q3"), ("price", "Prices rose by 3 percent")]:
    print(json.dumps({"op": "insert", "region": "evidence", "entry": {"topic": name, "text": text},
                      "why": "read in the survey"}))
PYTHON
cat >sources/analyse.py <<'PYTHON'
import json, sys
evidence = json.load(sys.stdin)["match"]["e"]
entry = {"topic": evidence["entry"]["topic"], "churn": 0.124}
print(json.dumps({"op": "insert", "region": "claims", "entry": entry, "cites": [evidence["id"]], "as": "c1"}))
print(json.dumps({"op": "insert", "region": "claims", "entry": {"topic": "own lines", "churn": 0.124}, "cites": ["$c1"]}))
PYTHON
cat >sources/report.py <<'PYTHON'
import json, sys
claims = json.load(sys.stdin)["view"]["claims"]
print(json.dumps({"op": "put", "region": "report", "entry": {"name": "main", "text": "12.40 percent churn"},
                  "cites": [claim["id"] for claim in claims]}))
PYTHON
cat >sources/rumour.py <<'PYTHON'
import json
print(json.dumps({"op": "insert", "region": "notes", "entry": {"text": "somebody said 12.4%"}}))
PYTHON
cat >crew.yaml <<'YAML'
stele: 1
crew: survey
regions:
  questions: {policy: append_only, entry: {text: string}}
  evidence:  {policy: append_only, entry: {topic: string, text: string}}
  claims:    {policy: append_only, entry: {topic: string, churn: number}}
  notes:     {policy: append_only, entry: {text: string}}
  report:    {policy: single_writer, owner: report, key: [name], entry: {name: string, text: string}}
  silence:   {policy: append_only, entry: {text: string}}
sources:
  survey:
    kind: process
    command: [python3, sources/survey.py]
    when: [{each: questions as q}]
    may: {read: [questions], write: {evidence: [insert]}}
  analyse:
    kind: process
    command: [python3, sources/analyse.py]
    when: [{each: evidence as e, where: {topic: churn}}]
    may: {read: [evidence], write: {claims: [insert]}}
  silent:
    kind: process
    command: ["true"]
    when: [{each: evidence as e, where: {topic: churn}}]
    may: {read: [evidence], write: {silence: [insert]}}
  report:
    kind: process
    command: [python3, sources/report.py]
    when: [{idle: true}, {exists: claims}, {none: report}]
    may: {read: [claims, report], write: {report: [put]}}
  rumour:
    kind: process
    command: [python3, sources/rumour.py]
    when: [{exists: report}]
    may: {read: [report], write: {notes: [insert]}}
seed: {questions: [{text: how is churn?}]}
YAML
expect 0 "$STELE" run crew.yaml

# ---- why ----
expect 0 "$STELE" why report/1
for word in "report/1 v1" "cites claims/1 v1" "cites evidence/1 v1" "woken by questions/1 v1" seed "told elsewhere" \
    "read in the survey" "from outside"; do
    says out "$word"
done
expect 0 "$STELE" why report/1 --depth 1
says out "more below it: --depth 2 shows it"
says_not out "evidence/1"
expect 0 "$STELE" why report/1 --json
all_json out
same "entries in the tree" "report/1 claims/1 claims/2 evidence/1 questions/1" "$(json_field id <out | tr '\n' ' ' | sed 's/ $//')"
same "the report's cites" 2 "$(head -n 1 out | json_field supports | grep -o cited | wc -l)"
same "who asked" bound "$(tail -n 2 out | head -n 1 | python3 -c 'import json,sys; print(json.load(sys.stdin)["supports"][0]["kind"])')"
expect 4 "$STELE" why report/7
says err "report/7"
expect 2 "$STELE" why report
expect 2 "$STELE" why report/1 --graph png
says err "dot, mermaid or svg"

# ---- graphs, read by programs that are not ours ----
expect 0 "$STELE" why report/1 --graph svg
python3 - out <<'PYTHON' || fail "the SVG is no XML with five boxes"
import sys, xml.dom.minidom
document = xml.dom.minidom.parse(sys.argv[1])
assert document.documentElement.tagName == "svg"
assert len(document.getElementsByTagName("rect")) == 6, "five boxes and the ground"
assert len(document.getElementsByTagName("line")) == 5
PYTHON
expect 0 "$STELE" why report/1 --graph dot
if command -v dot >/dev/null; then dot -Tplain out >plain || fail "dot cannot read it"; fi
expect 0 "$STELE" impact evidence/1 --graph mermaid
says out "flowchart TD"

# ---- impact ----
expect 0 "$STELE" impact evidence/1
for word in "cited by claims/1" "cited by claims/2" "cited by report/1" "it woke 1 activation that wrote nothing"; do
    says out "$word"
done
says_not out notes
expect 0 "$STELE" impact questions/1 --json
all_json out
same "what came of the question" "questions/1 evidence/1 evidence/2 claims/1 claims/2 report/1 report/1" \
    "$(json_field id <out | tr '\n' ' ' | sed 's/ $//')"
expect 0 "$STELE" impact notes/1
says out "nothing came of it"
expect 4 "$STELE" impact notes/2

# What came of an entry that came of it, as it was then and not as it was before or after.
cat >rolling.yaml <<'YAML'
stele: 1
crew: rolling
regions:
  raw:   {policy: append_only, entry: {n: integer}}
  state: {policy: last_writer_wins, key: [name], entry: {name: string, n: integer}}
  out:   {policy: append_only, entry: {n: integer}}
sources:
  keep:
    kind: rule
    when: [{each: raw as r}]
    limits: {activations: 3}
    then: [{put: state, entry: {name: newest, n: $r.n}}]
    may: {read: [raw], write: {state: [put]}}
  tell:
    kind: rule
    priority: 1
    when: [{each: state as s}]
    then: [{insert: out, entry: {n: $s.n}}]
    may: {read: [state], write: {out: [insert]}}
seed: {raw: [{n: 1}, {n: 2}, {n: 3}]}
YAML
expect 0 "$STELE" run rolling.yaml --quiet --data rolling
expect 0 "$STELE" show --region out --json --data rolling
same "what was told" '{"n": 1} {"n": 2} {"n": 3}' "$(json_field entry <out | sort | tr '\n' ' ' | sed 's/ $//')"
for n in 1 2 3; do
    expect 0 "$STELE" impact raw/$n --data rolling
    says out "woke state/1 v$n"
    same "what came of raw/$n" 1 "$(grep -c 'woke out/' out)"
    says out "{\"n\":$n}"
    expect 0 "$STELE" why "$(grep -o 'out/[0-9]*' out)" --data rolling
    says out "raw/$n"
done
# Of the versions of state/1 only the last one is there to be taken up.
expect 0 "$STELE" why-not tell --data rolling
says out "every way in which it holds was taken up"
says out "woken by state/1 v3: committed in record"
same "matches that were taken up" 1 "$(grep -c 'woken by' out)"
expect 0 "$STELE" log --region state --last 1 --json --data rolling
at=$(json_field position <out)
expect 0 "$STELE" why-not tell --at "$at" --data rolling
says out "a match is waiting to run: state/1 v3"
says_not out "held back"
expect 0 "$STELE" why-not keep --data rolling
says out "its budget of 3 activations is used up"
expect 0 "$STELE" why-not keep --at $((at - 1)) --data rolling
says_not out "is used up"

# ---- blame ----
expect 0 "$STELE" blame "12.4 %"
says out "first  record"
same "who wrote it first" "survey" "$(head -n 1 out | grep -o survey | head -n 1)"
says out "from evidence/1"
says out "from claims/1 claims/2"
says out "on its own"
same "writes of the number" 5 "$(grep -c record out)"
for spelling in 0.124 "12.40 percent" "12.4%"; do
    expect 0 "$STELE" blame "$spelling" --json
    all_json out
    same "writes of $spelling" "evidence/1 claims/1 claims/2 report/1 notes/1" "$(json_field id <out | tr '\n' ' ' | sed 's/ $//')"
done
expect 0 "$STELE" blame "CHURN rose"
same "writes of the phrase" 1 "$(grep -c record out)"
says out "/text"
expect 4 "$STELE" blame "rose churn"
expect 4 "$STELE" blame 12.5
expect 2 "$STELE" blame " ,; "
expect 0 "$STELE" blame 0.124 --limit 2
says out "there are more"

# ---- log ----
expect 0 "$STELE" log --source survey --json
same "records of the survey" "survey" "$(json_field author <out | sort -u)"
same "its kinds" "claimed commit result started" "$(json_field kind <out | sort | tr '\n' ' ' | sed 's/ $//')"
expect 0 "$STELE" log --region claims --json
same "commits into claims" 1 "$(lines_of out)"
expect 0 "$STELE" log --kind commit --text "12.4 %" --json
same "commits with the number" 4 "$(lines_of out)"
expect 0 "$STELE" log --text "rose churn"
same "no commit has the words in that order" 0 "$(lines_of out)"
expect 0 "$STELE" log --outcome ok --json
same "attempts that ended well" 5 "$(lines_of out)"
expect 0 "$STELE" log --source survey --source rumour --kind commit --last 1 --json
same "the last of them" rumour "$(json_field author <out)"
activation=$("$STELE" log --source analyse --kind claimed --json | json_field activation)
expect 0 "$STELE" log --activation "$activation" --json
same "records of one activation" 4 "$(lines_of out)"
expect 0 "$STELE" log --since +0:00 --until +100:00:00 --json
same "all records are in that time" "$("$STELE" log --json | wc -l)" "$(lines_of out)"
expect 0 "$STELE" log --until 2001-01-01 --json
same "no record is that old" 0 "$(lines_of out)"
expect 2 "$STELE" log --since yesterday
says err "is no time"
expect 2 "$STELE" log --kind commits
says err "did you mean commit?"
expect 0 "$STELE" log --source nobody
same "records of nobody" 0 "$(lines_of out)"

# ---- diff, and the board as it was ----
commit=$("$STELE" log --region claims --json | json_field position)
expect 0 "$STELE" diff $((commit - 1)) "$commit"
says out "+ claims/1 v1"
says out "2 added, 0 changed, 0 gone"
expect 0 "$STELE" diff 1 --json --region report
same "what became of the report" added "$(json_field change <out)"
expect 0 "$STELE" diff "$commit" "$commit"
says out "0 added"
expect 2 "$STELE" diff "$commit" 1
expect 4 "$STELE" diff 1 100000
expect 0 "$STELE" show --at "$commit" --json
same "entries at that version" "1 2 2 0 0 0" "$(json_field active <out | head -n 6 | tr '\n' ' ' | sed 's/ $//')"

# ---- stats ----
expect 0 "$STELE" stats
for word in survey analyse "silent" "report 100 %" idle; do says out "$word"; done
expect 0 "$STELE" stats --json
all_json out
same "activations of the analyst" 1 "$(grep '"source":"analyse"' out | json_field activations)"
same "wakes that wrote nothing" 1 "$(grep '"source":"silent"' out | json_field idle_wakes)"
same "growth of the claims" 2 "$(grep '"region":"claims"' out | json_field growth | tr -d '[]' | sed 's/.*, //')"

# ---- follow: what is written while it looks ----
timeout 60 "$STELE" log --follow --kind commit --json >followed 2>/dev/null &
follower=$!
wait_for 10 grep -q rumour followed
expect 0 "$STELE" run crew.yaml --continue --board survey
before=$("$STELE" log --kind commit --json | wc -l)
wait_for 10 test "$before" -eq "$(wc -l <followed)" || true
wait_for 10 bash -c "[ \$(wc -l <followed) -eq $before ]"
kill "$follower"
wait "$follower" 2>/dev/null || true

# ---- after kill -9 the index is as the log ----
cat >slow.yaml <<'YAML'
stele: 1
crew: slow
regions:
  ticks: {policy: append_only, entry: {n: integer, text: string}}
sources:
  tick:
    kind: rule
    when: [{each: ticks as t, where: {n: {lt: 100000}}}]
    then: [{insert: ticks, entry: {n: $t.n, text: $t.text}}]
    may: {read: [ticks], write: {ticks: [insert]}}
seed: {ticks: [{n: 1, text: needle one}, {n: 2, text: other}]}
stop: {cycle: off, limits: {activations: 90000}}
YAML
"$STELE" run slow.yaml --quiet >/dev/null 2>&1 &
runner=$!
wait_for 20 bash -c "[ \"\$('$STELE' boards --json 2>/dev/null | grep -c slow)\" = 1 ]"
sleep 1
kill -9 "$runner" 2>/dev/null || true  # an optimised build may be through already
wait "$runner" 2>/dev/null || true
"$STELE" resume --board slow --quiet >/dev/null 2>&1 &
runner=$!
sleep 2
kill -9 "$runner" 2>/dev/null || true  # an optimised build may be through already
wait "$runner" 2>/dev/null || true
expect 0 "$STELE" log --board slow --text needle --json
same "every needle is found" "$("$STELE" log --board slow --kind commit --json | grep -c needle)" "$(lines_of out)"
expect 0 "$STELE" log --board slow --text needle --last 3 --json
same "the newest needles" "$("$STELE" log --board slow --kind commit --json | grep needle | tail -n 3 | json_field position | tr '\n' ' ')" \
    "$(json_field position <out | tr '\n' ' ')"

finish
