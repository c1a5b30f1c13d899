# shellcheck shell=bash
# A small run with rules, a process and a failure, in $work/data: for the checks of exports.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/crew.yaml" <<'YAML'
stele: 1
crew: relay
regions:
  first:  {policy: append_only, entry: {n: integer}}
  second: {policy: append_only, entry: {n: integer}}
  seen:   {policy: set_union, key: [n], entry: {n: integer}}
sources:
  pass:
    kind: rule
    when: [{each: first as f}]
    then: [{insert: second, entry: {n: $f.n}, cites: [$f]}]
    may: {read: [first], write: {second: [insert]}}
  note:
    kind: process
    command: ["echo", '{"op": "add", "region": "seen", "entry": {"n": 7}}']
    when: [{each: second as s}]
    may: {read: [second], write: {seen: [add]}}
  fail:
    kind: process
    command: ["false"]
    when: [{each: seen as s}]
    may: {read: [seen]}
    limits: {attempts: 1}
seed: {first: [{n: 1}, {n: 2}, {n: 3}]}
YAML
code=0
"$STELE" run "$work/crew.yaml" --data "$work/data" --quiet >/dev/null || code=$?
if [[ $code != 11 ]]; then echo "the run ended with $code, not incomplete"; exit 1; fi
