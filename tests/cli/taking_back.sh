#!/usr/bin/env bash
# An entry is taken back: while the run rests and while it goes on; what rested on it follows. And a look
# at the whole board afterwards.
set -euo pipefail
. "$(dirname "$0")/support.bash"

crew() {
    cat <<YAML
stele: 1
crew: survey
on_retract: $1
regions:
  evidence: {policy: append_only, entry: {text: string}}
  claims:   {policy: append_only, entry: {text: string}}
  report:   {policy: last_writer_wins, key: [name], entry: {name: string, text: string}}
  wait:     {policy: append_only, entry: {text: string}}
sources:
  analyse:
    kind: rule
    when: [{each: evidence as e}]
    then: [{insert: claims, entry: {text: \$e.text}, cites: [\$e]}]
    may: {read: [evidence], write: {claims: [insert]}}
  report:
    kind: rule
    when: [{each: claims as c}]
    then: [{put: report, entry: {name: \$c.text, text: \$c.text}, cites: [\$c]}]
    may: {read: [claims], write: {report: [put]}}
  sleeper:
    kind: process
    command: [sleep, "$2"]
    when: [{start: true}]
    may: {write: {wait: [insert]}}
seed: {evidence: [{text: churn}, {text: price}]}
YAML
}

# ---- flag, at rest ----
crew flag 0 >flag.yaml
expect 0 "$STELE" run flag.yaml --quiet
expect 0 "$STELE" show --without evidence/1 --region claims --json
same "claims without the evidence" claims/2 "$(json_field id <out)"
expect 0 "$STELE" show --without evidence/1
says out "report"
expect 4 "$STELE" show report/1 --without evidence/1
expect 0 "$STELE" show report/2 --without evidence/1
expect 4 "$STELE" show --without evidence/9
expect 0 "$STELE" retract evidence/1 --reason "the survey was withdrawn"
says out "stele impact evidence/1"
expect 0 "$STELE" show --region suspects --json
same "suspects" "claims/1 report/1" "$(python3 -c '
import json
print(" ".join(sorted(json.loads(line)["entry"]["entry"] for line in open("out"))))')"
expect 0 "$STELE" log --text "survey was withdrawn" --json
same "who took it back" person "$(json_field author <out)"
expect 0 "$STELE" impact evidence/1
says out "since retracted"
expect 0 "$STELE" replay --verify
expect 1 "$STELE" retract evidence/1
expect 1 "$STELE" retract evidence/99
expect 2 "$STELE" retract evidence
expect 0 "$STELE" verify
says out "are as it makes them"
expect 0 "$STELE" verify --repair --json
same "the board is whole" true "$(json_field whole <out)"
same "nothing was made anew" "[]" "$(json_field repaired <out)"

# ---- cascade, in the middle of a run ----
crew cascade 3 >cascade.yaml
"$STELE" run cascade.yaml --board busy --quiet >/dev/null 2>&1 &
runner=$!
wait_for 20 bash -c "[ \"\$('$STELE' show --board busy --region report --json 2>/dev/null | wc -l)\" = 2 ]"
expect 0 "$STELE" retract evidence/2 --board busy
wait "$runner" || fail "the run did not end well"
expect 0 "$STELE" show --board busy --region report --json
same "what is left of the report" report/1 "$(json_field id <out)"
expect 0 "$STELE" show --board busy --region claims --json
same "what is left of the claims" claims/1 "$(json_field id <out)"
expect 0 "$STELE" replay --verify --board busy
expect 0 "$STELE" verify --board busy
expect 0 "$STELE" why report/1 --board busy
says_not out "since retracted"

# ---- a crew that gets it wrong ----
sed 's/on_retract: flag/on_retract: flog/' flag.yaml >wrong.yaml
expect 2 "$STELE" check wrong.yaml
says err 'did you mean "flag"'
sed 's/  wait:  /  suspects:  /; s/{wait:/{suspects:/' flag.yaml >wrong.yaml
expect 2 "$STELE" check wrong.yaml
says err "suspects"
expect 0 "$STELE" check flag.yaml
says out "rests on a retracted one"

finish
