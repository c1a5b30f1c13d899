#!/usr/bin/env bash
# The classic programs of rule engines as crews: the right end, as many firings as published, and as many
# as CLIPS on the same facts, rule by rule.
set -euo pipefail
. "$(dirname "$0")/support.bash"

# firings DIRECTORY: "rule count" a line, of what was accepted.
firings() {
    "$STELE" log --data "$1" --json | python3 -c '
import collections, json, sys
count = collections.Counter()
for line in sys.stdin:
    record = json.loads(line)
    if record["kind"] == "commit" and record.get("members") and record["accepted"]: count[record["author"]] += 1
count.pop("facts", None)
for rule, number in sorted(count.items()): print(rule, number)'
}
total() { awk '{sum += $2} END {print sum}' "$1"; }

# clips PROGRAM FACTS: the same of CLIPS.
clips_firings() {
    cat >batch.clp <<CLIPS
(set-strategy depth)
(load "$1")
(reset)
(load-facts "$2")
(watch rules)
(run)
(exit)
CLIPS
    clips -f2 batch.clp | sed -n 's/^FIRE *[0-9]* \([^:]*\):.*/\1/p' | sort | uniq -c | awk '{print $2, $1}'
}

# ---- Manners: the published counts, and neighbours that get on ----
cat >seated.py <<'PY'
import collections, json, sys
guests, table = collections.defaultdict(set), {}
for line in open("guest.json"):
    entry = json.loads(line)["entry"]
    guests[entry["name"]].add((entry["sex"], entry["hobby"]))
for line in open("table.json"):
    entry = json.loads(line)["entry"]
    table[entry["seat"]] = entry["name"]
count = int(sys.argv[1])
assert sorted(table) == list(range(1, count + 1)), table
assert sorted(table.values()) == list(range(1, count + 1)), table
for seat in range(1, count):
    one, other = guests[table[seat]], guests[table[seat + 1]]
    assert {s for s, _ in one} != {s for s, _ in other}, (seat, "sex")
    assert {h for _, h in one} & {h for _, h in other}, (seat, "hobby")
PY
manners() { # manners GUESTS FIRINGS
    rm -rf data
    expect 0 "$STELE" run "$project/configs/classics/manners.yaml" --input "guests=$1" --data data --quiet
    firings data >ours
    same "firings of Manners $1" "$2" "$(total ours)"
    "$STELE" show --region guest --data data --json >guest.json
    "$STELE" show --region table --data data --json >table.json
    if ! python3 seated.py "$1"; then fail "Manners $1: the guests are not seated well"; fi
    if [ -z "$(command -v clips || true)" ]; then
        echo "skipped: Manners $1 beside CLIPS (clips is not installed)"
        return
    fi
    python3 "$project/configs/classics/guests.py" "$1" --clips >facts.clp
    clips_firings "$project/tests/classics/manners.clp" facts.clp >theirs
    same "firings of Manners $1, rule by rule" "$(cat theirs)" "$(cat ours)"
}
manners 8 59
expect 0 "$STELE" replay --verify --data data
manners 16 183
manners 32 623
manners 64 2271

# ---- Waltz: the published counts, and labels that agree in both directions ----
cat >labelled.py <<'PY'
import json
edges = {}
for line in open("edge.json"):
    entry = json.loads(line)["entry"]
    edges[entry["p1"], entry["p2"]] = entry["label"]
    assert entry["joined"] == "true" and entry["plotted"] == "t", entry
