#!/usr/bin/env bash
# Sources that call out, end to end: tests/cli/agents.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/agents.py"
