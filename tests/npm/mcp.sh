#!/usr/bin/env bash
# MCP servers that others have written: the client alone, then a crew that works with them.
source "$(dirname "${BASH_SOURCE[0]}")/support.bash"

wanted=tests/mcp_servers/package.json
if ! cmp -s "$wanted" "$packages/installed.json"; then
    cp "$wanted" "$packages/package.json"
    (cd "$packages" && npm install --no-audit --no-fund --loglevel=error >&2)
    cp "$wanted" "$packages/installed.json"
fi

export STELE_NODE_MODULES=$packages/node_modules
"${STELE_TEST_SOURCES:?the binary with the tests of knowledge_sources}" --test-case="the reference servers answer"
python3 tests/npm/mcp.py
