"""worker: reads one paper and reports. What becomes of the report is for the lead to decide."""

import json
import sys

match = json.load(sys.stdin)["match"]
step, paper = match["step"], match["paper"]
words = paper["entry"]["text"].split()
finding = {"step": step["entry"]["step"], "longest": max(words, key=len), "words": len(words)}
print(json.dumps({"op": "insert", "region": "findings", "entry": finding, "cites": [step["id"], paper["id"]]}))
