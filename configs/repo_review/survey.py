"""survey: the facts about each file that the history brought up."""

import os

from protocol import emit, read_request, tracked_files

CODE = set(
    ".c .cc .cpp .cxx .h .hh .hpp .hxx .m .mm .cu .cuh .rs .go .zig .nim .v .sv .vhd .f90 .swift .dart "
    ".java .kt .kts .scala .groovy .clj .cs .fs .js .jsx .mjs .cjs .ts .tsx .vue .svelte .php .proto .sql "
    ".py .pyi .rb .pl .pm .lua .r .jl .ex .exs .erl .hs .ml .mli .sh .bash".split()
)
TEXT = set(".md .rst .txt .adoc .org .tex .html".split())


def main():
    request = read_request()
    sizes = tracked_files(request["inputs"]["repo"])
    for churn in request["view"]["evidence"]:
        path = churn["entry"]["file"]
        if path in sizes:
            entry = {"path": path, "role": role_of(path), "bytes": sizes[path]}
            emit("insert", "files", entry, cites=[churn["id"]])
    count = len(request["view"]["evidence"])
    emit("put", "progress", {"phase": "survey", "text": f"{count} most often changed files chosen"})


def role_of(path):
    """What the name alone tells; the checker looks closer when it matters."""
    suffix = os.path.splitext(path)[1].lower()
    return "code" if suffix in CODE else "text" if suffix in TEXT else "data"


if __name__ == "__main__":
    main()
