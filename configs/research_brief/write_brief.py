"""writer: the brief as a file, with the findings that it rests on, word for word, and where they stand.

Also woken when no brief came: then the file says what was found all the same, and what was taken back.
"""

import re

from protocol import emit, read_request, write_whole

REFERENCE = re.compile(r"\bfindings/\d+")
LINES_MAX = 30  # of each list


def main():
    request = read_request()
    view = request["view"]
    brief = request["match"].get("b")
    places = {item["id"]: place_of(item["entry"]) for region in ("passages", "pages") for item in view[region]}
    findings = {finding["id"]: finding for finding in view["findings"]}

    lines, named = top(brief, findings, request["inputs"]["question"])
    others = [id for id in findings if id not in named]
    lines += section("What it rests on", [told(findings[id], places) for id in named])
    lines += section("Also found" if named else "Found", [told(findings[id], places) for id in others])
    lines += section("Still open", [f"- {one_line(question['entry']['text'])}" for question in unanswered(view)])
    lines += section("Taken back", [
        f"- \"{one_line(refusal['entry']['claim'])}\" ({refusal['entry']['author']}): {refusal['entry']['reason']}"
        for refusal in view["refusals"]
    ])  # fmt: skip
    lines += ["---", "Names in brackets are entries on the board; `stele show findings/1` says who wrote one and why."]

    path = request["inputs"]["brief"]
    write_whole(path, "\n".join(lines) + "\n")
    report = {"path": path, "has_brief": brief is not None, "findings": len(findings)}
    emit("insert", "reports", {**report, "taken_back": len(view["refusals"])})
    emit("note", text=f"the brief is in {path}" if brief else f"there is no brief; {path} says what was found")


def top(brief, findings, question):
    """The lines above the lists, and the findings that the text names, in its order."""
    if brief is None:
        why = "**No brief was written.** `stele log` says why: what was refused, and what failed."
        return [f"# {question}", "", why, ""], []
    text = brief["entry"]["text"].strip()
    names = list(dict.fromkeys(REFERENCE.findall(text)))
    lines = [f"# {one_line(brief['entry']['title'])}", "", f"*{question}*", "", text, ""]
    unknown = [name for name in names if name not in findings]
    if unknown:
        lines += [f"> Not to be relied on: it names {', '.join(unknown)}, which is no finding that stands.", ""]
    if not names:
        lines += ["> Not to be relied on: it names no finding that it rests on.", ""]
    return lines, [name for name in names if name in findings]


def place_of(entry):
    if "url" in entry:
        return entry["url"]
    return entry["file"] + (f", {entry['heading']!r}" if entry["heading"] else "")


def told(finding, places):
    entry = finding["entry"]
    place = places.get(entry["source"], "a source that is gone")
    return f"- {one_line(entry['claim'])} [{finding['id']}]  \n  \"{one_line(entry['quote'])}\" ({place})"


def unanswered(view):
    asked = {inquiry["entry"]["text"] for inquiry in view["inquiries"]}
    return [question for question in view["open_questions"] if question["entry"]["text"] not in asked]


def section(title, lines):
    more = len(lines) - LINES_MAX
    lines = lines[:LINES_MAX] + ([f"- and {more} more, which `stele show` has"] if more > 0 else [])
    return [f"## {title}", "", *lines, ""] if lines else []


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    main()
