"""reader: the Markdown files of a folder as passages, each small enough to be shown beside others.

The folder is the first argument. Brings the board up to date, so that a second run on the same board
writes only what has changed.
"""

import os
import re
import sys

from protocol import emit, fail, read_request

FILES_MAX = 300
FILE_BYTES_MAX = 1024 * 1024
PASSAGES_MAX = 3000
PASSAGE_CHARACTERS = 1500
HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
FENCE = re.compile(r"\s*(```|~~~)")


def main():
    request = read_request()
    folder = sys.argv[1]
    if not os.path.isdir(folder):
        fail(f"{folder} is no folder; give one with Markdown files.")
    paths, left_out = find(folder)
    if not paths:
        fail(f"{folder} has no Markdown files (*.md).")

    known = {(p["entry"]["file"], p["entry"]["number"]): p for p in request["view"]["passages"]}
    written = 0
    for path in paths:
        with open(os.path.join(folder, path), encoding="utf-8", errors="replace") as file:
            text = file.read(FILE_BYTES_MAX)
        for number, (heading, passage) in enumerate(passages(text), start=1):
            if written == PASSAGES_MAX:
                left_out.append(f"what comes after passage {number - 1} of {path}")
                break
            written += 1
            entry = {"file": path, "number": number, "heading": heading, "text": passage}
            old = known.pop((path, number), None)
            if old is None or old["entry"] != entry:
                emit("put", "passages", entry)
        if written == PASSAGES_MAX:
            break
    for old in known.values():
        emit("retract", id=old["id"], why="it does not stand in the folder any more")
    if left_out:
        emit("note", text="left out: " + ", ".join(left_out[:5]) + (" and more" if len(left_out) > 5 else ""))
    emit("note", text=f"{written} passages of {len(paths)} files in {folder}")


def find(folder):
    """Paths below the folder, in order of name; links are not followed, hidden folders not entered."""
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = os.path.join(root, name)
            if name.endswith(".md") and os.path.isfile(path) and not os.path.islink(path):
                found.append(os.path.relpath(path, folder))
    found.sort()
    return found[:FILES_MAX], found[FILES_MAX:]


def passages(text):
    """(heading, text): what stands under one heading, cut between paragraphs where it is long."""
    heading, lines, in_fence = "", [], False
    for line in text.split("\n"):
        if FENCE.match(line):
            in_fence = not in_fence
        title = None if in_fence else HEADING.match(line)
        if title:
            yield from cut(heading, lines)
            heading, lines = title[2], []
        else:
            lines.append(line)
    yield from cut(heading, lines)


def cut(heading, lines):
    part = ""
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        paragraph = paragraph.strip("\n")
        if part and len(part) + len(paragraph) > PASSAGE_CHARACTERS:
            yield heading, part
            part = ""
        while len(paragraph) > PASSAGE_CHARACTERS:
            end = paragraph.rfind("\n", 1, PASSAGE_CHARACTERS) + 1 or PASSAGE_CHARACTERS
            yield heading, paragraph[:end].rstrip("\n")
            paragraph = paragraph[end:]
        part = f"{part}\n\n{paragraph}" if part and paragraph.strip() else part or paragraph
    if part.strip():
        yield heading, part


if __name__ == "__main__":
    main()
