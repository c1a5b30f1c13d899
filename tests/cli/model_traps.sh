#!/usr/bin/env bash
# Everything that a provider of models can do wrong: tests/cli/model_traps.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/model_traps.py"
