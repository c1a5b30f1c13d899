#!/usr/bin/env python3
"""Checks the server around the real engine: answers fit their schemas, seeds repeat, streams and
cancellation are real.

    real_model_test.py FOLDER      where start.sh keeps packages and model
"""

import concurrent.futures
import http.client
import json
import pathlib
import subprocess
import sys
import time
import unittest

FOLDER = pathlib.Path(__file__).resolve().parent
SEEDS = range(50)


def write(op, region, entry, **more):
    properties = {"op": {"const": op, "type": "string"}, "region": {"const": region, "type": "string"},
                  "entry": entry, "cites": {"type": "array", "items": {"type": "string"}},
                  "why": {"type": "string"}, "as": {"type": "string"}, **more}
    return {"type": "object", "additionalProperties": False, "required": ["op", "region", "entry"],
            "properties": properties}


def closed(**properties):
    return {"type": "object", "additionalProperties": False, "required": list(properties), "properties": properties}


FINDING = closed(text={"type": "string", "minLength": 5, "maxLength": 200}, score={"type": "number", "minimum": 0,
                 "maximum": 1}, kind={"enum": ["fact", "guess"]}, tags={"type": "array", "items": {"type": "string"},
                 "maxItems": 2, "uniqueItems": True}, page={"type": ["integer", "null"]})
SUMMARY = {**closed(name={"type": "string"}, open={"type": "boolean"}, rank={"type": "integer", "minimum": 1},
                    by=closed(whom={"type": "string"})), "required": ["name", "open"]}
ANSWER = {**closed(writes={"type": "array", "items": {"anyOf": [
    write("insert", "findings", FINDING), write("put", "summary", {"$ref": "#/$defs/summary"}),
    {"type": "object", "additionalProperties": False, "required": ["op", "region", "id", "why"], "properties": {
        "op": {"const": "retract"}, "region": {"const": "findings"}, "id": {"type": "string"},
        "why": {"type": "string"}}}]}}, note={"type": "string"}), "required": ["writes"],
    "$defs": {"summary": SUMMARY}}


def problem(value, schema, root=ANSWER, place="answer"):
    """Why the value does not fit the schema, or None."""
    if "$ref" in schema:
        return problem(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, place)
    if "anyOf" in schema:
        return None if any(problem(value, one, root, place) is None for one in schema["anyOf"]) else f"{place}: no case"
    if "const" in schema and value != schema["const"] or "enum" in schema and value not in schema["enum"]:
        return f"{place}: {value!r} is not allowed"
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
             "null": type(None)}
    wanted = schema.get("type", [])
    wanted = wanted if isinstance(wanted, list) else [wanted]
    if wanted and not any(isinstance(value, kinds[kind]) and (kind == "boolean") == isinstance(value, bool)
                          for kind in wanted):
        return f"{place}: {value!r} is not {wanted}"
    if isinstance(value, dict):
        strange = set(value) - set(schema.get("properties", {}))
        missing = set(schema.get("required", [])) - set(value)
        if strange or missing:
            return f"{place}: strange {strange}, missing {missing}"
        return next(filter(None, (problem(inner, schema["properties"][name], root, f"{place}.{name}")
                                  for name, inner in value.items())), None)
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)) or len(value) < schema.get("minItems", 0):
            return f"{place}: {len(value)} items"
        return next(filter(None, (problem(inner, schema.get("items", {}), root, place) for inner in value)), None)
    if isinstance(value, str):
        fits = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return None if fits else f"{place}: {len(value)} characters"
    if isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return f"{place}: {value} is out of bounds"
    return None


