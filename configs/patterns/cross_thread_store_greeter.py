"""greeter: what it is shown is its own namespace, as earlier threads left it."""

import json
import sys

request = json.load(sys.stdin)
namespace, thread = request["inputs"]["namespace"], request["inputs"]["thread"]
memory = {item["entry"]["key"]: item for item in request["view"]["store"]}


def propose(op, region, cites=(), **entry):
    line = {"op": op, "region": region, "entry": {"namespace": namespace, **entry}, "cites": list(cites)}
    print(json.dumps(line))


visits = memory.get("visits")
count = int(visits["entry"]["value"]) + 1 if visits else 1
known = "nothing yet" if not visits else ", ".join(sorted(memory))
text = f"visit {count}; known from earlier threads: {known}"
propose("insert", "greetings", [visits["id"]] if visits else [], thread=thread, text=text)
propose("put", "store", [visits["id"]] if visits else [], key="visits", value=str(count))
propose("put", "store", key="last_thread", value=thread)
