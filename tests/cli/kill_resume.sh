#!/usr/bin/env bash
# Kills a working crew fifty times; nothing acknowledged may be lost, nothing may happen twice.
set -euo pipefail
. "$(dirname "$0")/support.bash"

expect 0 python3 "$project/tests/cli/kill_resume.py" "$STELE" "$work" ${KILL_RESUME_SEED-}
cat out
finish