labelled = {ends: label for ends, label in edges.items() if label != "nil"}
assert len(labelled) * 2 > len(edges) / 2, (len(labelled), len(edges))
assert {"+", "B"} <= set(labelled.values())
# What both directions say must be the same.
clash = [ends for ends, label in labelled.items() if edges[ends[::-1]] not in (label, "nil")]
assert not clash, clash[:5]
PY
waltz() { # waltz REGIONS FIRINGS
    rm -rf data
    expect 0 "$STELE" run "$project/configs/classics/waltz.yaml" --input "regions=$1" --data data --quiet
    firings data >ours
    same "firings of Waltz $1" "$2" "$(total ours)"
    "$STELE" show --region edge --data data --json >edge.json
    if ! python3 labelled.py; then fail "Waltz $1: the drawing is not labelled well"; fi
    if [ -z "$(command -v clips || true)" ]; then
        echo "skipped: Waltz $1 beside CLIPS (clips is not installed)"
        return
    fi
    python3 "$project/configs/classics/drawing.py" "$1" --clips >facts.clp
    clips_firings "$project/tests/classics/waltz.clp" facts.clp >theirs
    same "firings of Waltz $1, rule by rule" "$(cat theirs)" "$(cat ours)"
}
waltz 12 3576
waltz 25 7164

# ---- Sudoku: the one solution, as a search by trial finds it, and what CLIPS is left with ----
sudoku() { # sudoku PUZZLE
    rm -rf data
    expect 0 "$STELE" run "$project/configs/classics/sudoku.yaml" --input "puzzle=$1" --data data --quiet
    says out "goal"
    "$STELE" show --region placed --data data --json >placed.json
    if ! python3 - "$1" "$project/configs/classics" <<'PY'; then fail "Sudoku $1: this is not the solution"; fi
import json, sys
sys.path.insert(0, sys.argv[2])
sys.dont_write_bytecode = True
from sudoku import PUZZLES, solutions
grid = {}
for line in open("placed.json"):
    entry = json.loads(line)["entry"]
    assert entry["cell"] not in grid, entry
    grid[entry["cell"]] = entry["value"]
mine = "".join(str(grid[cell]) for cell in range(81))
assert [mine] == solutions(PUZZLES[sys.argv[1]]), mine
PY
    if [ -z "$(command -v clips || true)" ]; then return; fi
    python3 "$project/configs/classics/sudoku.py" "$1" --clips >facts.clp
    clips_firings "$project/tests/classics/sudoku.clp" facts.clp >theirs
    firings data >ours
    # Which of two rules takes a digit away is a matter of order; how many are placed and taken away is not.
    same "digits of Sudoku $1 placed, and taken away" \
        "$(awk '$1 == "place" {p += $2} $1 != "place" {r += $2} END {print p, r}' theirs)" \
        "$(awk '$1 == "place" {p += $2} $1 != "place" {r += $2} END {print p, r}' ours)"
}
for puzzle in one two three; do sudoku $puzzle; done
# A grid that these rules cannot fill is left open, and said so; a puzzle that is none is refused.
expect 10 "$STELE" run "$project/configs/classics/sudoku.yaml" --input "puzzle=$(printf '0%.0s' {1..81})" --data open --quiet
says out "the goal is not reached"
expect 11 "$STELE" run "$project/configs/classics/sudoku.yaml" --input puzzle=nine --data none --quiet
says out "a puzzle is 81 digits"

# ---- Zebra: who drinks water, who owns the zebra, in three firings ----
rm -rf data
expect 0 "$STELE" run "$project/configs/classics/zebra.yaml" --data data --quiet
"$STELE" show --region answer --data data --json >answer.json
same "who drinks water and who owns the zebra" "norwegian japanese" \
    "$(sed 's/.*"who":"\([a-z]*\)".*/\1/' answer.json | tr '\n' ' ' | sed 's/ $//')"
same "houses of the zebra puzzle" 25 "$("$STELE" show --region at --data data --json | wc -l)"
firings data >ours
same "firings of Zebra" 3 "$(total ours)"
if [ -n "$(command -v clips || true)" ]; then
    python3 "$project/configs/classics/zebra.py" --clips >facts.clp
    clips_firings "$project/tests/classics/zebra.clp" facts.clp >theirs
    same "firings of Zebra, rule by rule" "$(cat theirs)" "$(cat ours)"
fi

finish
