"""editor: puts its line into the block. Reads all of it, changes it, and names the version it has read."""

import json
import sys
import time

request = json.load(sys.stdin)
draft, block = request["match"]["draft"], request["view"]["block"][0]
for refusal in request["previous"]:
    text = f"version {refusal['current']['version']} came first; edited version {block['version']} instead"
    print(json.dumps({"op": "note", "text": text}))

entry = dict(block["entry"])
if entry["edits"] == 0:
    time.sleep(0.5)  # long enough for the other editor to have read the same version
entry["lines"] = [*entry["lines"], draft["entry"]["line"]]
entry["edits"] += 1
replace = {"op": "replace", "id": block["id"], "expected_version": block["version"], "entry": entry}
print(json.dumps({**replace, "cites": [draft["id"]], "why": f"{request['source']} has one more question"}))
