#!/usr/bin/env bash
# Builds Stele and lets the review crew loose on a repository. Arguments go to `stele run`, for
# example: scripts/demo.sh --input repo=/path/to/a/repository
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
project=$PWD

./scripts/install.sh
mkdir -p build
echo "building Stele (a few minutes the first time, seconds afterwards)" >&2
if ! { cmake --preset release && cmake --build --preset release --target stele; } >build/demo.log 2>&1; then
    tail -n 40 build/demo.log >&2
    echo "demo.sh: the build failed; all of its output is in build/demo.log" >&2
    exit 1
fi

# The run starts where the caller stands, so that relative paths mean what they say there.
cd "$caller"
exec "$project/build/release/stele" run "$project/configs/repo_review.yaml" "$@"
