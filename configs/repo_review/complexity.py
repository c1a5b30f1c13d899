"""complexity: how long the code files are and how deeply their blocks are nested."""

import collections

from protocol import bound, emit, read_files, read_request

DEPTH_LINES_MIN = 3  # one odd line is no habit


def main():
    request = read_request()
    files = {file["entry"]["path"]: file for file in bound(request, "f")}
    read = 0
    for path, text in read_files(request["inputs"]["repo"], list(files)):
        read += 1
        lines = [line for line in text.splitlines() if line.strip()]
        depth = nesting(lines)
        fact(files[path], "lines", len(lines), f"{len(lines)} lines that are not blank")
        fact(files[path], "depth", depth, f"blocks nested {depth} deep")
    emit("increment", "files_scanned", by=read)


def fact(file, kind, value, note):
    entry = {"file": file["entry"]["path"], "kind": kind, "value": value, "note": note}
    emit("insert", "evidence", entry, cites=[file["id"]])


def nesting(lines):
    """The deepest indentation that several lines reach; lines that only continue another do not count."""
    stack = [0]
    at_depth = collections.Counter()
    continues = False
    for line in lines:
        code = line.expandtabs(4)
        indent = len(code) - len(code.lstrip())
        if not continues:
            while indent < stack[-1]:
                stack.pop()
            if indent > stack[-1]:
                stack.append(indent)
            at_depth[len(stack) - 1] += 1
        continues = code.rstrip().endswith((",", "(", "[", "\\", "&&", "||", "+", "=", "?"))
    lines_at_least = 0
    for depth in sorted(at_depth, reverse=True):
        lines_at_least += at_depth[depth]
        if lines_at_least >= DEPTH_LINES_MIN:
            return depth
    return 0


if __name__ == "__main__":
    main()
