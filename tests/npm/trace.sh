#!/usr/bin/env bash
# What `stele export --format trace` prints, read with TracerBench's model of Chrome's trace events.
source "$(dirname "${BASH_SOURCE[0]}")/support.bash"
STELE=$(realpath "${STELE:?names the program to test}")
if [[ ! -d $packages/node_modules/@tracerbench/trace-model ]]; then
    npm install --prefix "$packages" --no-audit --no-fund --silent @tracerbench/trace-model@8.0.0
fi
. "$(dirname "${BASH_SOURCE[0]}")/relay.bash"
"$STELE" export --format trace --data "$work/data" --output "$work/run.json"
NODE_PATH=$packages/node_modules node "$project/tests/npm/trace_check.cjs" "$work/run.json"
