#!/usr/bin/env bash
# Runs the benchmark NAME, or every one, and leaves the figures in build/bench/NAME.json. Arguments after NAME
# are the benchmark's own: --rounds N, --only PART.
# usage: scripts/bench.sh [NAME [ARGUMENT...]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# With the peers that are engines of their own.
./scripts/install.sh --tests
cmake --preset release
if (( $# > 0 )); then
    names=("$1")
    shift
    if [[ ! -f "benchmarks/${names[0]}_bench.cpp" ]]; then
        known=$(cd benchmarks && echo *_bench.cpp)
        echo "bench.sh: there is no benchmark ${names[0]}; there are: ${known//_bench.cpp/}" >&2
        exit 1
    fi
    cmake --build --preset release --target "stele_bench_${names[0]}"
else
    names=()
    for file in benchmarks/*_bench.cpp; do names+=("$(basename "$file" _bench.cpp)"); done
    cmake --build --preset release --target benchmarks
fi

mkdir -p build/bench
for name in "${names[@]}"; do
    echo "== $name"
    "build/release/stele_bench_$name" --json "build/bench/$name.json" "$@"
done
