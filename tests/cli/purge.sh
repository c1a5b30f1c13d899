#!/usr/bin/env bash
# Content that must go is nowhere any more: not in the log, the state, the index, the exports or the files. And a
# board that goes out as JSON lines comes in as it was.
set -euo pipefail
. "$(dirname "$0")/support.bash"

cat >crew.yaml <<'YAML'
stele: 1
crew: clients
regions:
  customers: {policy: last_writer_wins, key: [id], entry: {id: integer, name: string, email: string}}
  letters: {policy: append_only, entry: {to: integer, text: string}}
  labels: {policy: set_union, key: [id], merge: {names: union}, entry: {id: integer, names: [string]}}
sources:
  greet:
    kind: process
    command: [python3, greet.py]
    when: [{each: customers as c}]
    may: {read: [customers], write: {letters: [insert], labels: [add]}}
  check:
    kind: rule
    when:
      - each: letters as l
      - none: customers
        where: {id: $l.to, email: nobody@example.org}
    then:
      - add: labels
        entry: {id: $l.to, names: [checked]}
    may: {read: [letters, customers], write: {labels: [add]}}
YAML
cat >greet.py <<'PYTHON'
import json, sys
c = json.load(sys.stdin)["match"]["c"]
print(json.dumps({"op": "insert", "region": "letters", "entry": {"to": c["entry"]["id"], "text": "Dear customer"},
                  "cites": [c["id"]]}))
print(json.dumps({"op": "add", "region": "labels", "entry": {"id": c["entry"]["id"], "names": [c["entry"]["name"]]}}))
print("working for " + c["entry"]["email"], file=sys.stderr)
PYTHON

found() { grep -rlaE 'ann@secret|Ann "Lovelace|Ann \\+"Lovelace' .stele || true; }

expect 0 "$STELE" run crew.yaml --quiet
expect 0 "$STELE" write customers '{"id":1,"name":"Ann \"Lovelace","email":"ann@secret.example"}'
expect 0 "$STELE" resume --quiet
expect 0 "$STELE" write customers '{"id":2,"name":"Bob","email":"bob@other.example"}' --reason "a friend"
expect 0 "$STELE" resume --quiet
if [ -z "$(found)" ]; then fail "the test does not see what it looks for"; fi

# What cannot be done says so and changes nothing.
expect 2 "$STELE" write customers '[1]'
expect 4 "$STELE" write customrs '{}'
expect 1 "$STELE" write customers '{"id":"one"}'
expect 2 "$STELE" write customers '{}' --op retract
expect 2 "$STELE" purge
expect 4 "$STELE" purge customers/9
expect 4 "$STELE" purge --text "never said by anybody"
expect 2 "$STELE" purge --text ab
expect 2 "$STELE" purge customers
expect 0 "$STELE" purge customers/1 --dry
says out "would retract customers/1"
says out "the same is said by labels/1"
records=$("$STELE" log --json | wc -l)

# A board with a fork is not purged: its log is that of both.
expect 0 "$STELE" fork clients --no-run --name other
expect 1 "$STELE" purge customers/1 --board clients
says err "forked off"
expect 0 "$STELE" boards rm other

expect 0 "$STELE" export --format jsonl --output before.jsonl
expect 0 "$STELE" purge customers/1 --text 'Ann "Lovelace' --reason "her wish"
says out "contents of customers/1 labels/1"
left=$(found)
if [ -n "$left" ]; then fail "still found in: $left"; fi
expect 0 "$STELE" log --json
if [ "$(wc -l <out)" != $((records + 3)) ]; then fail "a retraction, a purge and a fence are on record, found $(wc -l <out)"; fi
says out '"kind":"purged"'
says_not out "ann@secret"
expect 0 "$STELE" verify
expect 0 "$STELE" replay --verify
says out "were purged"
expect 0 "$STELE" show customers/1
says out "(purged)"
expect 0 "$STELE" show customers/1 --json
says out '"purged":true'
expect 4 "$STELE" blame "ann@secret.example"
expect 0 "$STELE" blame "bob@other.example"
expect 0 "$STELE" why letters/1
says out "(purged)"
expect 4 "$STELE" purge customers/1
expect 0 "$STELE" export --format jsonl --output after.jsonl
says_not after.jsonl "ann@secret"
expect 0 "$STELE" export --format svg
says out "</svg>"
expect 0 "$STELE" export --format dot
says out "customers x2"
expect 0 "$STELE" export --format mermaid
expect 2 "$STELE" export --format parquet
# The board goes on, and the same customer is a new entry.
expect 0 "$STELE" write customers '{"id":1,"name":"Zoe","email":"zoe@new.example"}'
expect 0 "$STELE" resume --quiet
expect 0 "$STELE" show customers/3
says out "Zoe"
expect 0 "$STELE" verify

# What a run that was killed left half done would still be written, with what it says.
cat >slow.yaml <<'YAML'
stele: 1
crew: slow
regions:
  customers: {policy: append_only, entry: {name: string}}
  letters: {policy: append_only, entry: {text: string}}
sources:
  greet:
    kind: process
    command: [sleep, "60"]
    when: [{each: customers as c}]
    may: {read: [customers], write: {letters: [insert]}}
seed: {customers: [{name: "Ann the killed"}]}
YAML
"$STELE" run slow.yaml --data slow --quiet >/dev/null 2>&1 &
runner=$!
wait_for 20 bash -c "'$STELE' log --data slow 2>/dev/null | grep -q started"
kill -9 "$runner"
wait "$runner" 2>/dev/null || true
expect 3 "$STELE" purge customers/1 --data slow
says err "did not stop"
expect 0 "$STELE" show customers/1 --data slow
says out "Ann the killed"

# Out and in.
expect 0 "$STELE" import before.jsonl --data elsewhere
expect 0 "$STELE" verify --data elsewhere
expect 0 "$STELE" replay --verify --data elsewhere
expect 0 "$STELE" show customers/1 --data elsewhere
says out "ann@secret.example"
expect 2 "$STELE" import before.jsonl --data elsewhere
says err "--name"
expect 2 "$STELE" import - --data elsewhere --name empty
expect 0 bash -c "'$STELE' import - --data elsewhere --name piped <before.jsonl"
expect 0 "$STELE" import after.jsonl --data elsewhere --name purged
expect 0 "$STELE" verify --data elsewhere --board purged
expect 0 "$STELE" export --format jsonl --data elsewhere --board clients --output out.jsonl
if ! cmp -s before.jsonl out.jsonl; then fail "what went out, came in and went out again is not the same"; fi
expect 0 "$STELE" write customers '{"id":4,"name":"Dan","email":"d@x.example"}' --data elsewhere --board clients
expect 0 "$STELE" resume --data elsewhere --board clients --quiet
expect 0 "$STELE" verify --data elsewhere --board clients
head -n 5 before.jsonl >cut.jsonl
expect 2 "$STELE" import cut.jsonl --data elsewhere --name cut
sed 's/bob@other/eve@other/' before.jsonl >changed.jsonl
expect 2 "$STELE" import changed.jsonl --data elsewhere --name changed
says err "do not agree"
expect 2 "$STELE" import crew.yaml --data elsewhere
expect 4 "$STELE" import nothing.jsonl --data elsewhere
expect 4 "$STELE" import nothing.jsonl --data nowhere
if [ -e nowhere ]; then fail "an import of nothing made a data directory"; fi
expect 2 "$STELE" import before.jsonl --data elsewhere --name "../x"
if [ "$("$STELE" boards --data elsewhere --json | wc -l)" != 3 ]; then fail "an import that was refused left a board"; fi
finish