class Case(unittest.TestCase):
    def ask(self, text="What do you see?", **more):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        body = {"model": "bigram", "messages": [{"role": "user", "content": text}], **more}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, data

    def whole(self, *arguments, **more):
        status, data = self.ask(*arguments, **more)
        self.assertEqual(status, 200, data)
        return json.loads(data)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        connection.request("GET", path)
        data = json.loads(connection.getresponse().read())
        connection.close()
        return data

    def in_schema(self, schema=ANSWER, **more):
        wanted = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
        return {"response_format": wanted, "max_tokens": 1500, **more}

    def test_every_answer_fits_the_schema(self):
        prompt = 'Findings:\n{"entry":{"id":"no","text":"a"},"id":"findings/1"}\n{"id":"findings/2"}'
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda seed: self.whole(prompt, **self.in_schema(seed=seed)), SEEDS))
        different = set()
        for answer in answers:
            choice = answer["choices"][0]
            self.assertEqual(choice["finish_reason"], "stop")
            value = json.loads(choice["message"]["content"])
            self.assertIsNone(problem(value, ANSWER))
            self.assertGreater(len(value["writes"]), 0)
            for one in value["writes"]:
                self.assertLessEqual(set(one.get("cites", [])), {"findings/1", "findings/2"})
                self.assertIn(one.get("id", "findings/1"), {"findings/1", "findings/2"})
            different.add(choice["message"]["content"])
        self.assertGreater(len(different), 40)

    def test_an_answer_in_openai_s_strict_dialect_fits_too(self):
        strict = closed(writes={"type": "array", "items": {"anyOf": [{**closed(
            op={"const": "insert", "type": "string"}, entry=closed(text={"type": "string"}),
            why={"type": ["string", "null"]}, cites={"anyOf": [{"type": "array", "items": {"type": "string"}},
                                                               {"type": "null"}]},
            **{"as": {"type": ["string", "null"]}})}]}}, note={"type": ["string", "null"]})
        for seed in range(5):
            text = self.whole(**self.in_schema(strict, seed=seed))["choices"][0]["message"]["content"]
            self.assertIsNone(problem(json.loads(text), strict, strict))

    def test_the_same_seed_gives_the_same_answer(self):
        for more in ({"seed": 7}, self.in_schema(seed=8), {"temperature": 0}):
            texts = {self.whole(**more)["choices"][0]["message"]["content"] for _ in range(3)}
            self.assertEqual(len(texts), 1)

    def test_a_stream_says_what_a_whole_answer_says(self):
        for more in ({"seed": 3, "max_tokens": 40}, self.in_schema(seed=4)):
            answer = self.whole(**more)
            status, data = self.ask(**more, stream=True, stream_options={"include_usage": True})
            self.assertEqual(status, 200)
            rows = [row[6:] for row in data.decode().split("\n") if row.startswith("data: ")]
            self.assertEqual(rows[-1], "[DONE]")
            chunks = [json.loads(row) for row in rows[:-1]]
            text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
            self.assertEqual(text, answer["choices"][0]["message"]["content"])
            self.assertEqual(chunks[-1]["usage"], answer["usage"])
            self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], answer["choices"][0]["finish_reason"])

    def test_stop_reasons_and_counts(self):
        answer = self.whole(seed=1, max_tokens=3)
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertEqual(answer["usage"]["completion_tokens"], 3)
        answer = self.whole(seed=1)
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
        self.assertEqual(answer["usage"]["total_tokens"],
                         answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"])

    def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(self):
        status, data = self.ask("word " * 20000)
        error = json.loads(data)["error"]
        self.assertEqual((status, error["type"]), (400, "exceed_context_size_error"))
        self.assertGreater(error["n_prompt_tokens"], error["n_ctx"])
        self.assertEqual(error["n_ctx"], self.get("/props")["default_generation_settings"]["n_ctx"])

    def test_what_no_grammar_is_made_for_is_refused(self):
        status, data = self.ask(**self.in_schema({"type": "string", "pattern": "^a+$"}))
        self.assertEqual(status, 400)
        self.assertIn("pattern", json.loads(data)["error"]["message"])
        status, _ = self.ask(tools=[{"type": "function", "function": {"name": "look"}}], **self.in_schema())
        self.assertEqual(status, 400)
        self.assertEqual(self.ask(messages=[])[0], 400)

    def test_a_client_that_goes_ends_the_generation(self):
        before = self.get("/stats")
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        schema = {"type": "array", "minItems": 300, "items": {"type": "string", "minLength": 60}}
        body = {"messages": [{"role": "user", "content": "x"}], "stream": True, **self.in_schema(schema),
                "max_tokens": 7000}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        response = connection.getresponse()
        response.read(2000)
        response.close()
        connection.close()
        deadline = time.monotonic() + 3
        while self.get("/stats")["cancelled"] == before["cancelled"] and time.monotonic() < deadline:
            time.sleep(0.02)
        after = self.get("/stats")
        self.assertEqual((after["cancelled"], after["active"]), (before["cancelled"] + 1, 0))
        self.assertLess(after["tokens"] - before["tokens"], 6000)
        self.assertEqual(self.whole(seed=1)["choices"][0]["finish_reason"], "stop")

    def test_a_tool_is_called_and_its_result_taken(self):
        tools = [{"type": "function", "function": {"name": name, "parameters": closed(q={"type": "string"})}}
                 for name in ("look", "read")]
        for stream in (False, True):
            status, data = self.ask(tools=tools, seed=5, stream=stream)
            self.assertEqual(status, 200)
            self.assertIn(b'"finish_reason":"tool_calls"', data)
        message = self.whole(tools=tools, seed=5)["choices"][0]["message"]
        call = message["tool_calls"][0]
        self.assertIn(call["function"]["name"], ("look", "read"))
        self.assertEqual(list(json.loads(call["function"]["arguments"])), ["q"])
        turns = [{"role": "user", "content": "x"}, message,
                 {"role": "tool", "tool_call_id": call["id"], "content": "seen"}]
        self.assertTrue(self.whole(tools=tools, messages=turns)["choices"][0]["message"]["content"])


PORT = 0


def main():
    global PORT
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = sys.argv.pop(1)
    server = subprocess.Popen([FOLDER / "start.sh", folder, "--while-stdin"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    try:
        line = server.stdout.readline().split()
        while line and line[0] != b"ready":
            line = server.stdout.readline().split()
        if not line:
            sys.exit("the server did not start")
        PORT = int(line[1])
        outcome = unittest.main(exit=False).result
    finally:
        server.stdin.close()
        server.wait(10)
    sys.exit(0 if outcome.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
