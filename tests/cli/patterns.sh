#!/usr/bin/env bash
# The four sharing patterns: each ends with its goal, in the right state, and what its first lines
# promise about two writers is what happened.
set -euo pipefail
. "$(dirname "$0")/support.bash"

patterns="$project/configs/patterns"
find "$patterns" -type f | sort >patterns_before

# entries REGION: contents on the newest board, one a line.
entries() { "$STELE" show --region "$1" --json | json_field entry; }

# shows REGION TEXT: some entry of the region holds the text.
shows() {
    entries "$1" >"$1"
    says "$1" "$2"
}

# look SCRIPT: Python over the log of the newest board, where `records` is the list of its records.
look() {
    "$STELE" log --json >log.json
    {
        echo 'import json'
        echo 'records = [json.loads(line) for line in open("log.json", encoding="utf-8")]'
        echo 'commits = [r for r in records if r["kind"] == "commit"]'
        echo 'accepted = [r for r in commits if r["accepted"]]'
        echo 'def by(author): return [r for r in accepted if r["author"] == author]'
        echo 'def writes(commits, region): return [w for r in commits for w in r["writes"] if w["region"] == region]'
        cat
    } >look.py
    python3 look.py >told 2>&1 || {
        fail "the log"
        tail -n 3 told | sed 's/^/    /'
    }
}

for pattern in supervisor shared_block cross_thread_store blackboard; do
    expect 0 "$STELE" check "$patterns/$pattern.yaml"
done

# ---- supervisor: one writer of the plan, and no finding lost ----
expect 0 "$STELE" run "$patterns/supervisor.yaml"
says out "goal: the goal holds"
same "steps that are done" 4 "$(entries plan | grep -c '"state": "done"')"
same "findings" 4 "$(entries findings | wc -l | tr -d ' ')"
shows brief "4 papers were read, 29 words in all."
look <<'PYTHON'
assert {r["author"] for r in accepted if writes([r], "plan") or writes([r], "brief")} == {"lead"}
assert {r["author"] for r in accepted if writes([r], "findings")} == {"worker"}
# A step is closed once, resting on the finding that closed it.
closed = [w for w in writes(by("lead"), "plan") if w["entry"]["state"] == "done"]
assert len(closed) == 4 and all(any(c.startswith("findings/") for c in w["cites"]) for w in closed), closed
brief, = writes(by("lead"), "brief")
assert sorted(brief["cites"]) == [f"findings/{n}" for n in range(1, 5)], brief
PYTHON
expect 0 "$STELE" replay --verify
# The worker that would write the plan does not get as far as running.
mkdir greedy
cp "$patterns"/supervisor* greedy
sed -i 's/write: {findings: \[insert\]}/write: {findings: [insert], plan: [put]}/' greedy/supervisor.yaml
expect 2 "$STELE" run greedy/supervisor.yaml --board greedy
says err '"plan"'
says err "lead"

# ---- shared block: a conflict in every run, and both lists whole ----
expect 0 "$STELE" run "$patterns/shared_block.yaml"
says out "conflict"
look <<'PYTHON'
refused = [r for r in commits if not r["accepted"]]
rules = {refusal["rule"] for r in refused for refusal in r["refusals"]}
assert rules == {"conflict"}, f"refused by {rules}; without a conflict nothing was shared"
for r in refused:
    current = r["refusals"][0]["current"]
    assert current["version"] > r["writes"][0]["expected_version"], r
drafts = {w["entry"]["line"] for w in writes(accepted, "drafts")}
versions = writes(by("web") + by("docs"), "block")
versions.sort(key=lambda w: w["version"])
assert [w["version"] for w in versions] == list(range(2, 8)), versions
# Each version holds the one before it and one line more: nothing was written over unseen.
lines = []
for w in versions:
    assert w["entry"]["lines"][:-1] == lines, w
    lines = w["entry"]["lines"]
assert sorted(lines) == sorted(drafts), lines
assert not any(r["kind"] == "dead" for r in records)
assert any("came first" in note for r in records for note in r.get("notes", []))
PYTHON
expect 0 "$STELE" replay --verify

# ---- cross-thread store: remembered in the next run, by its own namespace alone ----
expect 0 "$STELE" run "$patterns/cross_thread_store.yaml"
shows greetings "visit 1; known from earlier threads: nothing yet"
expect 0 "$STELE" run "$patterns/cross_thread_store.yaml" --continue --input thread=tuesday
shows greetings "visit 2; known from earlier threads: last_thread, visits"
expect 0 "$STELE" run "$patterns/cross_thread_store.yaml" --continue --input thread=tuesday --input namespace=acme_lab
entries greetings | grep '"acme_lab"' >lab
says lab "visit 1; known from earlier threads: nothing yet"
says_not lab "password_hint"
entries store | grep '"acme_labs"' >labs
says labs '"value": "41"'
look <<'PYTHON'
both = [r for r in accepted if any(w["entry"].get("key") == "last_thread" for w in writes([r], "store"))]
assert [r["author"] for r in both] == ["clerk", "greeter"] * 3, [r["author"] for r in both]
# The later stands, the earlier is one version before it in the log.
one = [w for w in writes(both[:4], "store") if w["entry"]["key"] == "last_thread"]
assert len({w["id"] for w in one}) == 1 and [w["version"] for w in one] == [1, 2, 3, 4], one
PYTHON
entries store | grep '"acme"' | grep '"last_thread"' >last_thread
same "entries with the key last_thread" 1 "$(lines_of last_thread)"
says last_thread '"value": "tuesday"'
expect 0 "$STELE" check "$patterns/cross_thread_store.yaml"
says err "several writers"
expect 0 "$STELE" replay --verify

# ---- blackboard: merged questions, all evidence, a synthesiser that comes last ----
expect 0 "$STELE" run "$patterns/blackboard.yaml"
same "evidence" 4 "$(entries evidence | wc -l | tr -d ' ')"
same "open questions" 2 "$(entries open_questions | wc -l | tr -d ' ')"
same "who asks for the year" "docs web" \
    "$("$STELE" show --region open_questions --json | grep 'which year' | json_field authors | grep -o '[a-z]*' | sort | xargs)"
shows conclusions "churn is 14 outside and 9 in the house"
look <<'PYTHON'
specialists = by("web") + by("docs")
synthesis, = by("synthesiser")
assert synthesis["snapshot"] >= max(r["position"] for r in specialists), "it did not wait for all"
known = {w["id"] for w in writes(accepted, "hypotheses") + writes(accepted, "open_questions")}
for w in writes([synthesis], "conclusions"):
    assert w["cites"] and set(w["cites"]) <= known, w
# In parallel: both had begun before either had ended.
ended = min(r["position"] for r in records if r["kind"] == "result")
begun = {r["author"] for r in records if r["kind"] == "claimed" and r["position"] < ended}
assert begun >= {"web", "docs"}, begun
PYTHON
expect 0 "$STELE" replay --verify

find "$patterns" -type f | sort >patterns_after
same "files beside the crews" "$(cat patterns_before)" "$(cat patterns_after)"

finish
