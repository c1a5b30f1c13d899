#!/usr/bin/env bash
# Runs clang-tidy over the given .cpp files, or over all of the project's own code.
# usage: scripts/tidy.sh [FILE...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tidy=$(command -v clang-tidy-14 || command -v clang-tidy || true)
if [[ -z $tidy ]]; then
    echo "tidy.sh: clang-tidy is not installed (apt install clang-tidy-14)" >&2
    exit 1
fi
# The release build's commands: the everyday build's name g++'s precompiled headers, which clang cannot read.
cmake --preset release >/dev/null
if (( $# > 0 )); then
    files=("$@")
else
    mapfile -t files < <(find board scheduler knowledge_sources runtime -name '*.cpp' | sort)
fi
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" "$tidy" -p build/release --quiet
