"""Every way in which a provider's answer goes wrong, or is right in a way that clients get wrong.

A trap changes the reply, its bytes or its sending, or answers something else altogether. Its name is
selected by the model (`trap/NAME`, `trap/NAME=VALUE`) or by a rule (`{"trap": "NAME"}`). NAME_once and
NAME_twice play it for the first one or two requests of that model, then answer well.
"""

import dataclasses
import email.utils
import gzip as gzip_library
import math
import time

from formats import Call, Refused, compact, kind_of
from instance import instance
from script import usage_for

UNICODE = "Grüße aus Köln, 世界 🌍 – naïve façade, Ωμέγα."
HTML = (b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1>"
        b"<p>The proxy server received an invalid response from an upstream server.</p></body></html>\n")


@dataclasses.dataclass
class Answer:
    """What goes over the wire."""
    status: int = 200
    headers: dict = dataclasses.field(default_factory=dict)
    frames: list = None  # a stream: one event each
    body: bytes = b""
    # plain: as it should be; split: in pieces of a few bytes; cut: closed before the end; hang: nothing
    # more comes; drip: a byte now and then; drop: closed without a byte
    sending: str = "plain"
    wait_s: float = 0  # before the first byte
    gap_s: float = 0  # between two events, or two bytes of a drip


class Instead(Exception):
    """The trap's answer stands instead of any other."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer


@dataclasses.dataclass
class Make:
    """An answer in the making."""
    ask: object
    spec: dict
    reply: object
    host: str
    newline: str = "\n"
    space: bool = True
    padding: str = ""
    pings: bool = False
    gzip: bool = False
    sending: str = "plain"
    gap_s: float = 0
    headers: dict = dataclasses.field(default_factory=dict)
    change_events: object = None  # events to events

    def usage_factor(self, factor):
        self.spec = {**self.spec, "usage": {**(self.spec.get("usage") or {}), "factor": factor}}


TRAPS = {}


def trap(name):
    def register(function):
        TRAPS[name] = function
        return function
    return register


def find(name):
    """(trap, its value, how many requests it is for; None: all). Raises Refused for an unknown one."""
    name, _, value = name.partition("=")
    for suffix, times in (("_once", 1), ("_twice", 2)):
        if name.endswith(suffix) and name not in TRAPS:
            found, _, _ = find(name.removesuffix(suffix))
            return found, value, times
    if name in TRAPS:
        return TRAPS[name], value, None
    if name.isdigit() and 400 <= int(name) < 600:
        return lambda make, value: status(int(name), value), value, None
    raise Refused("not_found", f"The fake provider knows no trap '{name}'.")


def status(code, message):
    raise Refused(kind_of(code), message or f"The fake provider answers {code}.", code)


def refuse(kind, message, headers=None, **more):
    refused = Refused(kind, message, **more)
    refused.headers = headers or {}
    raise refused


# --- bytes -----------------------------------------------------------------------------------------


@trap("split_utf8")
def _split_utf8(make, value):
    if make.ask.schema is not None:
        make.reply.text = compact(_renamed(instance(make.ask.schema, full=True)))
    elif not make.reply.calls:
        make.reply.text = UNICODE
    make.sending = "split"


def _renamed(value):
    if isinstance(value, dict):
        return {key: _renamed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one) for one in value]
    return UNICODE if value == "text" else value


@trap("crlf")
def _crlf(make, value):
    make.newline = "\r\n"


@trap("no_space")
def _no_space(make, value):
    make.space = False


@trap("padded")
def _padded(make, value):
    make.padding = "     "


@trap("pings")
def _pings(make, value):
    make.pings = True


@trap("gzip")
def _gzip(make, value):
    make.gzip = True


@trap("ten_megabyte_line")
def _ten_megabyte_line(make, value):
    make.reply.text = "x" * int(value or 10 * 1024 * 1024)
    make.reply.piece = len(make.reply.text) or 1


@trap("unknown_events")
def _unknown_events(make, value):
    def change(events):
        out = []
        for name, data in events:
            if isinstance(data, dict):
                data = {**data, "obfuscation": "r4N7", "fake_extra": {"deep": [1, None]}}
                if name and "sequence_number" not in data:
                    out.append(("fake.unknown", {"type": "fake.unknown", "anything": 1}))
            out.append((name, data))
        return out
    make.change_events = change


# --- what the reply says ---------------------------------------------------------------------------


@trap("interleaved_tools")
def _interleaved_tools(make, value):
    if make.ask.after_tools:
        return
    tools = (make.ask.tools or [("write", {}), ("read", {})])[:2]
    tools = tools * 2 if len(tools) == 1 else tools
    make.reply.text = None
    make.reply.calls = [Call(name, compact(instance(schema, full=True)) if schema else '{"q": 1, "of": "some text"}')
                        for name, schema in tools]
    make.reply.interleaved = True
    make.reply.piece = 5


@trap("usage_only_chunk")
def _usage_only_chunk(make, value):
    make.reply.usage_chunk = True


@trap("no_done")
def _no_done(make, value):
    make.reply.done = False


@trap("responses_no_sequence")
def _responses_no_sequence(make, value):
    make.reply.sequence = False


@trap("refusal")
def _refusal(make, value):
    make.reply.text = None
    make.reply.calls = []
    make.reply.refusal = "I cannot help with that."
    make.reply.stop = "refusal"


@trap("content_filter")
def _content_filter(make, value):
    make.reply.stop = "filter"


@trap("length_half_json")
def _length_half_json(make, value):
    text = make.reply.text or '{"writes": []}'
    if make.ask.schema is not None:
        text = compact(instance(make.ask.schema, full=True))
    make.reply.text = text[:max(1, len(text) // 2)]
    make.reply.stop = "length"


@trap("context_overflow_stop")
def _context_overflow_stop(make, value):
    _length_half_json(make, value)
    make.reply.stop = "context"


@trap("bad_arguments")
def _bad_arguments(make, value):
    make.reply.text = None
    make.reply.calls = [Call((make.ask.tools or [("write", {})])[0][0], '{"q": ')]


@trap("empty_arguments")
def _empty_arguments(make, value):
    make.reply.text = None
    make.reply.calls = [Call((make.ask.tools or [("write", {})])[0][0], "")]


@trap("tool_cut")
def _tool_cut(make, value):
    _bad_arguments(make, value)
    make.reply.stop = "length"
    make.reply.cut_call = True


@trap("null_content")
def _null_content(make, value):
    make.reply.text = None
    make.reply.calls = []
    make.reply.stop = "end"


@trap("thinking")
def _thinking(make, value):
    make.reply.reasoning = "First I look at what is on the board."
    if make.ask.tools and not make.ask.after_tools:
        make.reply.text = None
        name, schema = make.ask.tools[0]
        # The Messages format wants the thinking back before a call with such an id.
        kind = "toolu_thought" if make.ask.format.name == "messages" else "call_thought"
        make.reply.calls = [Call(name, compact(instance(schema)), f"{kind}_{make.ask.number}")]


@trap("surprising_usage")
def _surprising_usage(make, value):
    make.usage_factor(float(value or 3))


@trap("no_usage")
def _no_usage(make, value):
    make.spec = {**make.spec, "usage": False}


@trap("rate_headers")
def _rate_headers(make, value):
    seconds = int(value or 250) / 1000
    if make.ask.format.name == "messages":
        reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(time.time() + seconds)))
        for what, limit in (("requests", 50), ("tokens", 80000), ("input-tokens", 40000), ("output-tokens", 8000)):
            make.headers |= {f"anthropic-ratelimit-{what}-limit": str(limit),
                             f"anthropic-ratelimit-{what}-remaining": "0", f"anthropic-ratelimit-{what}-reset": reset}
        return
    for what, limit in (("requests", 60), ("tokens", 150000)):
        make.headers |= {f"x-ratelimit-limit-{what}": str(limit), f"x-ratelimit-remaining-{what}": "0",
                         f"x-ratelimit-reset-{what}": f"{int(seconds * 1000)}ms"}


# --- errors ----------------------------------------------------------------------------------------


@trap("error_in_stream")
def _error_in_stream(make, value):
    broken = Refused("overloaded", value or "Overloaded")
    if not make.ask.stream:
        raise Instead(Answer(200, {"content-type": "application/json"},
                             body=compact(make.ask.format.error(broken, make.ask)).encode()))

    def change(events):
        kept = events[:max(2, len(events) // 2)]
        return kept + [make.ask.format.error_event(broken, make.ask, len(kept))]
    make.change_events = change


def _rate_limited(headers):
    refuse("rate_limit", "Rate limit reached for requests. Please try again later.", headers)


@trap("429_ms")
def _429_ms(make, value):
    _rate_limited({"retry-after-ms": value or "40", "x-ratelimit-remaining-tokens": "0",
                   "x-ratelimit-reset-tokens": f"{value or 40}ms"})


@trap("429_seconds")
def _429_seconds(make, value):
    _rate_limited({"retry-after": value or "1"})


@trap("429_date")
def _429_date(make, value):
    _rate_limited({"retry-after": email.utils.formatdate(math.ceil(time.time()) + int(value or 1), usegmt=True)})


@trap("429_none")
def _429_none(make, value):
    _rate_limited({})


@trap("429_quota")
def _429_quota(make, value):
    message = "You exceeded your current quota, please check your plan and billing details."
    if make.ask.format.name == "messages":
        message = "This request would exceed your organization's monthly spend limit."
    refuse("quota", message)


@trap("529")
def _529(make, value):
    if make.ask.format.name == "ollama":
        refuse("unavailable", "server busy, please try again. maximum pending requests exceeded")
    refuse("overloaded", "Overloaded")


@trap("401")
def _401(make, value):
    refuse("authentication", f"Incorrect API key provided: {make.ask.key()}. You can find your API key in your "
                             "account's settings.")


@trap("should_retry_false")
def _should_retry_false(make, value):
    refuse("server", "The server had an error.", {"x-should-retry": "false"})


@trap("should_retry_true")
def _should_retry_true(make, value):
    refuse("bad_request", "Try this again.", {"x-should-retry": "true"})


@trap("loading")
def _loading(make, value):
    refuse("unavailable", "Loading model")


@trap("code_integer")
def _code_integer(make, value):
    _error_body(400, {"error": {"code": 400, "message": "An error with an integer for a code.",
                                "type": "invalid_request_error"}})


@trap("code_object")
def _code_object(make, value):
    _error_body(400, {"error": {"code": {"reason": "deep"}, "message": "An error with an object for a code."}})


@trap("error_string")
def _error_string(make, value):
    _error_body(400, {"error": "An error that is only a text."})


def _error_body(code, body):
    raise Instead(Answer(code, {"content-type": "application/json"}, body=compact(body).encode()))


@trap("context_overflow")
def _context_overflow(make, value):
    tokens = -(-make.ask.body_bytes // 4)
    limit = int(value or 4096)
    name = make.ask.format.name
    if name == "messages":
        refuse("context", f"prompt is too long: {tokens} tokens > {limit} maximum")
    if name == "ollama":
        refuse("context", "the input length exceeds the context length")
    if make.ask.llama:
        refuse("context", "the request exceeds the available context size, try increasing it",
               extra={"n_prompt_tokens": tokens, "n_ctx": limit})
    refuse("context", f"This model's maximum context length is {limit} tokens. However, your messages resulted in "
                      f"{tokens} tokens. Please reduce the length of the messages.",
           param="messages")


@trap("redirect")
def _redirect(make, value):
    # The redirected path is answered well: who follows sees an answer, and the requests show it.
    if not make.ask.path.startswith("/redirected/"):
        place = value or f"http://{make.host}/redirected{make.ask.path}"
        raise Instead(Answer(307, {"location": place, "content-type": "text/plain"}, body=b"elsewhere\n"))


@trap("html_proxy")
def _html_proxy(make, value):
    raise Instead(Answer(int(value or 502), {"content-type": "text/html"}, body=HTML))


# --- sending ---------------------------------------------------------------------------------------


@trap("closed_early")
def _closed_early(make, value):
    make.change_events = _without_end
    make.sending = "cut"


@trap("closed_early_clean")
def _closed_early_clean(make, value):
    make.change_events = _without_end


def _without_end(events):
    return events[:max(1, len(events) // 2)]


@trap("no_reply")
def _no_reply(make, value):
    raise Instead(Answer(sending="drop"))


@trap("hang")
def _hang(make, value):
    raise Instead(Answer(sending="hang"))


@trap("hang_in_stream")
def _hang_in_stream(make, value):
    make.change_events = _without_end
    make.sending = "hang"


@trap("slow_loris")
def _slow_loris(make, value):
    make.sending = "drip"
    make.gap_s = int(value or 100) / 1000


# ---------------------------------------------------------------------------------------------------


def finished(make, cached):
    """The answer of what was made."""
    ask, reply = make.ask, make.reply
    for place, call in enumerate(reply.calls):
        call.id = call.id or f"{'toolu' if ask.format.name == 'messages' else 'call'}_fake_{ask.number}_{place}"
    reply.usage = usage_for(ask, reply, make.spec, cached)
    answer = Answer(headers=make.headers, sending=make.sending, gap_s=make.gap_s)
    if ask.stream:
        events = ask.format.events(ask, reply)
        if make.change_events:
            events = make.change_events(events)
        answer.frames = [frame for event in events for frame in _frames(make, *event)]
        answer.headers["content-type"] = "text/event-stream" if ask.format.sse else "application/x-ndjson"
    else:
        answer.body = compact(ask.format.whole(ask, reply)).encode()
        answer.headers["content-type"] = "application/json"
    if make.gzip:
        answer.headers["content-encoding"] = "gzip"
        if answer.frames is None:
            answer.body = gzip_library.compress(answer.body)
        else:
            answer.frames = [gzip_library.compress(b"".join(answer.frames))]
    return answer


def _frames(make, name, data):
    text = make.ask.format.framed(name, data)
    if make.ask.format.sse:
        if not make.space:
            text = text.replace("data: ", "data:", 1).replace("event: ", "event:", 1)
        if make.pings:
            yield f": ping{make.newline}{make.newline}".encode()
    elif make.pings:
        yield make.newline.encode()
    if make.padding:
        text = text.rstrip("\n") + make.padding + ("\n\n" if make.ask.format.sse else "\n")
    yield (text if make.newline == "\n" else text.replace("\n", make.newline)).encode()
