#!/usr/bin/env bash
# Forks and what-ifs, end to end: tests/cli/forks.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/forks.py"
