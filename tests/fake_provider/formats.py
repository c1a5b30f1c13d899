"""The wire formats: what a request asks, in words that are no provider's, and a reply in each provider's.

Each format reads a request as strictly as its provider does where that catches a client's mistakes
(roles, ids of tool calls, strict schemas), and raises Refused with the provider's status and words.
"""

import dataclasses
import json
import re

from instance import strict_problem


@dataclasses.dataclass
class Call:
    name: str
    arguments: str  # text, so that it can be broken on purpose
    id: str = ""


@dataclasses.dataclass
class Usage:
    input: int = 0  # all of the prompt
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclasses.dataclass
class Reply:
    text: str | None = None
    calls: list = dataclasses.field(default_factory=list)
    reasoning: str | None = None
    refusal: str | None = None
    stop: str = ""  # end, length, tool_calls, refusal, filter, context; empty: as the content says
    usage: Usage | None = None  # None: no usage is sent
    piece: int = 24  # characters in one event of a stream
    interleaved: bool = False
    sequence: bool = True  # numbers in Responses events
    usage_chunk: bool = False  # also when it was not asked for
    done: bool = True  # [DONE]
    cut_call: bool = False  # the last call is broken off

    def stopped(self):
        return self.stop or ("tool_calls" if self.calls else "end")

    def output_bytes(self):
        texts = [self.text or "", self.reasoning or "", self.refusal or ""]
        texts += [call.name + call.arguments for call in self.calls]
        return sum(len(text.encode()) for text in texts)


@dataclasses.dataclass
class Ask:
    format: object
    path: str
    llama: bool
    headers: dict
    model: str
    stream: bool = False
    prompt: str = ""  # every text of it, in order, one after the other
    last_user: str = ""
    schema: object = None
    tools: list = dataclasses.field(default_factory=list)  # (name, schema)
    after_tools: bool = False  # the last turn is a tool's result
    include_usage: bool = False
    max_tokens: int | None = None
    body_bytes: int = 0
    number: int = 0

    def key(self):
        return self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")


class Refused(Exception):
    def __init__(self, kind, message, status=None, code=None, param=None, extra=None):
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status or STATUS[kind]
        self.code = code
        self.param = param
        self.extra = extra or {}


STATUS = {"bad_request": 400, "unsupported": 400, "context": 400, "authentication": 401, "billing": 402,
          "permission": 403, "not_found": 404, "timeout": 408, "conflict": 409, "too_large": 413, "rate_limit": 429,
          "quota": 429, "server": 500, "unavailable": 503, "overloaded": 529}


def kind_of(status):
    return next((kind for kind, number in STATUS.items() if number == status),
                "bad_request" if status < 500 else "server")


compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def pieces(text, size):
    return [text[at:at + size] for at in range(0, len(text), size)]


