#!/usr/bin/env python3
"""Who may include whom. Fails with one line per include that breaks a rule.

    python3 tests/layers_test.py [PROJECT]
"""

import fnmatch
import pathlib
import re
import sys
import tempfile

# A layer may include itself and the layers named here.
LAYERS = {
    "board": ["board"],
    "scheduler": ["board", "scheduler"],
    "knowledge_sources": ["board", "scheduler", "knowledge_sources"],
    "runtime": ["board", "scheduler", "knowledge_sources", "runtime"],
}

# A third-party header (by the beginning of its path) and the only files that may see it. No header
# of board or scheduler is in the list, so what they promise costs nobody a foreign library.
THIRD_PARTY = {
    "boost/beast": ["knowledge_sources/http_message.cpp"],
    "boost/asio": ["knowledge_sources/*", "runtime/*"],
    # In headers that the incremental matcher alone includes.
    "boost/unordered": ["scheduler/incremental_matcher.cpp", "scheduler/entry_index.hpp",
                        "scheduler/group_table.hpp", "scheduler/condition_family.hpp", "scheduler/held_conditions.hpp"],
    "boost/asio/ssl": ["knowledge_sources/http_client.cpp"],
    "openssl/ssl": ["knowledge_sources/http_client.cpp"],
    "zlib.h": ["knowledge_sources/inflate.cpp"],
    "sqlite3.h": ["knowledge_sources/relevance.cpp"],
    "rocksdb/": ["board/log/rocks_store.cpp"],
    "yaml-cpp/": ["runtime/crew_*.cpp"],
    "valijson/": ["board/json_schema.cpp"],
    "re2/": ["scheduler/pattern.cpp"],
    "CLI/": ["runtime/*.cpp"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def problems_in(project):
    found = []
    for layer, allowed in LAYERS.items():
        for file in sorted((project / layer).rglob("*.[ch]pp")):
            name = file.relative_to(project).as_posix()
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                include = INCLUDE.match(line)
                if include:
                    for problem in judge(project, layer, allowed, name, include[1], include[2]):
                        found.append(f"{name}:{number}: {problem}")
    return found


def judge(project, layer, allowed, name, bracket, path):
    target = path.split("/")[0]
    if target in LAYERS and target not in allowed:
        yield f'{layer} includes "{path}"; it may include only {", ".join(allowed)}'
    elif bracket == '"' and target not in LAYERS:
        yield f'"{path}" is not named from the project\'s root'
    elif bracket == '"' and not (project / path).exists():
        yield f'there is no "{path}"'
    for prefix, files in THIRD_PARTY.items():
        if path.startswith(prefix) and not any(fnmatch.fnmatch(name, pattern) for pattern in files):
            yield f"<{path}> belongs only in {', '.join(files)}"


def check_that_planted_problems_are_found():
    planted = {
        "board/value.hpp": ("", None),
        "board/upward.cpp": ('#include "scheduler/agenda.hpp"', "board includes"),
        "board/log/store.cpp": ("#include <rocksdb/db.h>", "belongs only in board/log/rocks_store.cpp"),
        "board/log/rocks_store.cpp": ("#include <rocksdb/db.h>", None),
        "board/lost.cpp": ('#include "board/gone.hpp"', 'there is no "board/gone.hpp"'),
        "scheduler/agenda.hpp": ("  # include <boost/asio/post.hpp>", "belongs only in knowledge_sources/*"),
        "scheduler/near.cpp": ('#include "agenda.hpp"', "is not named from the project's root"),
        "scheduler/down.cpp": ('#include "board/value.hpp"', None),
        "scheduler/crew.cpp": ("#include <yaml-cpp/yaml.h>", "belongs only in runtime/crew_*.cpp"),
        "knowledge_sources/process.cpp": ("#include <boost/asio/post.hpp>", None),
        "knowledge_sources/up.cpp": ('#include "runtime/run.hpp"', "knowledge_sources includes"),
        "knowledge_sources/http_message.cpp": ("#include <boost/beast/http/basic_parser.hpp>", None),
        "knowledge_sources/http_client.cpp": ("#include <boost/asio/ssl/stream.hpp>", None),
        "knowledge_sources/http_listener.cpp": (
            "#include <boost/asio/ssl/stream.hpp>",
            "belongs only in knowledge_sources/http_client.cpp",
        ),
        "knowledge_sources/relevance.cpp": ("#include <sqlite3.h>", None),
        "knowledge_sources/relevance.hpp": ("#include <sqlite3.h>", "belongs only in knowledge_sources/relevance.cpp"),
        "board/hash.cpp": ("#include <openssl/evp.h>", None),
        "board/digest.cpp": ("#include <openssl/ssl.h>", "belongs only in knowledge_sources/http_client.cpp"),
        "runtime/unpack.cpp": ("#include <zlib.h>", "belongs only in knowledge_sources/inflate.cpp"),
        "runtime/run.hpp": (
            "#include <boost/beast/http.hpp>",
            "belongs only in knowledge_sources/http_message.cpp",
        ),
        "runtime/crew_loader.cpp": ("#include <yaml-cpp/yaml.h>", None),
        "runtime/commented.cpp": ("// #include <boost/beast/http.hpp>", None),
    }
    with tempfile.TemporaryDirectory() as folder:
        project = pathlib.Path(folder)
        for name, (text, _) in planted.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(text + "\n", encoding="utf-8")
        found = problems_in(project)
    for name, (_, expected) in planted.items():
        about = [problem for problem in found if problem.startswith(name + ":")]
        if expected is None:
            assert not about, about
        else:
            assert len(about) == 1 and expected in about[0], (name, expected, about)


def main():
    project = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    check_that_planted_problems_are_found()
    found = problems_in(project)
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        print(f"layers_test: {len(found)} includes break the layer rules", file=sys.stderr)
        return 1
    print("layers_test: every include keeps to its layer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
