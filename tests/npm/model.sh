#!/usr/bin/env bash
# A real engine answers crews: llama.cpp with a tiny model made on the spot.
source "$(dirname "${BASH_SOURCE[0]}")/support.bash"
python3 tests/real_model/real_model_test.py "$packages"
exec python3 tests/npm/model.py "$packages"
