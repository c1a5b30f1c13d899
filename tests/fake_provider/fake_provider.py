#!/usr/bin/env python3
"""A provider of models that thinks nothing: one server for five wire formats, scripted replies, and
every trap a client must survive. See README.md beside this file.

    fake_provider.py [--port N] [--script FILE] ...

Prints "ready PORT" once it listens. One thread; a reply that needs no waiting is written at once, in the
same turn of the loop in which its request came.
"""

import argparse
import asyncio
import collections
import json
import signal
import ssl
import sys
import time
import traceback

import traps
from formats import Refused, compact, new_ask, read_ask
from script import MODELS, Script, reply_for

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 64 * 1024 * 1024
PHRASES = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
           429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}


class Request:
    def __init__(self, method, target, version, headers, pairs):
        if "://" in target:  # as a proxy is asked
            target = "/" + target.split("://", 1)[1].partition("/")[2]
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.pairs = pairs
        self.body = b""
        wanted = headers.get("connection", "").lower()
        self.keep_alive = wanted == "keep-alive" if version == "HTTP/1.0" else wanted != "close"


class Provider:
    """What all connections share."""

    def __init__(self, options):
        self.options = options
        self.script = Script(json.load(open(options.script, encoding="utf-8")) if options.script else None)
        self.port = 0
        self.connections = set()
        self.active = 0
        self.number = 0
        self.reset()

    def reset(self):
        self.requests = collections.deque(maxlen=self.options.keep)
        self.started = time.monotonic()
        self.counts = collections.Counter()
        self.by_path = collections.Counter()
        self.by_model = collections.Counter()
        self.by_status = collections.Counter()
        self.active_max = self.active
        self.connections_max = len(self.connections)
        self.trap_counts = collections.Counter()
        self.prompts = {}
        self.script.reset()

    # --- answers -------------------------------------------------------------------------------

    def answer(self, request):
        """The answer to any request. Never raises."""
        if request.path.startswith("/fake/"):
            return self._answer_test(request)
        self.number += 1
        seen = {"n": self.number, "method": request.method, "path": request.path, "query": request.query,
                "headers": request.pairs, "body": request.body, "at_ms": int((time.monotonic() - self.started) * 1000)}
        self.requests.append(seen)
        self.counts["requests"] += 1
        self.by_path[request.path] += 1
        ask = new_ask(request.path, request.headers, request.body, self.number)
        if ask is None:
            return self._answer_plain(request)
        if request.method != "POST":
            return self._refused(Refused("bad_request", f"{request.method} is not allowed here.", 405), ask)
        try:
            return self._answer_ask(request, ask)
        except Refused as refused:
            return self._refused(refused, ask)
        except Exception as wrong:  # a script's or the fake's own fault: the test must see it, and the server go on
            traceback.print_exc()
            return self._refused(Refused("server", f"The fake provider failed: {wrong!r}"), ask)
        finally:
            self.by_model[ask.model] += 1

    def _answer_ask(self, request, ask):
        key = self.options.key
        if key and ask.key() != key:
            raise Refused("authentication", f"Incorrect API key provided: {ask.key() or 'none'}.")
        read_ask(ask, request.body)
        spec = self.script.spec(ask)
        wait_s = spec.get("delay_ms", self.options.delay_ms) / 1000
        speed = spec.get("tokens_per_second", self.options.tokens_per_second)
        if speed and "piece" not in spec:
            spec = {**spec, "piece": 4}
        try:
            make = traps.Make(ask, spec, reply_for(ask, spec), request.headers.get("host", f"127.0.0.1:{self.port}"))
            make.headers |= spec.get("headers", {})
            self._spring(make, spec)
            answer = traps.finished(make, self._cached_tokens(ask))
            if speed and answer.frames is not None and not answer.gap_s:
                answer.gap_s = 1 / speed
        except traps.Instead as instead:
            answer = instead.answer
        except Refused as refused:
            answer = self._refused(refused, ask)
        answer.wait_s = wait_s
        answer.headers.setdefault(*self._id_header(ask))
        return answer

    def _spring(self, make, spec):
        names = spec.get("trap", [])
        for name in names if isinstance(names, list) else [names]:
            function, value, times = traps.find(name)
            if times is not None:
                self.trap_counts[make.ask.path, make.ask.model, name] += 1
                if self.trap_counts[make.ask.path, make.ask.model, name] > times:
                    continue
            function(make, value)

    def _cached_tokens(self, ask):
        """With --prompt-cache: the longest beginning that an earlier prompt of this model had too, in
        whole steps of 128 tokens, from 1024 on."""
        if not self.options.prompt_cache:
            return 0
        earlier = self.prompts.setdefault((ask.path, ask.model), collections.deque(maxlen=32))
        tokens = max((common_bytes(ask.prompt, prompt) // 4 for prompt in earlier), default=0)
        earlier.append(ask.prompt)
        return tokens // 128 * 128 if tokens >= 1024 else 0

    def _id_header(self, ask):
        return ("request-id" if ask.format.name == "messages" else "x-request-id"), f"req_fake_{ask.number}"

    def _refused(self, refused, ask):
        headers = {"content-type": "application/json", **getattr(refused, "headers", {})}
        headers.setdefault(*self._id_header(ask))
        body = getattr(refused, "body", None)
        if body is None:
            body = ask.format.error(refused, ask)
        return traps.Answer(refused.status, headers, body=body.encode() if isinstance(body, str)
                            else compact(body).encode())

    def _answer_plain(self, request):
        path, names = request.path, self.options.models or sorted(MODELS)
        if path.endswith("/models"):
            if "anthropic-version" in request.headers:
                return answer_json({"data": [{"type": "model", "id": name, "display_name": name, "created_at":
                                              "2026-01-01T00:00:00Z"} for name in names], "has_more": False,
                                    "first_id": names[0], "last_id": names[-1]})
            return answer_json({"object": "list", "data": [{"id": name, "object": "model", "created": 1767225600,
                                                            "owned_by": "fake"} for name in names]})
        if "/models/" in path:
            return answer_json({"id": path.rpartition("/models/")[2], "object": "model", "created": 1767225600,
                                "owned_by": "fake"})
        if path == "/api/tags":
            return answer_json({"models": [{"name": name, "model": name, "modified_at": "2026-01-01T00:00:00Z",
                                            "size": 1000, "digest": "0" * 64, "details": {"family": "fake"}}
                                           for name in names]})
        if path == "/api/version":
            return answer_json({"version": "0.0.0"})
        if path == "/api/show":
            return answer_json({"details": {"family": "fake"}, "capabilities": ["completion", "tools"],
                                "model_info": {"general.architecture": "fake", "fake.context_length": 8192}})
        if path in ("/health", "/llama/health"):
            return answer_json({"status": "ok"})
        if path in ("/props", "/llama/props"):
            return answer_json({"default_generation_settings": {"n_ctx": 4096}, "total_slots": 1})
        return answer_json({"error": {"message": f"Unknown request URL: {request.method} {path}.", "type":
                                      "invalid_request_error", "param": None, "code": "unknown_url"}}, 404)

    def _answer_test(self, request):
        if request.path == "/fake/requests":
            count = int(request.query.partition("last=")[2] or 0)
            return answer_json({"requests": [shown(seen) for seen in list(self.requests)[-count:]]})
        if request.path == "/fake/stats":
            return answer_json({"requests": self.counts["requests"], "cancelled": self.counts["cancelled"],
                                "active": self.active, "active_max": self.active_max,
                                "connections": len(self.connections), "connections_max": self.connections_max,
                                "connections_total": self.counts["connections"], "by_path": self.by_path,
                                "by_model": self.by_model, "by_status": self.by_status})
        if request.path == "/fake/reset" and request.method == "POST":
            self.reset()
            return answer_json({"ok": True})
        if request.path == "/fake/script" and request.method == "POST":
            try:
                self.script = Script(json.loads(request.body or b"[]"))
            except (ValueError, AttributeError, TypeError) as wrong:
                return answer_json({"error": str(wrong)}, 400)
            return answer_json({"ok": True})
        return answer_json({"error": "no such page"}, 404)


def answer_json(value, status=200):
    return traps.Answer(status, {"content-type": "application/json"}, body=compact(value).encode())


def shown(seen):
    """A request as the tests read it: the body as JSON where it is JSON."""
    try:
        body = json.loads(seen["body"])
    except ValueError:
        body = seen["body"].decode(errors="replace")
    headers = {name.lower(): value for name, value in seen["headers"]}
    return {**seen, "headers": headers, "body": body, "body_bytes": len(seen["body"])}


def common_bytes(left, right):
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return len(left[:low].encode())


class Connection(asyncio.Protocol):
    """One client: its requests are answered one after the other."""

    def __init__(self, provider):
        self.provider = provider
        self.transport = None
        self.buffer = bytearray()
        self.request = None  # its head is read, its body not yet
        self.task = None
        self.ended_here = False

    def connection_made(self, transport):
        self.transport = transport
        provider = self.provider
        provider.connections.add(self)
        provider.counts["connections"] += 1
        provider.connections_max = max(provider.connections_max, len(provider.connections))

    def connection_lost(self, error):
        self.provider.connections.discard(self)
        if self.task is not None and not self.ended_here:
            self.provider.counts["cancelled"] += 1
            self.task.cancel()

    def data_received(self, data):
        self.buffer += data
        self._go_on()

    def _go_on(self):
        while self.task is None and not self.transport.is_closing():
            try:
                request = self._next_request()
            except ValueError as wrong:
                self._write(traps.Answer(400, {"content-type": "text/plain"}, body=f"{wrong}\n".encode()), False)
                self._close()
                return
            if request is None:
                return
            answer = self.provider.answer(request)
            if not request.path.startswith("/fake/"):
                self.provider.by_status[str(answer.status)] += 1
            if answer.sending == "plain" and not answer.wait_s and not answer.gap_s:
                self._write(answer, request.keep_alive)
                if not request.keep_alive:
                    self._close()
            else:
                self._later(answer, request)

    # --- reading -------------------------------------------------------------------------------

    def _next_request(self):
        """The next whole request, or None while it has not come. Raises ValueError."""
        if self.request is None:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self.buffer) > HEAD_BYTES_MAX:
                    raise ValueError("the head is too long")
                return None
            self.request = self._head(bytes(self.buffer[:end]).decode("latin-1"))
            del self.buffer[:end + 4]
            if self.request.headers.get("expect", "").lower() == "100-continue":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        headers = self.request.headers
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunked_body()
        else:
            length = int(headers.get("content-length", "0"))
            if not 0 <= length <= BODY_BYTES_MAX:
                raise ValueError("the body is too long")
            body = bytes(self.buffer[:length]) if len(self.buffer) >= length else None
            if body is not None:
                del self.buffer[:length]
        if body is None:
            return None
        request, self.request = self.request, None
        request.body = body
        return request

    def _head(self, text):
        first, *lines = text.split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise ValueError("this is no HTTP/1.1 request")
        pairs = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError("a header has no colon")
            pairs.append((name.strip(), value.strip()))
        return Request(*words, {name.lower(): value for name, value in pairs}, pairs)

    def _chunked_body(self):
        at, body = 0, b""
        while True:
            line_end = self.buffer.find(b"\r\n", at)
            if line_end < 0:
                return None
            size = int(bytes(self.buffer[at:line_end]).split(b";")[0], 16)
            if len(body) + size > BODY_BYTES_MAX:
                raise ValueError("the body is too long")
            end = line_end + 2 + size
            if len(self.buffer) < end + 2:
                return None
            if size == 0:
                del self.buffer[:end + 2]
                return body
            body += bytes(self.buffer[line_end + 2:end])
            at = end + 2

    # --- writing -------------------------------------------------------------------------------

    def _head_of(self, answer, keep_alive):
        lines = [f"HTTP/1.1 {answer.status} {PHRASES.get(answer.status, 'Fake')}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        lines.append("transfer-encoding: chunked" if answer.frames is not None
                     else f"content-length: {len(answer.body)}")
        if not keep_alive:
            lines.append("connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _write(self, answer, keep_alive):
        parts = [self._head_of(answer, keep_alive)]
        if answer.frames is None:
            parts.append(answer.body)
        else:
            parts += [chunk(frame) for frame in answer.frames]
            parts.append(b"0\r\n\r\n")
        self.transport.write(b"".join(parts))

    def _later(self, answer, request):
        provider = self.provider
        provider.active += 1
        provider.active_max = max(provider.active_max, provider.active)
        self.task = asyncio.get_running_loop().create_task(self._send(answer, request))
        self.task.add_done_callback(self._sent)

    def _sent(self, task):
        self.provider.active -= 1
        self.task = None
        if not task.cancelled():
            task.result()
            self._go_on()

    async def _send(self, answer, request):
        write = self.transport.write
        if answer.wait_s:
            await asyncio.sleep(answer.wait_s)
        if answer.sending == "drop":
            self._close()
            return
        if answer.sending == "hang" and answer.frames is None:
            await asyncio.Event().wait()
        head = self._head_of(answer, request.keep_alive)
        if answer.sending == "drip":
            write(head)
            await self._drip(answer)
        elif answer.sending == "split":
            write(head)
            await self._split(answer)
        elif answer.frames is None:
            write(head + (answer.body[:len(answer.body) // 2] if answer.sending in ("cut", "hang") else answer.body))
        else:
            write(head + chunk(answer.frames[0]))
            for frame in answer.frames[1:]:
                if answer.gap_s:
                    await asyncio.sleep(answer.gap_s)
                write(chunk(frame))
        if answer.sending == "hang":
            await asyncio.Event().wait()
        if answer.sending == "cut":
            self._close()
            return
        if answer.frames is not None:
            write(b"0\r\n\r\n")
        if not request.keep_alive:
            self._close()

    def _close(self):
        self.ended_here = True
        self.transport.close()

    async def _split(self, answer):
        """Pieces of one to seven bytes, so that no boundary is respected, each flushed by itself."""
        whole = answer.body if answer.frames is None else b"".join(answer.frames)
        at, size = 0, 1
        while at < len(whole):
            piece = whole[at:at + size]
            self.transport.write(piece if answer.frames is None else chunk(piece))
            at += size
            size = size % 7 + 1
            await asyncio.sleep(0)

    async def _drip(self, answer):
        """Byte by byte: no silence is long, and the whole takes minutes."""
        whole = answer.body if answer.frames is None else b"".join(answer.frames)
        for at in range(len(whole)):
            piece = whole[at:at + 1]
            self.transport.write(piece if answer.frames is None else chunk(piece))
            await asyncio.sleep(answer.gap_s)


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


async def serve(options):
    loop = asyncio.get_running_loop()
    provider = Provider(options)
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
    server = await loop.create_server(lambda: Connection(provider), options.host, options.port, ssl=context,
                                      backlog=1024)
    provider.port = server.sockets[0].getsockname()[1]
    print("ready", provider.port, flush=True)
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    if options.while_stdin:
        await loop.connect_read_pipe(lambda: StdinWatch(over), sys.stdin)
    await over.wait()


class StdinWatch(asyncio.Protocol):
    """Ends the server with the program that started it, however that one ends."""

    def __init__(self, over):
        self.over = over

    def connection_lost(self, error):
        self.over.set()


def main():
    parser = argparse.ArgumentParser(description="A fake provider of models for tests.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--script", metavar="FILE", help="rules, as JSON; see README.md")
    parser.add_argument("--delay-ms", type=float, default=0, help="before the first byte of each answer")
    parser.add_argument("--tokens-per-second", type=float, default=0, help="of a stream; 0: all at once")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--key", help="the only key that is let in")
    parser.add_argument("--models", nargs="+", help="names that are listed")
    parser.add_argument("--keep", type=int, default=20000, help="how many requests are kept for /fake/requests")
    parser.add_argument("--prompt-cache", action="store_true", help="report beginnings seen before as cached")
    parser.add_argument("--while-stdin", action="store_true", help="end when stdin is closed")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
