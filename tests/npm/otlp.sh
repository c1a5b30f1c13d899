#!/usr/bin/env bash
# What `stele export --format otlp` prints, read with the official definitions of OTLP (as the package of
# OpenTelemetry's own exporter carries them).
source "$(dirname "${BASH_SOURCE[0]}")/support.bash"
STELE=$(realpath "${STELE:?names the program to test}")
if [[ ! -d $packages/node_modules/@opentelemetry/otlp-grpc-exporter-base ]]; then
    npm install --prefix "$packages" --no-audit --no-fund --silent @opentelemetry/otlp-grpc-exporter-base@0.48.0
fi
. "$(dirname "${BASH_SOURCE[0]}")/relay.bash"
"$STELE" export --format otlp --data "$work/data" --output "$work/spans.json"
NODE_PATH=$packages/node_modules node "$project/tests/npm/otlp_check.cjs" "$work/spans.json"
