#!/usr/bin/env bash
# Formats every C++ file of the project; with --check only names those that would change, and fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=(-i)
if [[ ${1:-} == --check ]]; then mode=(--dry-run --Werror); fi
formatter=$(command -v clang-format-14 || command -v clang-format || true)
if [[ -z $formatter ]]; then
    echo "format.sh: clang-format is not installed (apt install clang-format-14)" >&2
    exit 1
fi
find board scheduler knowledge_sources runtime tests benchmarks -name '*.[ch]pp' -print0 2>/dev/null |
    xargs -0 -r "$formatter" "${mode[@]}"
