#!/usr/bin/env bash
# Everything that must hold before a change goes in: the layer rules, all tests, and the unit tests
# once more under the address and undefined-behaviour sanitizers (STELE_SANITIZE=0 leaves that out).
# The last lines are ctest's summary of all tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

./scripts/install.sh --tests
python3 tests/layers_test.py

cmake --preset dev
cmake --build --preset dev
ctest --preset dev -j2 2>&1 | tee build/dev/ctest.txt

if [[ ${STELE_SANITIZE:-1} != 0 ]]; then
    cmake --preset asan
    cmake --build --preset asan --target unit_tests
    # RocksDB is a system library without instrumentation: containers that cross into it look
    # overflown to ASan though they are not.
    ASAN_OPTIONS=detect_container_overflow=0:${ASAN_OPTIONS:-} ctest --preset asan -j2
    echo
    sed -n '/tests passed/,$p' build/dev/ctest.txt
fi