def text_of(content, place):
    """Text of a message's content: a string, null, or a list of parts that hold text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refused("bad_request", f"Invalid type for '{place}': expected a string or an array.", param=place)
    return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))


def want(condition, message, **more):
    if not condition:
        raise Refused("bad_request", message, **more)


def loaded(text):
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return None


class Format:
    sse = True

    def framed(self, name, data):
        """One event as text, with plain newlines."""
        return f"data: {data if isinstance(data, str) else compact(data)}\n\n"


class Chat(Format):
    name = "chat"

    def read(self, body, ask):
        messages = body.get("messages")
        want(isinstance(messages, list) and messages, "Missing required parameter: 'messages'.", param="messages")
        if re.match(r"(o\d|gpt-5)", ask.model) and "max_tokens" in body:
            raise Refused("unsupported", "Unsupported parameter: 'max_tokens' is not supported with this model. "
                                         "Use 'max_completion_tokens' instead.", param="max_tokens")
        ask.stream = body.get("stream", False) is True
        ask.include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        want("stream_options" not in body or ask.stream,
             "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
        ask.max_tokens = body.get("max_completion_tokens", body.get("max_tokens"))
        self._read_messages(messages, ask)
        for place, tool in enumerate(body.get("tools") or []):
            function = tool.get("function") or {}
            want(tool.get("type") == "function" and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", function.get("name", "")),
                 f"Invalid 'tools[{place}].function.name'.", param=f"tools[{place}].function.name")
            check_strict(function.get("parameters"), function.get("strict"), f"function '{function['name']}'", ask)
            ask.tools.append((function["name"], function.get("parameters") or {"type": "object"}))
        self._read_schema(body.get("response_format"), ask)
        if ask.llama and ask.tools and ask.schema is not None:
            raise Refused("bad_request", "Cannot use custom grammar constraints with tools.")

    def _read_messages(self, messages, ask):
        texts, open_calls = [], set()
        for place, message in enumerate(messages):
            role = message.get("role")
            want(role in ("developer", "system", "user", "assistant", "tool"),
                 f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'tool' and "
                 "'developer'.", param=f"messages[{place}].role")
            text = text_of(message.get("content"), f"messages[{place}].content")
            if role == "tool":
                want(message.get("tool_call_id") in open_calls,
                     "Invalid parameter: messages with role 'tool' must be a response to a preceding message with "
                     "'tool_calls'.", param=f"messages[{place}].role")
                open_calls.discard(message["tool_call_id"])
            else:
                want(not open_calls, "An assistant message with 'tool_calls' must be followed by tool messages "
                                     "responding to each 'tool_call_id'. The following tool_call_ids did not have "
                                     f"response messages: {', '.join(sorted(open_calls))}", param="messages")
            if role == "user":
                ask.last_user = text
            for call in message.get("tool_calls") or []:
                want(isinstance(call.get("function", {}).get("arguments"), str),
                     f"Invalid type for 'messages[{place}].tool_calls[0].function.arguments': expected a string.")
                open_calls.add(call.get("id"))
                text += call["function"]["name"] + call["function"]["arguments"]
            texts.append(text)
        want(not open_calls, "An assistant message with 'tool_calls' must be followed by tool messages responding to "
                             "each 'tool_call_id'.", param="messages")
        ask.prompt = "\n".join(texts)
        ask.after_tools = messages[-1]["role"] == "tool"

    def _read_schema(self, wanted, ask):
        kind = (wanted or {}).get("type", "text")
        if kind == "json_object":
            ask.schema = wanted.get("schema", {"type": "object"})
        if kind != "json_schema":
            return
        nested = wanted.get("json_schema")
        if nested is None and ask.llama and "schema" in wanted:
            nested = {"name": "flat", "schema": wanted["schema"]}
        want(isinstance(nested, dict), "Missing required parameter: 'response_format.json_schema'.",
             param="response_format.json_schema")
        want(ask.llama or re.fullmatch(r"[A-Za-z0-9_-]{1,64}", nested.get("name", "")),
             "Invalid 'response_format.json_schema.name': string does not match pattern '^[a-zA-Z0-9_-]+$'.",
             param="response_format.json_schema.name")
        ask.schema = nested.get("schema", {})
        check_strict(ask.schema, nested.get("strict"), f"response_format '{nested.get('name')}'", ask)

    FINISH = {"end": "stop", "length": "length", "tool_calls": "tool_calls", "refusal": "stop",
              "filter": "content_filter", "context": "length"}

    def usage(self, usage):
        return {"prompt_tokens": usage.input, "completion_tokens": usage.output,
                "total_tokens": usage.input + usage.output,
                "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
                "completion_tokens_details": {"reasoning_tokens": usage.reasoning}}

    def whole(self, ask, reply):
        message = {"role": "assistant", "content": reply.text, "refusal": reply.refusal}
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.calls:
            message["tool_calls"] = [{"id": call.id, "type": "function",
                                      "function": {"name": call.name, "arguments": call.arguments}}
                                     for call in reply.calls]
        answer = {"id": f"chatcmpl-fake-{ask.number}", "object": "chat.completion", "created": 1767225600,
                  "model": ask.model, "choices": [{"index": 0, "message": message,
                                                   "finish_reason": self.FINISH[reply.stopped()]}]}
        if reply.usage:
            answer["usage"] = self.usage(reply.usage)
            if ask.llama:
                answer["timings"] = {"cache_n": reply.usage.cached, "prompt_n": reply.usage.input,
                                     "predicted_n": reply.usage.output}
        return answer

    def events(self, ask, reply):
        head = {"id": f"chatcmpl-fake-{ask.number}", "object": "chat.completion.chunk", "created": 1767225600,
                "model": ask.model}
        rest = {"usage": None} if ask.include_usage else {}
        out = []

        def chunk(delta, finish=None):
            out.append((None, {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **rest}))

        chunk({"role": "assistant", "content": None if reply.text is None else ""})
        for part in pieces(reply.reasoning or "", reply.piece):
            chunk({"reasoning_content": part})
        for part in pieces(reply.text or "", reply.piece):
            chunk({"content": part})
        for part in pieces(reply.refusal or "", reply.piece):
            chunk({"refusal": part})
        for delta in self._call_deltas(reply):
            chunk({"tool_calls": delta})
        chunk({}, self.FINISH[reply.stopped()])
        if reply.usage and (ask.include_usage or reply.usage_chunk):
            out.append((None, {**head, "choices": [], "usage": self.usage(reply.usage)}))
        if reply.done:
            out.append((None, "[DONE]"))
        return out

    def _call_deltas(self, reply):
        rows = []
        for index, call in enumerate(reply.calls):
            rows.append([{"index": index, "id": call.id, "type": "function",
                          "function": {"name": call.name, "arguments": ""}}])
            rows[-1] += [{"index": index, "function": {"arguments": part}}
                         for part in pieces(call.arguments, reply.piece)]
        if not reply.interleaved:
            return [[delta] for row in rows for delta in row]
        turns = max((len(row) for row in rows), default=0)
        return [[row[turn] for row in rows if turn < len(row)] for turn in range(turns)]

    ERRORS = {"bad_request": ("invalid_request_error", None), "unsupported": ("invalid_request_error",
              "unsupported_parameter"), "context": ("invalid_request_error", "context_length_exceeded"),
              "authentication": ("invalid_request_error", "invalid_api_key"), "billing": ("billing_error", None),
              "permission": ("invalid_request_error", "model_not_found"),
              "not_found": ("invalid_request_error", "model_not_found"), "rate_limit": ("tokens",
              "rate_limit_exceeded"), "quota": ("insufficient_quota", "insufficient_quota"),
              "server": ("server_error", None), "unavailable": ("server_error", "server_overloaded"),
              "overloaded": ("server_error", "overloaded")}
    LLAMA_ERRORS = {"context": "exceed_context_size_error", "authentication": "authentication_error",
                    "permission": "permission_error", "not_found": "not_found_error", "server": "server_error",
                    "unavailable": "unavailable_error"}

    def error(self, refused, ask=None):
        if ask is not None and ask.llama:
            return {"error": {"code": refused.status, "message": refused.message, "type":
                              self.LLAMA_ERRORS.get(refused.kind, "invalid_request_error"), **refused.extra}}
        kind, code = self.ERRORS.get(refused.kind, ("invalid_request_error", None))
        return {"error": {"message": refused.message, "type": kind, "param": refused.param,
                          "code": refused.code if refused.code is not None else code, **refused.extra}}

    def error_event(self, refused, ask, number):
        return None, self.error(refused, ask)


def check_strict(schema, strict, place, ask):
    if strict and isinstance(schema, dict) and not ask.llama:
        problem = strict_problem(schema, openai=True)
        want(problem is None, f"Invalid schema for {place}: {problem}", param="response_format")


class Responses(Format):
    name = "responses"
    ERRORS = Chat.ERRORS

    def framed(self, name, data):
        return f"event: {name}\ndata: {compact(data)}\n\n"

    def read(self, body, ask):
        items = body.get("input")
        want(items, "Missing required parameter: 'input'.", param="input")
        want("messages" not in body, "Unsupported parameter: 'messages'. In the Responses API, this parameter has "
                                     "moved to 'input'.", param="messages")
        want("response_format" not in body, "Unsupported parameter: 'response_format'. In the Responses API, this "
             "parameter has moved to 'text.format'.", param="response_format")
        want("max_tokens" not in body, "Unsupported parameter: 'max_tokens'. Use 'max_output_tokens'.",
             param="max_tokens")
        ask.stream = body.get("stream", False) is True
        ask.max_tokens = body.get("max_output_tokens")
        want(ask.max_tokens is None or ask.max_tokens >= 16, "Invalid 'max_output_tokens': integer below minimum "
             "value. Expected a value >= 16.", param="max_output_tokens")
        if isinstance(items, str):
            items = [{"role": "user", "content": items}]
        self._read_items(items, body.get("instructions") or "", ask)
        for place, tool in enumerate(body.get("tools") or []):
            want(tool.get("type") == "function" and tool.get("name"), f"Missing required parameter: "
                 f"'tools[{place}].name'.", param=f"tools[{place}].name")
            check_strict(tool.get("parameters"), tool.get("strict"), f"function '{tool['name']}'", ask)
            ask.tools.append((tool["name"], tool.get("parameters") or {"type": "object"}))
        wanted = (body.get("text") or {}).get("format") or {}
        if wanted.get("type") == "json_schema":
            want(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", wanted.get("name", "")), "Invalid 'text.format.name'.",
                 param="text.format.name")
            want("schema" in wanted, "Missing required parameter: 'text.format.schema'.", param="text.format.schema")
            ask.schema = wanted["schema"]
            check_strict(ask.schema, wanted.get("strict"), f"response_format '{wanted['name']}'", ask)
        elif wanted.get("type") == "json_object":
            ask.schema = {"type": "object"}

    def _read_items(self, items, instructions, ask):
        texts, open_calls = [instructions], set()
        for place, item in enumerate(items):
            kind = item.get("type", "message")
            if kind == "function_call":
                open_calls.add(item.get("call_id"))
                texts.append(item.get("name", "") + item.get("arguments", ""))
            elif kind == "function_call_output":
                want(item.get("call_id") in open_calls, "No tool call found for function call output with call_id "
                     f"{item.get('call_id')}.", param="input")
                open_calls.discard(item["call_id"])
                texts.append(text_of(item.get("output"), f"input[{place}].output"))
            elif kind == "message":
                want(item.get("role") in ("developer", "system", "user", "assistant"),
                     f"Invalid value: '{item.get('role')}'.", param=f"input[{place}].role")
                texts.append(text_of(item.get("content"), f"input[{place}].content"))
                if item["role"] == "user":
                    ask.last_user = texts[-1]
            else:
                want(kind in ("reasoning", "item_reference"), f"Invalid value: '{kind}'.",
                     param=f"input[{place}].type")
        want(not open_calls, f"No tool output found for function call {', '.join(sorted(map(str, open_calls)))}.",
             param="input")
        ask.prompt = "\n".join(texts)
        ask.after_tools = items[-1].get("type") == "function_call_output"

    def usage(self, usage):
        return {"input_tokens": usage.input,
                "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
                "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
                "total_tokens": usage.input + usage.output}

    def _items(self, ask, reply):
        items = []
        if reply.reasoning:
            items.append({"type": "reasoning", "id": f"rs_fake_{ask.number}",
                          "summary": [{"type": "summary_text", "text": reply.reasoning}],
                          "encrypted_content": "c2VhbGVk"})
        broken_off = reply.stopped() in ("length", "filter", "context")
        status = "incomplete" if broken_off else "completed"
        content = []
        if reply.text is not None:
            content.append({"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []})
        if reply.refusal is not None:
            content.append({"type": "refusal", "refusal": reply.refusal})
        if content:
            items.append({"type": "message", "id": f"msg_fake_{ask.number}", "status": status, "role": "assistant",
                          "content": content})
        for index, call in enumerate(reply.calls):
            items.append({"type": "function_call", "id": f"fc_fake_{ask.number}_{index}", "call_id": call.id,
                          "name": call.name, "arguments": call.arguments, "status": status})
        return items

    def _response(self, ask, reply, items, status):
        reasons = {"length": "max_output_tokens", "filter": "content_filter", "context": "max_output_tokens"}
        done = status in ("completed", "incomplete")
        return {"id": f"resp_fake_{ask.number}", "object": "response", "created_at": 1767225600, "status": status,
                "error": None, "incomplete_details": {"reason": reasons[reply.stopped()]} if status == "incomplete"
                else None, "instructions": None, "model": ask.model, "output": items, "parallel_tool_calls": True,
                "tool_choice": "auto", "tools": [],
                "usage": self.usage(reply.usage) if done and reply.usage else None}

    def _status(self, reply):
        return "incomplete" if reply.stopped() in ("length", "filter", "context") else "completed"

    def whole(self, ask, reply):
        return self._response(ask, reply, self._items(ask, reply), self._status(reply))

    def events(self, ask, reply):
        out = []

        def event(kind, **data):
            number = {"sequence_number": len(out)} if reply.sequence else {}
            out.append((kind, {"type": kind, **number, **data}))

        items = self._items(ask, reply)
        event("response.created", response=self._response(ask, reply, [], "in_progress"))
        event("response.in_progress", response=self._response(ask, reply, [], "in_progress"))
        calls = []
        for index, item in enumerate(items):
            if item["type"] == "function_call":
                calls.append((index, item))
            else:
                self._item_events(event, index, item, reply)
        if reply.interleaved:
            for index, item in calls:
                event("response.output_item.added", output_index=index,
                      item={**item, "arguments": "", "status": "in_progress"})
            rows = [[(index, item, part) for part in pieces(item["arguments"], reply.piece)] for index, item in calls]
            for turn in range(max((len(row) for row in rows), default=0)):
                for index, item, part in [row[turn] for row in rows if turn < len(row)]:
                    event("response.function_call_arguments.delta", item_id=item["id"], output_index=index, delta=part)
        for index, item in calls:
            if not reply.interleaved:
                event("response.output_item.added", output_index=index,
                      item={**item, "arguments": "", "status": "in_progress"})
                for part in pieces(item["arguments"], reply.piece):
                    event("response.function_call_arguments.delta", item_id=item["id"], output_index=index, delta=part)
            if not (reply.cut_call and index == calls[-1][0]):
                event("response.function_call_arguments.done", item_id=item["id"], output_index=index,
                      name=item["name"], arguments=item["arguments"])
                event("response.output_item.done", output_index=index, item=item)
        status = self._status(reply)
        event(f"response.{status}", response=self._response(ask, reply, items, status))
        return out

    def _item_events(self, event, index, item, reply):
        if item["type"] == "reasoning":
            event("response.output_item.added", output_index=index, item={**item, "summary": []})
            for part in pieces(item["summary"][0]["text"], reply.piece):
                event("response.reasoning_summary_text.delta", item_id=item["id"], output_index=index,
                      summary_index=0, delta=part)
            event("response.output_item.done", output_index=index, item=item)
            return
        event("response.output_item.added", output_index=index, item={**item, "content": [], "status": "in_progress"})
        for at, content in enumerate(item["content"]):
            place = {"item_id": item["id"], "output_index": index, "content_index": at}
            field = "text" if content["type"] == "output_text" else "refusal"
            event("response.content_part.added", **place, part={**content, field: ""})
            for part in pieces(content[field], reply.piece):
                event(f"response.{content['type']}.delta", **place, delta=part)
            event(f"response.{content['type']}.done", **place, **{field: content[field]})
            event("response.content_part.done", **place, part=content)
        event("response.output_item.done", output_index=index, item=item)

    def error(self, refused, ask=None):
        return Chat.error(CHAT, refused, ask)

    def error_event(self, refused, ask, number):
        kind, code = self.ERRORS.get(refused.kind, ("invalid_request_error", None))
        return "error", {"type": "error", "code": code or kind, "message": refused.message, "param": None,
                         "sequence_number": number}


class Messages(Format):
    name = "messages"

    def framed(self, name, data):
        return f"event: {name}\ndata: {compact(data)}\n\n"

    def read(self, body, ask):
        want("anthropic-version" in ask.headers, "anthropic-version: header is required")
        want(isinstance(body.get("max_tokens"), int) and body["max_tokens"] > 0, "max_tokens: Field required")
        messages = body.get("messages")
        want(isinstance(messages, list) and messages, "messages: at least one message is required")
        for key in ("response_format", "max_completion_tokens", "seed", "stream_options", "parallel_tool_calls"):
            want(key not in body, f"{key}: Extra inputs are not permitted")
        ask.stream = body.get("stream", False) is True
        ask.max_tokens = body["max_tokens"]
        self._read_messages(messages, text_of(body.get("system"), "system"), ask)
        for place, tool in enumerate(body.get("tools") or []):
            want(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", tool.get("name", "")),
                 f"tools.{place}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
            want(isinstance(tool.get("input_schema"), dict) and tool["input_schema"].get("type") == "object",
                 f"tools.{place}.custom.input_schema.type: Field required")
            ask.tools.append((tool["name"], tool["input_schema"]))
        wanted = (body.get("output_config") or {}).get("format")
        if wanted:
            want(wanted.get("type") == "json_schema" and isinstance(wanted.get("schema"), dict),
                 "output_config.format.schema: Field required")
            problem = strict_problem(wanted["schema"], openai=False)
            want(problem is None, f"output_config.format.schema: {problem}")
            ask.schema = wanted["schema"]

    def _read_messages(self, messages, system, ask):
        texts, open_calls = [system], set()
        previous = None
        for place, message in enumerate(messages):
            role, content = message.get("role"), message.get("content")
            want(role in ("user", "assistant"), f"messages: Unexpected role \"{role}\". The Messages API accepts a "
                 "top-level `system` parameter, not \"system\" as an input message role.")
            want(place > 0 or role == "user", "messages: first message must use the \"user\" role")
            want(content, f"messages.{place}: all messages must have non-empty content except for the optional final "
                          "assistant message")
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            results = [block for block in blocks if block.get("type") == "tool_result"]
            if open_calls and role != previous:
                answered = {block.get("tool_use_id") for block in results}
                want(open_calls <= answered, f"messages.{place - 1}: `tool_use` ids were found without `tool_result` "
                     f"blocks immediately after: {', '.join(sorted(open_calls - answered))}. Each `tool_use` block "
                     "must have a corresponding `tool_result` block in the next message.")
            for block in results:
                want(block.get("tool_use_id") in open_calls, f"messages.{place}.content: unexpected `tool_use_id` "
                     f"found in `tool_result` blocks: {block.get('tool_use_id')}.")
                open_calls.discard(block["tool_use_id"])
            thought = False
            for block in blocks:
                kind = block.get("type")
                if kind == "text":
                    want(block.get("text"), f"messages.{place}: text content blocks must be non-empty")
                    texts.append(block["text"])
                elif kind == "tool_result":
                    texts.append(text_of(block.get("content"), f"messages.{place}.content"))
                elif kind == "tool_use":
                    want(isinstance(block.get("input"), dict), f"messages.{place}.content: input: Input should be a "
                                                               "valid dictionary")
                    want(thought or not block.get("id", "").startswith("toolu_thought"),
                         f"messages.{place}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
                         "`tool_use`. When `thinking` is enabled, a final `assistant` message must start with a "
                         "thinking block.")
                    open_calls.add(block.get("id"))
                    texts.append(block.get("name", "") + compact(block["input"]))
                elif kind == "thinking":
                    want(block.get("signature") == SIGNATURE, f"messages.{place}.content.0: Invalid `signature` in "
                                                              "`thinking` block")
                    thought = True
            if role == "user":
                ask.last_user = "\n".join(block["text"] for block in blocks if block.get("type") == "text")
            previous = role
            ask.after_tools = bool(results)
        want(not open_calls, "messages: `tool_use` ids were found without `tool_result` blocks immediately after.")
        ask.prompt = "\n".join(texts)

    STOP = {"end": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "refusal": "refusal",
            "filter": "refusal", "context": "model_context_window_exceeded"}

    def usage(self, usage):
        return {"input_tokens": usage.input - usage.cached - usage.cache_write,
                "cache_creation_input_tokens": usage.cache_write, "cache_read_input_tokens": usage.cached,
                "output_tokens": usage.output}

    def _blocks(self, reply):
        blocks = []
        if reply.reasoning:
            blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": SIGNATURE})
        if reply.text:
            blocks.append({"type": "text", "text": reply.text})
        if reply.refusal:
            blocks.append({"type": "text", "text": reply.refusal})
        for call in reply.calls:
            arguments = loaded(call.arguments)
            blocks.append({"type": "tool_use", "id": call.id, "name": call.name,
                           "input": call.arguments if arguments is None else arguments})
        return blocks

    def whole(self, ask, reply):
        answer = {"id": f"msg_fake_{ask.number}", "type": "message", "role": "assistant", "model": ask.model,
                  "content": self._blocks(reply), "stop_reason": self.STOP[reply.stopped()], "stop_sequence": None}
        if reply.usage:
            answer["usage"] = self.usage(reply.usage)
        return answer

    def events(self, ask, reply):
        out = []

        def event(kind, **data):
            out.append((kind, {"type": kind, **data}))

        start = {"id": f"msg_fake_{ask.number}", "type": "message", "role": "assistant", "model": ask.model,
                 "content": [], "stop_reason": None, "stop_sequence": None}
        if reply.usage:
            start["usage"] = {**self.usage(reply.usage), "output_tokens": 1}
        event("message_start", message=start)
        event("ping")
        arguments = iter(reply.calls)
        blocks = self._blocks(reply)
        for index, block in enumerate(blocks):
            if block["type"] == "thinking":
                event("content_block_start", index=index, content_block={"type": "thinking", "thinking": "",
                                                                         "signature": ""})
                for part in pieces(block["thinking"], reply.piece):
                    event("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": part})
                event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": SIGNATURE})
            elif block["type"] == "text":
                event("content_block_start", index=index, content_block={"type": "text", "text": ""})
                for part in pieces(block["text"], reply.piece):
                    event("content_block_delta", index=index, delta={"type": "text_delta", "text": part})
            else:
                event("content_block_start", index=index, content_block={**block, "input": {}})
                for part in ["", *pieces(next(arguments).arguments, reply.piece)]:
                    event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": part})
            if not (reply.cut_call and index == len(blocks) - 1):
                event("content_block_stop", index=index)
        end = {"usage": {"output_tokens": reply.usage.output}} if reply.usage else {}
        event("message_delta", delta={"stop_reason": self.STOP[reply.stopped()], "stop_sequence": None}, **end)
        event("message_stop")
        return out

    ERRORS = {"authentication": "authentication_error", "billing": "billing_error", "permission": "permission_error",
              "not_found": "not_found_error", "too_large": "request_too_large", "rate_limit": "rate_limit_error",
              "quota": "rate_limit_error", "server": "api_error", "unavailable": "api_error",
              "overloaded": "overloaded_error"}

    def error(self, refused, ask=None):
        error = {"type": self.ERRORS.get(refused.kind, "invalid_request_error"), "message": refused.message}
        return {"type": "error", "error": error, "request_id": f"req_fake_{ask.number if ask else 0}"}

    def error_event(self, refused, ask, number):
        return "error", self.error(refused, ask)


class Ollama(Format):
    name = "ollama"
    sse = False

    def framed(self, name, data):
        return compact(data) + "\n"

    def read(self, body, ask):
        messages = body.get("messages")
        want(isinstance(messages, list), "messages must be an array")
        ask.stream = body.get("stream", True) is not False
        options = body.get("options") or {}
        predict = options.get("num_predict", -1)
        ask.max_tokens = predict if predict > 0 else None
        texts = []
        for message in messages:
            role = message.get("role")
            want(role in ("system", "user", "assistant", "tool"), f"invalid role: {role}")
            want(isinstance(message.get("content", ""), str), "json: cannot unmarshal array into Go struct field "
                                                              "ChatRequest.messages.content of type string")
            text = message.get("content", "")
            if role == "user":
                ask.last_user = text
            for call in message.get("tool_calls") or []:
                want(isinstance(call.get("function", {}).get("arguments"), dict), "json: cannot unmarshal string into "
                     "Go struct field ToolCallFunction.messages.tool_calls.function.arguments")
                text += call["function"]["name"] + compact(call["function"]["arguments"])
            texts.append(text)
        ask.prompt = "\n".join(texts)
        ask.after_tools = bool(messages) and messages[-1].get("role") == "tool"
        for tool in body.get("tools") or []:
            function = tool.get("function") or {}
            want(function.get("name"), "tool name is missing")
            ask.tools.append((function["name"], function.get("parameters") or {"type": "object"}))
        wanted = body.get("format")
        if wanted == "json":
            ask.schema = {"type": "object"}
        elif wanted:
            want(isinstance(wanted, dict), 'invalid format: expected "json" or a JSON schema')
            ask.schema = wanted

    def _line(self, ask, message, done=False):
        return {"model": ask.model, "created_at": "2026-01-01T00:00:00Z",
                "message": {"role": "assistant", **message}, "done": done}

    def _end(self, reply):
        end = {"done_reason": "length" if reply.stopped() in ("length", "context") else "stop",
               "total_duration": 5000000, "load_duration": 1000000}
        if reply.usage:
            end |= {"prompt_eval_count": reply.usage.input, "prompt_eval_duration": 2000000,
                    "eval_count": reply.usage.output, "eval_duration": 2000000}
        return end

    def _calls(self, reply):
        out = []
        for call in reply.calls:
            arguments = loaded(call.arguments)
            out.append({"function": {"name": call.name, "arguments": call.arguments if arguments is None
                                     else arguments}})
        return out

    def whole(self, ask, reply):
        message = {}
        if reply.text is not None or reply.refusal is not None or reply.calls:
            message["content"] = reply.text or reply.refusal or ""
        if reply.reasoning:
            message["thinking"] = reply.reasoning
        if reply.calls:
            message["tool_calls"] = self._calls(reply)
        return {**self._line(ask, message, True), **self._end(reply)}

    def events(self, ask, reply):
        out = []
        for part in pieces(reply.reasoning or "", reply.piece):
            out.append((None, self._line(ask, {"content": "", "thinking": part})))
        for part in pieces(reply.text or reply.refusal or "", reply.piece):
            out.append((None, self._line(ask, {"content": part})))
        for call in self._calls(reply):
            out.append((None, self._line(ask, {"content": "", "tool_calls": [call]})))
        out.append((None, {**self._line(ask, {"content": ""}, True), **self._end(reply)}))
        return out

    def error(self, refused, ask=None):
        return {"error": refused.message}

    def error_event(self, refused, ask, number):
        return None, self.error(refused)


SIGNATURE = "ZmFrZS1zaWduYXR1cmU="
CHAT = Chat()
FORMATS = {"/chat/completions": CHAT, "/responses": Responses(), "/messages": Messages(), "/api/chat": Ollama()}


def new_ask(path, headers, raw, number):
    """The ask of a request to one of the formats' paths, not yet read; None for any other path."""
    suffix = next((suffix for suffix in FORMATS if path.endswith(suffix)), None)
    if suffix is None:
        return None
    return Ask(format=FORMATS[suffix], path=path, llama=path.startswith("/llama/"), headers=headers, model="",
               body_bytes=len(raw), number=number)


def read_ask(ask, raw):
    """Fills the ask from the request's body. Raises Refused."""
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused("bad_request", "We could not parse the JSON body of your request.")
    ask.model = body.get("model") or ""
    want(ask.llama or ask.model, "you must provide a model parameter")
    try:
        ask.format.read(body, ask)
    except (AttributeError, TypeError, KeyError) as wrong:
        raise Refused("bad_request", f"Invalid request: {type(wrong).__name__}: {wrong}") from wrong
