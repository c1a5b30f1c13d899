#!/usr/bin/env bash
# Many processes of two sources add to one number in a `cas` region: no update is lost, and a conflict
# is a normal result that ends in another attempt.
set -euo pipefail
. "$(dirname "$0")/support.bash"

each=${CAS_RACE_UPDATES:-70}
cat >add.py <<'PYTHON'
import json, sys
request = json.load(sys.stdin)
box = request["view"]["box"][0]
for refusal in request["previous"]:
    if refusal["rule"] == "conflict":
        # What a conflict tells is what the board held when it was refused.
        assert refusal["current"]["id"] == box["id"], refusal
        assert refusal["current"]["version"] <= box["version"], refusal
        assert refusal["current"]["entry"]["sum"] <= box["entry"]["sum"], refusal
entry = {"name": "box", "sum": box["entry"]["sum"] + 1, "by": request["source"]}
print(json.dumps({"op": "replace", "id": box["id"], "expected_version": box["version"], "entry": entry}))
PYTHON
{
    cat <<'YAML'
stele: 1
crew: race
regions:
  left_tasks: {policy: append_only, entry: {number: integer}}
  right_tasks: {policy: append_only, entry: {number: integer}}
  box: {policy: cas, key: [name], entry: {name: string, sum: integer, by: string}}
sources:
YAML
    for side in left right; do
        cat <<YAML
  $side:
    kind: process
    command: [python3, -S, -E, add.py]
    when: [{each: ${side}_tasks as t}]
    view: [box]
    may: {read: [${side}_tasks, box], write: {box: [replace]}}
    limits: {attempts: 1, conflicts: 1000, concurrency: 2, timeout: 30s}
YAML
    done
    echo "seed:"
    echo "  box: [{name: box, sum: 0, by: seed}]"
    for side in left right; do
        echo "  ${side}_tasks: [$(seq 1 "$each" | sed 's/.*/{number: &}/' | paste -sd, -)]"
    done
    echo "limits: {concurrency: 4}"
    echo "stop: {goal: [{exists: box, where: {sum: $((2 * each))}}]}"
} >race.yaml

expect 0 "$STELE" run race.yaml --json
all_json out
cp out told
cat >look.py <<'PYTHON'
import json, sys
wanted = int(sys.argv[1])
records = [json.loads(line) for line in open("told", encoding="utf-8")]
end = records.pop()
commits = [r for r in records if r["kind"] == "commit" and r["author"] in ("left", "right")]
accepted = [r for r in commits if r["accepted"]]
refused = [r for r in commits if not r["accepted"]]
sums = [r["writes"][0]["entry"]["sum"] for r in accepted]
assert sums == list(range(1, wanted + 1)), f"the accepted sums are {sums}"
versions = [r["writes"][0]["version"] for r in accepted]
assert versions == list(range(2, wanted + 2)), f"the versions are {versions}"
rules = {refusal["rule"] for r in refused for refusal in r["refusals"]}
assert rules == {"conflict"}, f"refused by {rules}; without conflicts this test has raced nobody"
for r in refused:
    current = r["refusals"][0]["current"]
    assert current["version"] > r["writes"][0]["expected_version"], r
assert end["dead"] == [], end["dead"]
assert {r["outcome"] for r in records if r["kind"] == "result"} == {"ok"}
activations = [r["activation"] for r in accepted]
assert len(set(activations)) == len(activations), "an activation was committed twice"
started = sum(r["kind"] == "started" for r in records)
assert started == len(accepted) + len(refused), f"{started} processes for {len(commits)} commits"
print(f"{started} processes, {len(accepted)} accepted, {len(refused)} conflicts")
PYTHON
python3 look.py $((2 * each)) 2>&1 || fail "the race"
sum_of() { "$STELE" show box/1 --board "$1" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["entry"]["sum"])'; }
same "the sum on the board" $((2 * each)) "$(sum_of race)"
expect 0 "$STELE" replay --verify

# With few conflicts allowed the unlucky ones end as dead, and nothing that was accepted is lost.
sed 's/conflicts: 1000/conflicts: 1/' race.yaml >few.yaml
code=0
"$STELE" run few.yaml --board few --quiet --json >out 2>err </dev/null || code=$?
case $code in
0 | 11) ;;
*) check_code 11 "$code" "run with one conflict allowed" ;;
esac
accepted=$("$STELE" log --board few --json | grep '"op":"replace"' | grep -c '"accepted":true')
same "the sum and what was accepted" "$accepted" "$(sum_of few)"
if [ "$code" = 11 ]; then says out "conflict"; fi
expect 0 "$STELE" replay --verify --board few

finish
