#!/usr/bin/env bash
# What `stele export --format otlp` prints, read with the official definitions of OTLP (as the package of
# OpenTelemetry's own exporter carries them).
source "$(dirname "${BASH_SOURCE[0]}")/support.bash"
STELE=$(realpath "${STELE:?names the program to test}")
if [[ ! -d $packages/node_modules/@opentelemetry/otlp-grpc-exporter-base ]]; then
    npm install --prefix "$packages" --no-audit --no-fund --silent @opentelemetry/otlp-grpc-exporter-base@0.48.0
fi
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
"$STELE" export --format otlp --data "$work/data" --output "$work/spans.json"
NODE_PATH=$packages/node_modules node "$project/tests/npm/otlp_check.cjs" "$work/spans.json"
