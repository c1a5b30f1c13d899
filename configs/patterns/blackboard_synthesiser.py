"""synthesiser: one conclusion for each hypothesis, resting on it by name."""

import json
import sys

view = json.load(sys.stdin)["view"]
questions = view["open_questions"]
for hypothesis in view["hypotheses"]:
    topic, web, docs = (hypothesis["entry"][field] for field in ("topic", "web", "docs"))
    text = f"{topic} is {web}, say both" if web == docs else f"{topic} is {web} outside and {docs} in the house"
    entry = {"topic": topic, "text": text, "open": len(questions)}
    cites = [hypothesis["id"], *(question["id"] for question in questions)]
    print(json.dumps({"op": "put", "region": "conclusions", "entry": entry, "cites": cites}))
