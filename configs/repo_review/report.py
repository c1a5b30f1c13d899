"""reporter: ranks what survived the checker, as conclusions on the board and as a report to act on."""

import collections
import math
import os

from protocol import emit, read_request, write_whole

# What to do about each sign, in the order in which to do it.
ADVICE = {
    "compound": "Start here",
    "hot_spot": "write a test before the next change",
    "bug_nest": "look for the one cause behind its many fixes",
    "hard_to_change": "split it along its deepest blocks",
    "bus_factor": "have a second person review it and make its next change",
}
FIRST_MAX = 3
TELLING = ("churn", "fixes", "untested")
DETAILED_MAX = 15
QUESTIONS_PER_FILE_MAX = 5


def main():
    request = read_request()
    view = request["view"]
    evidence = by_file(view["evidence"])
    conclusions = conclude(by_file(view["hypotheses"]), evidence)
    write_conclusions(conclusions, view["conclusions"])

    path = request["inputs"]["report"]
    write_whole(path, render(request["inputs"]["repo"], conclusions, evidence, view))
    emit("note", text=f"the report is in {path}")
    done = {"phase": "report", "text": f"{plural(len(conclusions), 'conclusion')}, report in {path}"}
    if done not in [line["entry"] for line in view["progress"]]:
        emit("put", "progress", done)


def by_file(entries):
    grouped = collections.defaultdict(list)
    for entry in entries:
        grouped[entry["entry"]["file"]].append(entry)
    return grouped


def conclude(hypotheses, evidence):
    """Most urgent first. The score grows with the claims that agree and with how much the file is touched."""
    touched = {file: value_of(evidence[file], "churn") + value_of(evidence[file], "recent") for file in hypotheses}
    touched_most = max(touched.values(), default=0) or 1
    conclusions = []
    for file, claims in hypotheses.items():
        order = list(ADVICE)
        claims = sorted(claims, key=lambda claim: (order.index(claim["entry"]["sign"]), claim["id"]))
        doubt = 1.0
        for claim in claims:
            doubt *= 1 - claim["entry"]["confidence"]
        conclusions.append({
            "file": file,
            "score": round(100 * (1 - doubt) * math.sqrt(touched[file] / touched_most)),
            "verdict": verdict_of([claim["entry"]["sign"] for claim in claims]),
            "why": "; ".join(claim["entry"]["claim"] for claim in claims),
            "cites": [claim["id"] for claim in claims] + [fact["id"] for fact in evidence[file]],
        })  # fmt: skip
    conclusions.sort(key=lambda conclusion: (-conclusion["score"], conclusion["file"]))
    for rank, conclusion in enumerate(conclusions, start=1):
        conclusion["rank"] = rank
    return conclusions


def value_of(facts, kind):
    return sum(fact["entry"]["value"] for fact in facts if fact["entry"]["kind"] == kind)


def verdict_of(signs):
    advice = list(dict.fromkeys(ADVICE[sign] for sign in signs))
    if "compound" in signs:
        return f"{advice[0]}: " + "; ".join(advice[1:])
    return "; ".join([advice[0].capitalize(), *advice[1:]])


def write_conclusions(conclusions, known):
    """Only what changed, so that a second look at the same board writes nothing."""
    before = {entry["entry"]["file"]: entry for entry in known}
    for conclusion in conclusions:
        entry = {field: conclusion[field] for field in ("rank", "file", "verdict", "score", "why")}
        old = before.pop(conclusion["file"], None)
        if old is None or old["entry"] != entry:
            emit("put", "conclusions", entry, cites=conclusion["cites"])
    for old in before.values():
        emit("retract", id=old["id"], expected_version=old["version"], why="nothing speaks for it any more")


