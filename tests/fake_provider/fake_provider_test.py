#!/usr/bin/env python3
"""Checks the fake provider by raw sockets: each format, each trap, the script, and what it remembers."""

import contextlib
import gzip
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

import traps  # noqa: E402
from instance import instance, strict_problem  # noqa: E402

FORMATS = ("chat", "llama", "responses", "messages", "ollama")
PATHS = {"chat": "/v1/chat/completions", "llama": "/llama/v1/chat/completions", "responses": "/v1/responses",
         "messages": "/v1/messages", "ollama": "/api/chat"}
SCHEMA = {"type": "object", "additionalProperties": False, "required": ["name", "count"],
          "properties": {"name": {"type": "string"}, "count": {"type": "integer"}}}
TOOL = {"type": "object", "additionalProperties": False, "required": ["q"], "properties": {"q": {"type": "string"}}}
SENTENCE = "The fake model has nothing to add."


class Server:
    def __init__(self, *arguments):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([sys.executable, FOLDER / "fake_provider.py", *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        word, port = self.process.stdout.readline().split()
        assert word == b"ready"
        self.port = int(port)

    def stop(self):
        self.process.terminate()
        self.process.wait(5)
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.seek(0)
        said = self.errors.read().decode()
        self.errors.close()
        return said


class Answer:
    """One answer, read by hand. `whole`: it ended as HTTP says it must."""

    def __init__(self, connection, deadline_s=5.0):
        self.deadline = time.monotonic() + deadline_s
        self.status, self.headers, self.body, self.whole, self.chunks = 0, {}, b"", False, []
        self.buffer, self.connection = b"", connection
        with contextlib.suppress(socket.timeout, ConnectionError):
            self._read()

    def _more(self):
        self.connection.settimeout(max(0.001, self.deadline - time.monotonic()))
        data = self.connection.recv(1 << 20)
        if not data:
            raise ConnectionError
        self.buffer += data

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def _bytes(self, count):
        while len(self.buffer) < count:
            self._more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def _read(self):
        self.status = int(self._line().split()[1])
        while line := self._line().decode():
            name, _, value = line.partition(": ")
            self.headers[name] = value
        if self.headers.get("transfer-encoding") != "chunked":
            count = int(self.headers["content-length"])
            try:
                self.body = self._bytes(count)
            except (ConnectionError, socket.timeout):
                self.body = self.buffer
                raise
            self.whole = True
            return
        while size := int(self._line(), 16):
            self.chunks.append(self._bytes(size))
            self.body += self.chunks[-1]
            self._line()
        self._line()
        self.whole = True

    def json(self):
        return json.loads(self.body)

    def events(self):
        """The data of a stream's events."""
        text = self.body.decode().replace("\r\n", "\n")
        if self.headers["content-type"] == "application/x-ndjson":
            return [json.loads(line) for line in text.split("\n") if line]
        rows = [line[5:].strip() for line in text.split("\n") if line.startswith("data:")]
        return [row if row == "[DONE]" else json.loads(row) for row in rows]


class Case(unittest.TestCase):
    def setUp(self):
        self.server = SERVER
        self.post("/fake/script", [])
        self.post("/fake/reset", {})

    def connect(self, server=None):
        connection = socket.create_connection(("127.0.0.1", (server or self.server).port))
        self.addCleanup(connection.close)
        return connection

    def send(self, connection, method, path, body=b"", headers=()):
        head = [f"{method} {path} HTTP/1.1", "host: fake", f"content-length: {len(body)}", *headers, "", ""]
        connection.sendall("\r\n".join(head).encode() + body)

    def exchange(self, method, path, body=b"", headers=(), deadline_s=5.0, server=None):
        connection = self.connect(server)
        self.send(connection, method, path, body, headers)
        answer = Answer(connection, deadline_s)
        connection.close()
        return answer

    def get(self, path):
        return self.exchange("GET", path).json()

    def post(self, path, body, **more):
        return self.exchange("POST", path, json.dumps(body).encode(), **more)

    def ask(self, form, model, stream=False, schema=None, tool=False, text="Hello", headers=(), server=None,
            deadline_s=5.0, **more):
        body = request(form, model, stream, schema, tool, text)
        body.update(more)
        return self.post(PATHS[form], body, headers=["anthropic-version: 2023-06-01", *headers], server=server,
                         deadline_s=deadline_s)


def request(form, model, stream, schema, tool, text):
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}
    if form == "responses":
        body["input"] = body.pop("messages")
    if form == "messages":
        body["max_tokens"] = 1000
    if form in ("chat", "llama") and stream:
        body["stream_options"] = {"include_usage": True}
    if schema:
        nested = {"name": "answer", "strict": True, "schema": schema}
        body |= {"chat": {"response_format": {"type": "json_schema", "json_schema": nested}},
                 "llama": {"response_format": {"type": "json_schema", "json_schema": nested}},
                 "responses": {"text": {"format": {"type": "json_schema", **nested}}},
                 "messages": {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
                 "ollama": {"format": schema}}[form]
    if tool:
        function = {"name": "look", "description": "Looks.", "parameters": TOOL}
        body["tools"] = [{"responses": {"type": "function", **function},
                          "messages": {"name": "look", "input_schema": TOOL}}.get(
                              form, {"type": "function", "function": function})]
    return body


def text_of(form, answer):
    """The text of a whole answer or of a stream, as a client would gather it."""
    if answer.headers["content-type"] == "application/json":
        whole = answer.json()
        if form == "responses":
            return "".join(part.get("text", "") for item in whole["output"] for part in item.get("content", []))
        if form == "messages":
            return "".join(block.get("text", "") for block in whole["content"])
        return whole["message"]["content"] if form == "ollama" else whole["choices"][0]["message"]["content"]
    text = ""
    for event in answer.events():
        if event == "[DONE]":
            continue
        if form == "responses" and event["type"] == "response.output_text.delta":
            text += event["delta"]
        elif form == "messages" and event["type"] == "content_block_delta":
            text += event["delta"].get("text", "")
        elif form == "ollama":
            text += event["message"].get("content", "")
        elif form in ("chat", "llama") and event["choices"]:
            text += event["choices"][0]["delta"].get("content") or ""
    return text


def usage_of(form, answer):
    events = [answer.json()] if answer.headers["content-type"] == "application/json" else answer.events()
    if form == "ollama":
        return events[-1].get("prompt_eval_count"), events[-1].get("eval_count")
    if form == "responses":
        usage = events[-1].get("response", events[-1])["usage"]
        return usage["input_tokens"], usage["output_tokens"]
    if form == "messages" and len(events) > 1:
        return events[0]["message"]["usage"]["input_tokens"], events[-2]["usage"]["output_tokens"]
    if form == "messages":
        return events[0]["usage"]["input_tokens"], events[0]["usage"]["output_tokens"]
    usage = next(event["usage"] for event in events if event != "[DONE]" and event.get("usage"))
    return usage["prompt_tokens"], usage["completion_tokens"]


class Formats(Case):
    def test_every_format_says_the_sentence_and_counts_bytes_by_four(self):
        for form in FORMATS:
            for stream in (False, True):
                with self.subTest(form=form, stream=stream):
                    answer = self.ask(form, "plain", stream)
                    self.assertEqual(answer.status, 200)
                    self.assertTrue(answer.whole)
                    self.assertEqual(text_of(form, answer), SENTENCE)
                    sent = self.get("/fake/requests?last=1")["requests"][0]["body_bytes"]
                    self.assertEqual(usage_of(form, answer), (-(-sent // 4), -(-len(SENTENCE) // 4)))

    def test_a_schema_is_answered_with_its_smallest_instance(self):
        for form in FORMATS:
            for stream in (False, True):
                with self.subTest(form=form, stream=stream):
                    self.assertEqual(json.loads(text_of(form, self.ask(form, "m", stream, SCHEMA))),
                                     {"name": "", "count": 0})
                    self.assertEqual(json.loads(text_of(form, self.ask(form, "full", stream, SCHEMA))),
                                     {"name": "text", "count": 0})

    def test_a_marked_answer_in_the_prompt_is_given_back(self):
        for form in FORMATS:
            wanted = {"writes": [{"op": "insert", "entry": {"text": 'a "b"\\n'}}]}
            line = "before\nfake-answer: " + json.dumps(wanted) + "\nafter"
            self.assertEqual(json.loads(text_of(form, self.ask(form, "answer", text=line))), wanted)
            inside = json.dumps({"text": "fake-answer: " + json.dumps(wanted)})
            self.assertEqual(json.loads(text_of(form, self.ask(form, "answer", text=inside))), wanted)

    def test_max_tokens_cut_the_text(self):
        limits = {"chat": {"max_completion_tokens": 2}, "llama": {"max_tokens": 2}, "messages": {"max_tokens": 2},
                  "ollama": {"options": {"num_predict": 2}}}
        for form, limit in limits.items():
            answer = self.ask(form, "m", **limit)
            self.assertEqual(text_of(form, answer), SENTENCE[:8])
            self.assertIn("length" if form != "messages" else "max_tokens", answer.body.decode())

    def test_tools_are_called_and_their_results_taken(self):
        for form in FORMATS:
            answer = self.ask(form, "tools", tool=True)
            self.assertIn("look", answer.body.decode())
        whole = self.ask("chat", "tools", tool=True).json()
        message = whole["choices"][0]["message"]
        self.assertEqual(whole["choices"][0]["finish_reason"], "tool_calls")
        self.assertEqual(message["tool_calls"][0]["function"], {"name": "look", "arguments": '{"q":""}'})
        turns = [{"role": "user", "content": "Hello"}, message,
                 {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "seen"}]
        self.assertEqual(text_of("chat", self.ask("chat", "tools", tool=True, messages=turns)), SENTENCE)
        turns[2]["tool_call_id"] = "another"
        self.assertEqual(self.ask("chat", "tools", tool=True, messages=turns).status, 400)

    def test_what_a_provider_refuses_is_refused(self):
        self.assertEqual(self.ask("messages", "m", max_tokens=0).status, 400)
        self.assertEqual(self.post("/v1/messages", request("messages", "m", False, None, False, "x")).status, 400)
        self.assertEqual(self.ask("chat", "o3", max_tokens=9).json()["error"]["code"], "unsupported_parameter")
        open_schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        for form in ("chat", "responses", "messages"):
            self.assertEqual(self.ask(form, "m", schema=open_schema).status, 400)
        self.assertEqual(self.ask("llama", "m", schema=open_schema).status, 200)
        both = self.ask("llama", "m", schema=SCHEMA, tool=True)
        self.assertEqual(both.json()["error"]["code"], 400)
        flat = self.ask("llama", "m", response_format={"type": "json_schema", "schema": SCHEMA})
        self.assertEqual(json.loads(text_of("llama", flat)), {"name": "", "count": 0})
        self.assertEqual(self.ask("chat", "m", response_format={"type": "json_schema", "schema": SCHEMA}).status, 400)
        self.assertEqual(self.exchange("POST", "/v1/responses", b"{not json").status, 400)
        self.assertEqual(self.exchange("GET", "/elsewhere").status, 404)

    def test_lists_and_health(self):
        self.assertIn("answer", [model["id"] for model in self.get("/v1/models")["data"]])
        self.assertIn("answer", [model["name"] for model in self.get("/api/tags")["models"]])
        self.assertEqual(self.get("/health"), {"status": "ok"})

    def test_instances_of_schemas(self):
        for schema, smallest in (
                ({"const": 7}, 7), ({"enum": ["b", "a"]}, "b"), ({"type": ["string", "null"]}, None),
                ({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}, 5),
                ({"type": "number", "maximum": -2.5}, -2.5), ({"type": "string", "minLength": 3}, "xxx"),
                ({"type": "array", "minItems": 2, "items": {"type": "boolean"}}, [False, False]),
                ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
                ({"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}, 1),
                ({"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"const": 2}}}]}, {"a": 2})):
            self.assertEqual(instance(schema), smallest)
        self.assertIsNone(strict_problem(SCHEMA, openai=True))
        self.assertIn("minimum", strict_problem({"type": "integer", "minimum": 1}, openai=False))


class Traps(Case):
    def test_every_trap_in_every_format_leaves_the_server_well(self):
        for name in sorted(traps.TRAPS):
            if name in ("hang", "hang_in_stream", "slow_loris"):
                continue
            value = "=5000" if name == "ten_megabyte_line" else ""
            for form in FORMATS:
                for stream in (False, True):
                    for tool in (False, True):
                        with self.subTest(name=name, form=form, stream=stream, tool=tool):
                            answer = self.ask(form, f"x/trap/{name}{value}", stream, tool=tool)
                            self.assertEqual(answer.whole, name not in ("closed_early", "no_reply"))
                            self.assertNotEqual(answer.status, 404)
        self.assertEqual(self.get("/health"), {"status": "ok"})

    def test_split_utf8_splits_inside_of_characters(self):
        for form in FORMATS:
            answer = self.ask(form, "trap/split_utf8", True)
            self.assertEqual(text_of(form, answer), traps.UNICODE)
            broken = 0
            for piece in answer.chunks:
                try:
                    piece.decode()
                except UnicodeDecodeError:
                    broken += 1
            self.assertGreater(broken, 5)
            self.assertEqual(text_of(form, self.ask(form, "trap/split_utf8")), traps.UNICODE)

    def test_framing_differs_and_says_the_same(self):
        for form in FORMATS:
            for name, sign in (("crlf", b"\r\n"), ("pings", b": ping"), ("no_space", b'data:{"'),
                               ("padded", b"     \n"), ("unknown_events", b"fake_extra")):
                answer = self.ask(form, f"trap/{name}", True)
                self.assertEqual(text_of(form, answer), SENTENCE)
                if form != "ollama" or name in ("crlf", "padded", "unknown_events"):
                    self.assertIn(sign, answer.body)

    def test_interleaved_tools_come_by_index(self):
        deltas = [event["choices"][0]["delta"].get("tool_calls", []) for event in
                  self.ask("chat", "trap/interleaved_tools", True).events() if event != "[DONE]" and event["choices"]]
        order = [call["index"] for delta in deltas for call in delta]
        self.assertEqual(order[:4], [0, 1, 0, 1])
        gathered = {0: "", 1: ""}
        for delta in deltas:
            for call in delta:
                gathered[call["index"]] += call["function"]["arguments"]
        self.assertEqual(json.loads(gathered[0]), json.loads(gathered[1]))
        kinds = [(event["type"], event.get("output_index")) for event in
                 self.ask("responses", "trap/interleaved_tools", True).events()]
        self.assertEqual([index for kind, index in kinds if kind.endswith("arguments.delta")][:4], [0, 1, 0, 1])

    def test_usage_comes_in_a_chunk_without_choices(self):
        body = request("chat", "trap/usage_only_chunk", True, None, False, "x")
        del body["stream_options"]
        events = self.post(PATHS["chat"], body).events()
        self.assertEqual(events[-2]["choices"], [])
        self.assertEqual(events[-1], "[DONE]")
        self.assertNotIn(b'"usage":{', self.post(PATHS["chat"], {**body, "model": "m"}).body)

    def test_an_error_comes_inside_of_a_stream(self):
        for form in FORMATS:
            answer = self.ask(form, "trap/error_in_stream", True)
            self.assertEqual(answer.status, 200)
            self.assertTrue(answer.whole)
            last = answer.events()[-1]
            self.assertIn("verloaded", json.dumps(last))
            self.assertTrue("error" in last or last["type"] == "error")
            self.assertEqual(self.ask(form, "trap/error_in_stream").status, 200)

    def test_closed_early_has_no_terminal_event(self):
        for form in FORMATS:
            for name, whole in (("closed_early", False), ("closed_early_clean", True)):
                answer = self.ask(form, f"trap/{name}", True)
                self.assertEqual(answer.whole, whole)
                self.assertGreater(len(answer.events()), 0)
                for sign in (b"[DONE]", b"response.completed", b"message_stop", b'"done":true'):
                    self.assertNotIn(sign, answer.body)
            self.assertFalse(self.ask(form, "trap/closed_early").whole)
        self.assertEqual(self.ask("chat", "trap/no_reply").status, 0)
        self.assertEqual(self.get("/fake/stats")["cancelled"], 0)

    def test_each_kind_of_429(self):
        for form in FORMATS:
            def headers(name):
                answer = self.ask(form, f"trap/{name}")
                self.assertEqual(answer.status, 429)
                return answer.headers
            self.assertEqual(headers("429_ms=15")["retry-after-ms"], "15")
            self.assertEqual(headers("429_seconds")["retry-after"], "1")
            self.assertTrue(headers("429_date")["retry-after"].endswith("GMT"))
            self.assertNotIn("retry-after", headers("429_none"))
            self.assertNotIn("retry-after", headers("429_quota"))
        self.assertEqual(self.ask("chat", "trap/429_quota").json()["error"]["code"], "insufficient_quota")
        self.assertEqual(self.ask("chat", "trap/429_none").json()["error"]["code"], "rate_limit_exceeded")

    def test_errors_in_each_format_s_words(self):
        self.assertEqual(self.ask("messages", "trap/529").json()["error"]["type"], "overloaded_error")
        self.assertEqual(self.ask("messages", "trap/529").status, 529)
        self.assertEqual(self.ask("ollama", "trap/529").status, 503)
        self.assertEqual(self.ask("chat", "trap/code_integer").json()["error"]["code"], 400)
        self.assertIsInstance(self.ask("chat", "trap/code_object").json()["error"]["code"], dict)
        self.assertIsInstance(self.ask("chat", "trap/error_string").json()["error"], str)
        self.assertEqual(self.ask("llama", "trap/context_overflow").json()["error"]["n_ctx"], 4096)
        self.assertEqual(self.ask("chat", "trap/context_overflow").json()["error"]["code"], "context_length_exceeded")
        self.assertIn("prompt is too long", self.ask("messages", "trap/context_overflow").json()["error"]["message"])
        self.assertEqual(self.ask("llama", "trap/loading").status, 503)
        self.assertEqual(self.ask("messages", "trap/402").json()["error"]["type"], "billing_error")
        self.assertEqual(self.ask("chat", "trap/no_such_trap").status, 404)
        for form in FORMATS:
            key = "x-api-key: sk-secret" if form == "messages" else "authorization: Bearer sk-secret"
            answer = self.ask(form, "trap/401", headers=[key])
            self.assertEqual(answer.status, 401)
            self.assertIn(b"sk-secret", answer.body)

    def test_what_fails_once_is_well_the_second_time(self):
        for form in FORMATS:
            self.assertEqual([self.ask(form, f"{form}/trap/500_once").status for _ in range(3)], [500, 200, 200])
        self.assertEqual([self.ask("chat", "trap/429_ms_twice").status for _ in range(3)], [429, 429, 200])

    def test_broken_replies(self):
        message = self.ask("chat", "trap/refusal").json()["choices"][0]["message"]
        self.assertIsNone(message["content"])
        self.assertTrue(message["refusal"])
        self.assertEqual(self.ask("messages", "trap/refusal").json()["stop_reason"], "refusal")
        self.assertIn(b"response.refusal.delta", self.ask("responses", "trap/refusal", True).body)
        for form in FORMATS:
            answer = self.ask(form, "trap/length_half_json", schema=SCHEMA)
            with self.assertRaises(ValueError):
                json.loads(text_of(form, answer))
            answer = self.ask(form, "trap/bad_arguments", True, tool=True)
            self.assertIn(b'{\\"q\\": ', answer.body)
        self.assertEqual(self.ask("responses", "trap/length_half_json", schema=SCHEMA).json()["status"], "incomplete")
        self.assertIsNone(self.ask("chat", "trap/null_content").json()["choices"][0]["message"]["content"])
        self.assertEqual(self.ask("messages", "trap/null_content").json()["content"], [])
        kinds = [event["type"] for event in self.ask("messages", "trap/tool_cut", True, tool=True).events()]
        self.assertIn("content_block_start", kinds)
        self.assertNotIn("content_block_stop", kinds)
        self.assertNotIn(b"sequence_number", self.ask("responses", "trap/responses_no_sequence", True).body)
        self.assertIn(b"sequence_number", self.ask("responses", "m", True).body)

    def test_usage_surprises(self):
        for form in FORMATS:
            for stream in (False, True):
                sent = len(json.dumps(request(form, "trap/surprising_usage", stream, None, False, "Hello")))
                answer = self.ask(form, "trap/surprising_usage", stream)
                self.assertEqual(usage_of(form, answer), (-(-sent // 4) * 3, 27))
        self.assertNotIn("usage", self.ask("chat", "trap/no_usage").json())

    def test_what_stands_between(self):
        answer = self.ask("chat", "trap/redirect")
        self.assertEqual(answer.status, 307)
        self.assertEqual(answer.headers["location"], "http://fake/redirected/v1/chat/completions")
        self.assertEqual(self.post("/redirected/v1/chat/completions",
                                   request("chat", "trap/redirect", False, None, False, "x")).status, 200)
        answer = self.ask("chat", "trap/html_proxy")
        self.assertEqual((answer.status, answer.headers["content-type"]), (502, "text/html"))
        self.assertEqual(self.ask("chat", "trap/html_proxy=200").status, 200)
        for stream in (False, True):
            answer = self.ask("chat", "trap/gzip", stream)
            self.assertEqual(answer.headers["content-encoding"], "gzip")
            self.assertIn(b"fake model" if not stream else b"[DONE]", gzip.decompress(answer.body))

    def test_ten_megabytes_in_one_line(self):
        for form in FORMATS:
            body = self.ask(form, "trap/ten_megabyte_line", True).body
            self.assertGreater(max(len(line) for line in body.split(b"\n")), 10 << 20)

    def test_slowness(self):
        start = time.monotonic()
        answer = self.ask("chat", "trap/slow_loris=20", True, deadline_s=0.2)
        self.assertFalse(answer.whole)
        self.assertEqual(self.ask("chat", "trap/hang", deadline_s=0.1).status, 0)
        answer = self.ask("chat", "trap/hang_in_stream", True, deadline_s=0.1)
        self.assertEqual((answer.status, answer.whole), (200, False))
        self.assertLess(time.monotonic() - start, 5)


class Remembering(Case):
    def test_requests_and_stats_are_told_and_reset(self):
        self.ask("chat", "one", headers=["X-Test: yes"])
        seen = self.get("/fake/requests")["requests"]
        self.assertEqual([(one["method"], one["path"]) for one in seen], [("POST", "/v1/chat/completions")])
        self.assertEqual(seen[0]["headers"]["x-test"], "yes")
        self.assertEqual(seen[0]["body"]["model"], "one")
        stats = self.get("/fake/stats")
        self.assertEqual((stats["requests"], stats["by_model"], stats["by_status"]), (1, {"one": 1}, {"200": 1}))
        self.post("/fake/reset", {})
        self.assertEqual(self.get("/fake/requests")["requests"], [])

    def test_a_client_that_goes_away_is_counted(self):
        connections = [self.connect() for _ in range(3)]
        body = json.dumps(request("chat", "trap/hang", False, None, False, "x")).encode()
        for connection in connections:
            self.send(connection, "POST", PATHS["chat"], body)
        deadline = time.monotonic() + 5
        while self.get("/fake/stats")["active"] < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        for connection in connections:
            connection.close()
        while self.get("/fake/stats")["active"] and time.monotonic() < deadline:
            time.sleep(0.01)
        stats = self.get("/fake/stats")
        self.assertEqual((stats["active"], stats["active_max"], stats["cancelled"]), (0, 3, 3))

    def test_one_connection_serves_many_requests_also_in_chunks_and_at_once(self):
        connection = self.connect()
        for _ in range(3):
            self.send(connection, "POST", PATHS["chat"],
                      json.dumps(request("chat", "m", True, None, False, "x")).encode())
            self.assertTrue(Answer(connection).whole)
        body = json.dumps(request("chat", "m", False, None, False, "x")).encode()
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 20):
            part = body[at:at + 20]
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")
        self.assertEqual(Answer(connection).status, 200)
        self.assertEqual(self.get("/fake/stats")["requests"], 4)
        connection.sendall(b"NONSENSE\r\n\r\n")
        self.assertEqual(Answer(connection).status, 400)

    def test_64_streams_at_once(self):
        self.post("/fake/script", {"tokens_per_second": 200})
        connections = [self.connect() for _ in range(64)]
        body = json.dumps(request("chat", "m", True, None, False, "x")).encode()
        for connection in connections:
            self.send(connection, "POST", PATHS["chat"], body)
        for connection in connections:
            self.assertTrue(Answer(connection).whole)
        self.assertEqual(self.get("/fake/stats")["active_max"], 64)


class Scripts(Case):
    def script(self, *rules):
        self.assertEqual(self.post("/fake/script", list(rules)).status, 200)

    def test_rules_choose_by_model_text_path_and_number(self):
        self.script({"when": {"model": "a*", "contains": "sun"}, "reply": {"text": "hot"}},
                    {"when": {"path": "/v1/messages"}, "reply": {"json": {"is": "{{model}} {{find (\\d+)}}"}}},
                    {"when": {"nth": 2}, "reply": {"error": {"status": 503, "message": "later"}}},
                    {"when": {"has_tools": True, "after_tools": False},
                     "reply": {"tool_calls": [{"name": "look", "arguments": {"q": "x"}}]}},
                    {"reply": {"text": "else {{nth}}"}})
        self.assertEqual(text_of("chat", self.ask("chat", "abc", text="the sun")), "hot")
        self.assertEqual(text_of("messages", self.ask("messages", "z", text="no 42")), '{"is":"z 42"}')
        self.assertEqual(text_of("ollama", self.ask("ollama", "z")), "else 1")
        self.assertEqual(self.ask("ollama", "z").json(), {"error": "later"})
        self.assertIn(b"look", self.ask("responses", "z", True, tool=True).body)
        self.assertEqual(self.post("/fake/script", [{"when": {"modell": "x"}}]).status, 400)

    def test_rules_set_usage_stop_traps_and_headers(self):
        self.script({"reply": {"text": "abc", "usage": {"input": 7, "output": 9, "cached": 3}, "stop": "length",
                               "trap": ["crlf", "pings"], "headers": {"x-extra": "1"}, "delay_ms": 30}})
        start = time.monotonic()
        answer = self.ask("messages", "m", True)
        self.assertGreater(time.monotonic() - start, 0.029)
        self.assertEqual(answer.headers["x-extra"], "1")
        self.assertIn(b": ping\r\n", answer.body)
        self.assertIn(b'"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":3', answer.body)
        self.assertIn(b'"stop_reason":"max_tokens"', answer.body)


class Options(Case):
    def test_pacing_key_cache_and_end_with_stdin(self):
        server = Server("--key", "right", "--tokens-per-second", "100", "--prompt-cache", "--while-stdin")
        self.assertEqual(self.ask("chat", "m", server=server).status, 401)
        start = time.monotonic()
        answer = self.ask("chat", "m", True, headers=["authorization: Bearer right"], server=server)
        self.assertGreater(time.monotonic() - start, 0.09)
        long_text = "word " * 2000
        for cached in (0, len(long_text) // 4 // 128 * 128):
            answer = self.ask("chat", "m", text=long_text, headers=["authorization: Bearer right"], server=server)
            self.assertEqual(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"], cached)
        server.process.stdin.close()
        self.assertEqual(server.process.wait(5), 0)
        self.assertEqual(server.stop(), "")


    @unittest.skipUnless(shutil.which("openssl"), "no openssl to make a certificate with")
    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            cert, key = f"{folder}/cert.pem", f"{folder}/key.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                            "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
                            key, "-out", cert], check=True, capture_output=True)
            server = Server("--tls", cert, key)
            wrapped = ssl.create_default_context(cafile=cert).wrap_socket(self.connect(server),
                                                                          server_hostname="localhost")
            for model in ("m", "trap/closed_early"):
                self.send(wrapped, "POST", PATHS["chat"],
                          json.dumps(request("chat", model, True, None, False, "x")).encode())
                self.assertEqual(Answer(wrapped).whole, model == "m")
            wrapped.close()
            self.assertEqual(server.stop(), "")


SERVER = None

if __name__ == "__main__":
    os.environ.pop("PYTHONWARNINGS", None)
    SERVER = Server()
    outcome = unittest.main(exit=False).result
    complaints = SERVER.stop()
    if complaints:
        print(complaints, file=sys.stderr)
    sys.exit(0 if outcome.wasSuccessful() and not complaints else 1)
