"""coverage: which of the chosen code files does any test name? A cheap stand-in for real coverage."""

import fnmatch
import posixpath
import re

from protocol import emit, read_files, read_request, tracked_files

TEST_FILES_MAX = 2000
TEST_BYTES_MAX = 256 * 1024
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# Names that say nothing by themselves; the folder's name stands for the file.
PLAIN = {"index", "main", "mod", "lib", "init", "__init__", "utils", "util", "types", "common"}


def main():
    request = read_request()
    repo = request["inputs"]["repo"]
    globs = [entry["entry"]["glob"] for entry in request["view"]["conventions"]]
    is_test = lambda path: any(fnmatch.fnmatchcase("/" + path, glob) for glob in globs)
    sizes = tracked_files(repo)
    tests = sorted(path for path in sizes if is_test(path) and sizes[path] <= TEST_BYTES_MAX)[:TEST_FILES_MAX]

    words = []  # of each test file
    for path, text in read_files(repo, tests):
        words.append(set(WORD.findall(text)) | set(re.split(r"[/._-]", path)) | {posixpath.basename(path)})

    for file in request["view"]["files"]:
        path = file["entry"]["path"]
        name = name_of(path)
        naming = sum(name in known or any(f"{name}{mark}" in known for mark in ("_test", "-test")) for known in words)
        if naming:
            note = f"{naming} test file{'s name' if naming > 1 else ' names'} {name}"
            entry = {"file": path, "kind": "tested", "value": naming, "note": note}
            emit("insert", "evidence", entry, cites=[file["id"]])
    emit("increment", "files_scanned", by=len(words))
    # In the same commit as the evidence: whoever sees this line sees all of it.
    emit("put", "progress", {"phase": "coverage", "text": f"{len(words)} test files read"})


def name_of(path):
    stem = posixpath.basename(path).split(".")[0]
    folder = posixpath.basename(posixpath.dirname(path))
    return folder if stem.lower() in PLAIN and folder else stem


if __name__ == "__main__":
    main()