def render(repo, conclusions, evidence, view):
    dismissed = {refutation["entry"]["file"] for refutation in view["refutations"]}
    questions = [question for question in view["open_questions"] if question["entry"]["file"] not in dismissed]
    name = os.path.basename(os.path.realpath(repo))
    lines = [f"# Review of {name}", "", summary(conclusions, questions, view), ""]
    if conclusions:
        lines += ["## Do first", ""]
        for conclusion in conclusions[:FIRST_MAX]:
            facts = [fact for fact in evidence[conclusion["file"]] if fact["entry"]["kind"] in TELLING]
            because = "; ".join(f"{fact['entry']['note']} [{fact['id']}]" for fact in facts)
            lines.append(f"{conclusion['rank']}. `{conclusion['file']}`: {conclusion['verdict']}. Why: {because}.")
        lines += ["", "## Ranked", ""]
        lines += ["| rank | file | score | what speaks for it |", "| ---: | --- | ---: | --- |"]
        for c in conclusions:
            lines.append(f"| {c['rank']} | `{c['file'].replace('|', chr(92) + '|')}` | {c['score']} | {c['why']} |")
        lines.append("")
        for conclusion in conclusions[:DETAILED_MAX]:
            lines += detail(conclusion, evidence[conclusion["file"]])
    lines += open_questions(questions, conclusions)
    lines += set_aside(view["refutations"])
    lines += [
        "---",
        "Names in brackets are entries on the board; the log knows who wrote each one and what it rests on.",
    ]
    return "\n".join(lines) + "\n"


def summary(conclusions, questions, view):
    history = next((p["entry"]["text"] for p in view["progress"] if p["entry"]["phase"] == "history"), "no history")
    read = sum(increment["entry"]["by"] for increment in view["files_scanned"])
    outcome = (
        f"{plural(len(conclusions), 'file')} to attend to; the most urgent is `{conclusions[0]['file']}`"
        if conclusions
        else "no file needs attention by the rules of this crew"
    )
    return (
        f"The history holds {history}. The {len(view['files'])} most often changed files were looked at closely "
        f"({plural(read, 'file content')} read in all): {plural(len(view['evidence']), 'fact')} led to hypotheses, "
        f"of which {len(view['hypotheses'])} stand, while {plural(len(view['refutations']), 'file')} turned out to be "
        f"tests, generated or otherwise not kept by hand. Result: {outcome}. {plural(len(questions), 'open question')} "
        f"{'was' if len(questions) == 1 else 'were'} found in the code itself."
    )


def plural(count, noun):
    return f"{count} {noun}" + ("" if count == 1 else "s")


def detail(conclusion, facts):
    lines = [f"### {conclusion['rank']}. {conclusion['file']}", "", f"{conclusion['verdict']}.", ""]
    for fact in facts:
        if fact["entry"]["value"] or fact["entry"]["kind"] == "untested":
            lines.append(f"- {fact['entry']['note']} [{fact['id']}]")
    return [*lines, ""]


def open_questions(questions, conclusions):
    """Grouped by file, the files that rank highest first."""
    if not questions:
        return []
    rank = {conclusion["file"]: conclusion["rank"] for conclusion in conclusions}
    lines = ["## Open questions", ""]
    order = lambda item: (rank.get(item[0], len(rank) + 1), item[0])
    for file, entries in sorted(by_file(questions).items(), key=order):
        lines.append(f"- `{file}`")
        entries.sort(key=lambda entry: entry["entry"].get("line", 0))
        for entry in entries[:QUESTIONS_PER_FILE_MAX]:
            place = f"line {entry['entry']['line']}: " if "line" in entry["entry"] else ""
            lines.append(f"  - {place}{entry['entry']['text']} [{entry['id']}]")
    return [*lines, ""]


def set_aside(refutations):
    if not refutations:
        return []
    by_role = collections.defaultdict(list)
    for refutation in refutations:
        by_role[refutation["entry"]["role"]].append(refutation)
    lines = ["## Set aside", "", "Looked suspicious and was dismissed:", ""]
    for role, entries in sorted(by_role.items()):
        names = ", ".join(f"`{entry['entry']['file']}` [{entry['id']}]" for entry in entries)
        lines.append(f"- {role}: {names}")
    return [*lines, ""]


if __name__ == "__main__":
    main()
