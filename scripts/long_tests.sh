#!/usr/bin/env bash
# What CI does in small, at length. The matcher against its oracles: the incremental matcher against the re-evaluating one, and
# against CLIPS, PROGRAMS random programs each (10,000 unless told), from seed SEED on (1). A failure prints
# its seed and the program, and STELE_MATCHER_SEED=<seed> with one program runs it again. Then half as many crews
# that lose their process again and again, and every bit of a small board is flipped: `verify` must see each.
# usage: scripts/long_tests.sh [PROGRAMS [SEED]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

./scripts/install.sh --tests
cmake --preset dev
cmake --build --preset dev --target test_scheduler test_runtime
programs=${1:-10000}
STELE_MATCHER_SEED=${2:-1} STELE_MATCHER_PROGRAMS=$programs STELE_CLIPS_PROGRAMS=$programs \
    ./build/dev/test_scheduler --source-file='*matcher_*_test.cpp,*clips_oracle_test.cpp'
STELE_FLIP_ALL=1 STELE_STORMS=$((programs / 2)) \
    ./build/dev/test_runtime --source-file='*verify_test.cpp,*scheduler_crash_test.cpp'
