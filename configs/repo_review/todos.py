"""todos: what the authors themselves left open, as questions on the board."""

import re

from protocol import bound, emit, read_files, read_request

# A marker counts where a comment would put it: behind a comment sign, in capitals.
MARK = re.compile(r"(?:#|//|/\*|^\s*\*|--|<!--|;|%)\s*((?:TODO|FIXME|HACK|XXX)\b.*)")
PER_FILE_MAX = 5
TEXT_MAX = 120


def main():
    request = read_request()
    files = {file["entry"]["path"]: file for file in bound(request, "f")}
    read = 0
    for path, text in read_files(request["inputs"]["repo"], list(files)):
        read += 1
        for line, question in questions(text):
            emit("add", "open_questions", {"file": path, "text": question, "line": line}, cites=[files[path]["id"]])
    emit("increment", "files_scanned", by=read)


def questions(text):
    found = {}
    for number, line in enumerate(text.split("\n"), start=1):
        mark = MARK.search(line)
        if mark:
            question = re.sub(r"\s*(\*/|-->)\s*$", "", mark[1]).strip()
            if len(question) > TEXT_MAX:
                question = question[: TEXT_MAX - 1].rstrip() + "…"
            found.setdefault(question, number)
            if len(found) == PER_FILE_MAX:
                break
    return [(number, question) for question, number in found.items()]


if __name__ == "__main__":
    main()
