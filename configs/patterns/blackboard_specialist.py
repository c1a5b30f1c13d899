"""specialist, of either place: the first figure of a text is evidence, what it asks is an open question."""

import json
import re
import sys

material = json.load(sys.stdin)["match"]["m"]
entry = material["entry"]


def propose(op, region, content):
    print(json.dumps({"op": op, "region": region, "entry": content, "cites": [material["id"]]}))


figure = re.search(r"\d+", entry["text"])
if figure:
    propose("insert", "evidence", {**entry, "figure": int(figure[0])})
question = re.search(r"(?:but |; )([^,;]*\?)", entry["text"])
if question:
    propose("add", "open_questions", {"text": question[1]})
