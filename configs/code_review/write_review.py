"""reporter: what survived, the gravest first, with the lines it is about; then what did not."""

import os
import re

from protocol import emit, read_request, write_whole

GRAVITY = ["high", "medium", "low"]
LINES_MAX = 30  # of each list


def main():
    request = read_request()
    view, inputs = request["view"], request["inputs"]
    findings = sorted(view["findings"], key=order)
    decided = {key(finding) for finding in findings}
    undecided = [remark for remark in view["remarks"] if key(remark) not in decided]
    added, removed = (sum(file["entry"][side] for file in view["files"]) for side in ("added", "removed"))
    name = os.path.basename(os.path.realpath(inputs["repo"]))
    lines = [
        f"# Review of {name}, {inputs['range']}", "",
        f"{plural(len(view['files']), 'file')} with {added} lines added and {removed} removed. "
        f"{plural(len(findings), 'remark')} stood up to the sceptic, {len(view['overturned'])} did not"
        + (f"; {len(undecided)} got no verdict." if undecided else "."), "",
    ]  # fmt: skip
    for finding in findings:
        entry = finding["entry"]
        lines += [f"## {entry['severity']}: `{one_line(entry['file'])}`, near line {entry['line']}", ""]
        lines += [one_line(entry["text"]), "", "    " + one_line(entry["quote"]), ""]
        lines += [f"Why it stands: {one_line(entry['reason'])} [{finding['id']}]", ""]
    told = lambda remark: f"- `{one_line(remark['entry']['file'])}`: {one_line(remark['entry']['text'])}"
    lines += section("Without a verdict", [f"{told(remark)} [{remark['id']}]" for remark in undecided])
    because = lambda remark: f" Because: {one_line(remark['entry']['reason'])}"
    lines += section("Overturned", [told(remark) + because(remark) for remark in view["overturned"]])
    lines += ["---", "Names in brackets are entries on the board; `stele show findings/1` says what one rests on."]

    path = inputs["report"]
    write_whole(path, "\n".join(lines) + "\n")
    emit("insert", "reports", {"path": path, "findings": len(findings)})
    emit("note", text=f"the review is in {path}")


def key(item):
    return tuple(item["entry"][field] for field in ("file", "quote", "text"))


def order(finding):
    entry = finding["entry"]
    return GRAVITY.index(entry["severity"]), entry["file"], entry["line"]


def section(title, lines):
    more = len(lines) - LINES_MAX
    lines = lines[:LINES_MAX] + ([f"- and {more} more, which `stele show` has"] if more > 0 else [])
    return [f"## {title}", "", *lines, ""] if lines else []


def plural(count, noun):
    return f"{count} {noun}" + ("" if count == 1 else "s")


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    main()
