#!/usr/bin/env bash
# The main job: a review of a repository that looks lived in, twice, and of a folder that is none.
set -euo pipefail
. "$(dirname "$0")/support.bash"

python3 "$project/tests/support/make_repository.py" repository 300
crew="$project/configs/repo_review.yaml"
find "$project/configs" -type f | sort >configs_before

expect 0 "$STELE" run "$crew" --input repo=repository
says out "quiescence"
says out "report"
if [ ! -s report.md ]; then fail "report.md was not written"; fi
says report.md "# Review of repository"
says report.md "## Ranked"
says report.md "The history holds 300 commits"
"$STELE" log --json >log.json
"$STELE" show --region conclusions --json >conclusions.json
"$STELE" show --region hypotheses --json >hypotheses.json
for region in baseline conventions files evidence open_questions hypotheses refutations files_scanned progress conclusions; do
    "$STELE" show --region $region --json >"$region.json"
done

cat >look.py <<'PYTHON'
"""The conclusions are ranked, cite what is on the board, and stand in the report."""
import json, pathlib, re, sys

def entries(region):
    return [json.loads(line) for line in open(f"{region}.json", encoding="utf-8")]

board = {}
for path in pathlib.Path(".").glob("*.json"):
    if path.stem != "log":
        board.update({entry["id"]: entry for entry in entries(path.stem)})
wrong = []
conclusions = sorted(entries("conclusions"), key=lambda entry: entry["entry"]["rank"])
if len(conclusions) < 3:
    wrong.append(f"only {len(conclusions)} conclusions")
if [c["entry"]["rank"] for c in conclusions] != list(range(1, len(conclusions) + 1)):
    wrong.append("the ranks are not 1, 2, 3, ...")
scores = [c["entry"]["score"] for c in conclusions]
if scores != sorted(scores, reverse=True):
    wrong.append(f"the scores do not fall: {scores}")
report = open("report.md", encoding="utf-8").read()
for conclusion in conclusions:
    cites = conclusion.get("cites", [])
    if not cites:
        wrong.append(f"{conclusion['id']} cites nothing")
    for cite in cites:
        if cite not in board:
            wrong.append(f"{conclusion['id']} cites {cite}, which is not on the board")
        elif board[cite]["entry"]["file"] != conclusion["entry"]["file"]:
            wrong.append(f"{conclusion['id']} cites {cite}, which is about another file")
    if f"`{conclusion['entry']['file']}`" not in report:
        wrong.append(f"{conclusion['entry']['file']} is not in the report")
for cite in re.findall(r"\[([a-z_]+/\d+)\]", report):
    if cite not in board:
        wrong.append(f"the report names {cite}, which is not on the board")
# What the checker set aside is not concluded.
dismissed = {entry["entry"]["file"] for entry in entries("refutations")}
if "package-lock.json" not in dismissed | {"package-lock.json"} - {h["entry"]["file"] for h in entries("hypotheses")}:
    wrong.append("the lock file has passed for code")
concluded = {c["entry"]["file"] for c in conclusions}
if concluded & dismissed:
    wrong.append(f"set aside and concluded all the same: {concluded & dismissed}")
for line in wrong:
    print(line)
sys.exit(1 if wrong else 0)
PYTHON
if ! python3 look.py >wrong; then
    fail "the review:"
    head -n 10 wrong
fi
expect 0 "$STELE" replay --verify
expect 0 "$STELE" show "$(head -n 1 conclusions.json | json_field id)"
says out "reporter"

# ---- again on the same board: nothing is counted twice ----
cp report.md first_report.md
expect 0 "$STELE" run "$crew" --input repo=repository --continue
"$STELE" show --region conclusions --json | json_field entry | sort >again
same "conclusions of a second run on the same board" "$(json_field entry <conclusions.json | sort)" "$(cat again)"
for region in evidence files hypotheses refutations open_questions; do
    same "$region after a second run" "$(lines_of $region.json)" \
        "$("$STELE" show --region $region --json | wc -l | tr -d ' ')"
done
expect 0 "$STELE" replay --verify

# ---- and again after the history has gone on ----
printf 'def step(value):\n    return value\n' >>repository/src/module_0/part_0000.py
git -C repository -c user.name=Ana -c user.email=ana@example.org commit -q -a -m "Fix crash in part_0000"
expect 0 "$STELE" run "$crew" --input repo=repository --continue
says report.md "The history holds 301 commits"
expect 0 "$STELE" replay --verify
expect 0 "$STELE" run "$crew" --input repo=repository --input report=elsewhere/new.md --input top=5
if [ ! -s elsewhere/new.md ]; then fail "the report did not go where it was asked to"; fi
same "files looked at with top=5" 5 "$("$STELE" show --region files --json | wc -l | tr -d ' ')"

# ---- no repository ----
mkdir folder empty
git init -q empty
for none in folder empty nowhere; do
    expect 11 "$STELE" run "$crew" --input repo=$none --input report=none.md
    says out "incomplete"
    says out "$none"
done
says out "no folder"
expect 11 "$STELE" run "$crew" --input repo=folder --input report=none.md
says out "is no git repository"
if [ -e none.md ]; then fail "a report about nothing was written"; fi
expect 2 "$STELE" run "$crew" --input repos=repository
says err 'did you mean'

find "$project/configs" -type f | sort >configs_after
same "files beside the crew" "$(cat configs_before)" "$(cat configs_after)"

finish
