"""Which reply a request gets: the rules of a script first, then the model's name, then the default."""

import fnmatch
import json
import re

from formats import Call, Refused, Reply, Usage, compact, kind_of
from instance import instance

SENTENCE = "The fake model has nothing to add."
MARKER = "fake-answer:"
MODELS = {
    "answer": {"answer": True},
    "echo": {"echo": True},
    "smallest": {"schema": "smallest"},
    "full": {"schema": "full"},
    "tools": {"call_tools": "first"},
    "tools_all": {"call_tools": "all"},
    "tools_forever": {"call_tools": "forever"},
}
TRAP_IN_NAME = re.compile(r"(?:^|[/:])trap[/:]([a-z0-9_]+)(?:=([^/]*))?$")


class Script:
    """Rules and how often each has matched."""

    def __init__(self, source=None):
        source = source or []
        if isinstance(source, list):
            source = {"rules": source}
        self.rules = source.get("rules", [])
        self.pace = {key: source[key] for key in ("delay_ms", "tokens_per_second") if key in source}
        for rule in self.rules:
            unknown = set(rule) - {"when", "reply"} | set(rule.get("when", {})) - set(CONDITIONS) - {"nth"}
            if unknown:
                raise ValueError(f"unknown key in a rule: {', '.join(sorted(unknown))}")
        self.reset()

    def reset(self):
        self.counts = [0] * len(self.rules)

    def spec(self, ask):
        """What is to be replied, in the words of a rule's `reply`."""
        for place, rule in enumerate(self.rules):
            when = rule.get("when", {})
            if not all(CONDITIONS[key](ask, value) for key, value in when.items() if key != "nth"):
                continue
            self.counts[place] += 1
            if "nth" in when and self.counts[place] not in as_list(when["nth"]):
                continue
            return {**self.pace, **rule.get("reply", {}), "nth": self.counts[place]}
        named = dict(MODELS.get(ask.model.rsplit("/", 1)[-1], {}))
        trap = TRAP_IN_NAME.search(ask.model)
        if trap:
            named["trap"] = trap.group(1) if trap.group(2) is None else f"{trap.group(1)}={trap.group(2)}"
        return {**self.pace, **named}


def as_list(value):
    return value if isinstance(value, list) else [value]


CONDITIONS = {
    "model": lambda ask, value: any(fnmatch.fnmatchcase(ask.model, one) for one in as_list(value)),
    "contains": lambda ask, value: all(one in ask.prompt for one in as_list(value)),
    "path": lambda ask, value: any(fnmatch.fnmatchcase(ask.path, one) for one in as_list(value)),
    "stream": lambda ask, value: ask.stream == value,
    "has_tools": lambda ask, value: bool(ask.tools) == value,
    "has_schema": lambda ask, value: (ask.schema is not None) == value,
    "after_tools": lambda ask, value: ask.after_tools == value,
}


def reply_for(ask, spec):
    """The reply's content. Traps and pacing are not looked at. Raises Refused for `error`."""
    if "error" in spec:
        raise refused_of(spec["error"])
    reply = Reply(piece=spec.get("piece", 24), reasoning=spec.get("reasoning"), stop=spec.get("stop", ""))
    _fill(reply, ask, spec)
    for place, call in enumerate(reply.calls):
        call.id = call.id or f"{'toolu' if ask.format.name == 'messages' else 'call'}_fake_{ask.number}_{place}"
    if ask.max_tokens is not None and reply.text is not None and not spec.get("beyond_max_tokens"):
        whole = reply.text.encode()
        if len(whole) > ask.max_tokens * 4:
            reply.text = whole[:ask.max_tokens * 4].decode(errors="ignore")
            reply.stop = "length"
    return reply


def _fill(reply, ask, spec):
    def filled(value):
        return substituted(value, ask, spec)

    if "tool_calls" in spec:
        for call in filled(spec["tool_calls"]):
            arguments = call.get("arguments", {})
            reply.calls.append(Call(call["name"], arguments if isinstance(arguments, str) else compact(arguments),
                                    call.get("id", "")))
        reply.text = filled(spec.get("text"))
    elif "refusal" in spec:
        reply.refusal = spec["refusal"]
        reply.stop = "refusal"
    elif "json" in spec:
        reply.text = compact(filled(spec["json"]))
    elif "text" in spec:
        reply.text = filled(spec["text"])
    elif spec.get("echo"):
        reply.text = ask.last_user
    elif spec.get("answer") and MARKER in ask.prompt:
        reply.text = marked_answer(ask.prompt)
    elif ask.tools and spec.get("call_tools") and (spec["call_tools"] == "forever" or not ask.after_tools):
        count = None if spec["call_tools"] == "all" else 1
        reply.calls = [Call(name, compact(instance(schema))) for name, schema in ask.tools[:count]]
    elif ask.schema is not None:
        reply.text = compact(instance(ask.schema, full=spec.get("schema") == "full"))
    else:
        reply.text = SENTENCE


def refused_of(error):
    if not isinstance(error, dict):
        error = {"status": error}
    status = error.get("status", 500)
    refused = Refused(error.get("kind", kind_of(status)), error.get("message", f"The script says {status}."), status,
                      error.get("code"))
    refused.headers = error.get("headers", {})
    refused.body = error.get("body")
    return refused


def marked_answer(prompt):
    """What follows the last marker: one JSON value, or the rest of its line. Inside of a JSON text (an
    entry shown in a prompt) the value may be escaped once."""
    rest = prompt[prompt.rindex(MARKER) + len(MARKER):].lstrip(" ")
    for candidate in (rest, rest.split("\n", 1)[0].replace('\\"', '"').replace("\\\\", "\\")):
        try:
            _, end = json.JSONDecoder().raw_decode(candidate)
            return candidate[:end]
        except ValueError:
            continue
    return rest.split("\n", 1)[0].rstrip()


def substituted(value, ask, spec):
    """`{{model}}`, `{{nth}}`, `{{last_user}}`, and `{{find REGEX}}` (its first group, or all of it, in the
    prompt; nothing when it is not there), in every text of the value."""
    if isinstance(value, list):
        return [substituted(one, ask, spec) for one in value]
    if isinstance(value, dict):
        return {key: substituted(one, ask, spec) for key, one in value.items()}
    if not isinstance(value, str) or "{{" not in value:
        return value

    def put(match):
        word, _, pattern = match.group(1).partition(" ")
        if word == "find":
            found = re.search(pattern, ask.prompt)
            return (found.group(found.re.groups and 1) or "") if found else ""
        words = {"model": ask.model, "nth": str(spec.get("nth", 1)), "last_user": ask.last_user}
        return words.get(word, match.group(0))

    return re.sub(r"\{\{(.+?)\}\}", put, value)


def usage_for(ask, reply, spec, cached=0):
    """Tokens are bytes / 4, rounded up: of the request's body, and of what is answered (at least one)."""
    said = spec.get("usage", {})
    if said is False:
        return None
    usage = Usage(input=-(-ask.body_bytes // 4), output=max(1, -(-reply.output_bytes() // 4)), cached=cached,
                  reasoning=-(-len((reply.reasoning or "").encode()) // 4))
    for key, value in said.items():
        if key != "factor":
            setattr(usage, key, value)
    usage.input = int(usage.input * said.get("factor", 1))
    usage.output = int(usage.output * said.get("factor", 1))
    return usage
