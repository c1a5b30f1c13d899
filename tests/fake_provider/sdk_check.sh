#!/usr/bin/env bash
# Points the official Node clients at the fake provider and asserts what they understood.
#
#   sdk_check.sh [FOLDER]     where the packages are installed; build/npm/sdk_check by default
#
# Needs node >= 18, npm and python3, and the network the first time. The last line says how it ended.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/../../build/npm/sdk_check}
node=${NODE:-node}

mkdir -p "$folder"
if ! cmp -s "$here/sdk_check/package-lock.json" "$folder/installed-lock.json"; then
    cp "$here/sdk_check/package.json" "$here/sdk_check/package-lock.json" "$folder/"
    (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error >&2)
    cp "$here/sdk_check/package-lock.json" "$folder/installed-lock.json"
fi

coproc fake { exec python3 "$here/fake_provider.py" --port 0 --while-stdin; }
fake_pid=$fake_PID
trap 'kill "$fake_pid" 2>/dev/null || true' EXIT
read -r word port <&"${fake[0]}"
[[ $word == ready ]]

cd "$folder"
timeout 120 "$node" "$here/sdk_check/check.mjs" "$port"
