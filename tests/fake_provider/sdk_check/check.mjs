// What the official clients understand of the fake provider: if they read it as its author meant it, it
// speaks the providers' words and not only ours.
//
//   node check.mjs PORT      from a folder in which the packages are installed
import assert from "node:assert/strict";
import {createRequire} from "node:module";
import path from "node:path";
import {pathToFileURL} from "node:url";

const [port] = process.argv.slice(2);
const host = `http://127.0.0.1:${port}`;
const require = createRequire(path.join(process.cwd(), "here.js"));
const load = async name => import(pathToFileURL(require.resolve(name)).href);

const {default: OpenAI} = await load("openai");
const {default: Anthropic} = await load("@anthropic-ai/sdk");
const {Ollama} = await load("ollama");

const openai = new OpenAI({apiKey: "sk-test", baseURL: `${host}/v1`, timeout: 10000});
const anthropic = new Anthropic({apiKey: "sk-test", baseURL: host, timeout: 10000});
const ollama = new Ollama({host});

const sentence = "The fake model has nothing to add.";
const messages = [{role: "user", content: "Hello"}];
const schema = {
    type: "object",
    additionalProperties: false,
    required: ["writes", "note"],
    properties: {writes: {type: "array", items: {type: "string"}}, note: {type: ["string", "null"]}},
};
const parameters = {type: "object", additionalProperties: false, required: ["q"], properties: {q: {type: "string"}}};
const tools = [{type: "function", function: {name: "look", description: "Looks.", parameters, strict: true}}];
const checks = [];
const check = (sentence_, body) => checks.push([sentence_, body]);

const fake = async (what, body) => {
    const options = body === undefined ? {} : {method: "POST", body: JSON.stringify(body)};
    return (await fetch(`${host}/fake/${what}`, options)).json();
};
const gather = async (stream, pick) => {
    let all = "";
    for await (const event of stream) all += pick(event) ?? "";
    return all;
};
const fails = async (promise, pick) => {
    const error = await promise.then(() => assert.fail("it did not fail"), error_ => error_);
    pick(error);
};

// --- openai, chat completions

const chat = (model, more = {}) => openai.chat.completions.create({model, messages, ...more});
const chatStream = (model, more = {}) => openai.chat.completions.stream(
    {model, messages, stream_options: {include_usage: true}, ...more});

check("chat: a plain answer, with usage", async () => {
    const whole = await chat("plain");
    assert.equal(whole.choices[0].message.content, sentence);
    assert.equal(whole.choices[0].finish_reason, "stop");
    assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
    assert.match(whole._request_id, /^req_fake/);
});
for (const trap of ["", "/trap/split_utf8", "/trap/crlf", "/trap/no_space", "/trap/pings", "/trap/padded",
                    "/trap/gzip", "/trap/unknown_events"]) {
    check(`chat: a stream is gathered (${trap || "no trap"})`, async () => {
        const stream = chatStream(`m${trap}`);
        const final = await stream.finalChatCompletion();
        const text = final.choices[0].message.content;
        trap.includes("utf8") ? assert.match(text, /^Grüße aus Köln, 世界 🌍/) : assert.equal(text, sentence);
        assert.ok(final.usage.prompt_tokens > 0);
    });
}
check("chat: two interleaved tool calls are told apart", async () => {
    // Not strict: of a strict tool this client reads the arguments when the next index begins.
    const loose = [{type: "function", function: {name: "look", description: "Looks.", parameters}}];
    const final = await chatStream("m/trap/interleaved_tools", {tools: loose}).finalChatCompletion();
    const calls = final.choices[0].message.tool_calls;
    assert.equal(calls.length, 2);
    for (const call of calls) assert.deepEqual(JSON.parse(call.function.arguments), {q: "text"});
    assert.notEqual(calls[0].id, calls[1].id);
    assert.equal(final.choices[0].finish_reason, "tool_calls");
});
check("chat: a tool loop goes round", async () => {
    const runner = openai.chat.completions.runTools({
        model: "tools", messages,
        tools: [{type: "function", function: {name: "look", parameters, parse: JSON.parse, function: () => "seen"}}],
    });
    assert.equal(await runner.finalContent(), sentence);
    assert.equal(runner.messages.filter(message => message.role === "tool").length, 1);
});
check("chat: a schema is answered", async () => {
    const format = {type: "json_schema", json_schema: {name: "answer", strict: true, schema}};
    const whole = await openai.chat.completions.parse({model: "smallest", messages, response_format: format});
    assert.deepEqual(JSON.parse(whole.choices[0].message.content), {writes: [], note: null});
});
check("chat: a refusal is one", async () => {
    const whole = await chatStream("m/trap/refusal").finalChatCompletion();
    assert.equal(whole.choices[0].message.refusal, "I cannot help with that.");
});
check("chat: an error inside of a stream is an error", async () => fails(
    chatStream("m/trap/error_in_stream").finalChatCompletion(), error => assert.match(error.message, /verloaded/)));
check("chat: 401 is an AuthenticationError", async () => fails(chat("m/trap/401"), error => {
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, "invalid_api_key");
}));
check("chat: an overlong prompt has its code", async () => fails(chat("m/trap/context_overflow"), error => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.code, "context_length_exceeded");
}));
for (const trap of ["429_ms_once", "429_seconds_once", "429_date_once", "500_once", "should_retry_true_once"]) {
    check(`chat: ${trap} is tried again`, async () => {
        const whole = await chat(`m/trap/${trap}`);
        assert.equal(whole.choices[0].message.content, sentence);
    });
}
for (const [trap, tries] of [["should_retry_false", 1], ["429_ms=1", 3], ["400", 1]]) {
    check(`chat: ${trap} is tried ${tries} times`, async () => {
        await fake("reset", {});
        await fails(chat(`m/trap/${trap}`), () => {});
        assert.equal((await fake("stats")).requests, tries);
    });
}
check("models are listed", async () => {
    const names = [];
    for await (const model of openai.models.list()) names.push(model.id);
    assert.ok(names.includes("answer"));
    const theirs = [];
    for await (const model of anthropic.models.list()) theirs.push(model.id);
    assert.deepEqual(theirs, names);
});

// --- openai, responses

const flatTools = [{type: "function", name: "look", description: "Looks.", parameters, strict: true}];
check("responses: a plain answer, with usage", async () => {
    const whole = await openai.responses.create({model: "plain", input: "Hello", store: false});
    assert.equal(whole.output_text, sentence);
    assert.equal(whole.status, "completed");
    assert.equal(whole.usage.total_tokens, whole.usage.input_tokens + whole.usage.output_tokens);
});
for (const trap of ["", "/trap/split_utf8", "/trap/crlf", "/trap/responses_no_sequence", "/trap/unknown_events"]) {
    check(`responses: a stream is gathered (${trap || "no trap"})`, async () => {
        const final = await openai.responses.stream({model: `m${trap}`, input: "Hello"}).finalResponse();
        trap.includes("utf8") ? assert.match(final.output_text, /^Grüße/) : assert.equal(final.output_text, sentence);
    });
}
check("responses: the events' own text is that of the end", async () => {
    const stream = await openai.responses.create({model: "m", input: "Hello", stream: true});
    assert.equal(await gather(stream, event => event.type === "response.output_text.delta" ? event.delta : ""), sentence);
});
check("responses: tools are called and answered", async () => {
    const first = await openai.responses.stream({model: "tools", input: "Hello", tools: flatTools}).finalResponse();
    const call = first.output.find(item => item.type === "function_call");
    assert.deepEqual(JSON.parse(call.arguments), {q: ""});
    const input = [{role: "user", content: "Hello"}, call,
                   {type: "function_call_output", call_id: call.call_id, output: "seen"}];
    const second = await openai.responses.create({model: "tools", input, tools: flatTools});
    assert.equal(second.output_text, sentence);
});
check("responses: two interleaved calls are told apart", async () => {
    const final = await openai.responses.stream(
        {model: "m/trap/interleaved_tools", input: "Hello", tools: flatTools}).finalResponse();
    const calls = final.output.filter(item => item.type === "function_call");
    assert.deepEqual(calls.map(call => JSON.parse(call.arguments)), [{q: "text"}, {q: "text"}]);
});
check("responses: a schema is answered", async () => {
    const text = {format: {type: "json_schema", name: "answer", strict: true, schema}};
    const whole = await openai.responses.parse({model: "m", input: "Hello", text});
    assert.deepEqual(whole.output_parsed, {writes: [], note: null});
});
check("responses: half an answer is incomplete", async () => {
    const whole = await openai.responses.create({model: "m/trap/length_half_json", input: "Hello"});
    assert.equal(whole.status, "incomplete");
    assert.equal(whole.incomplete_details.reason, "max_output_tokens");
});
check("responses: an error inside of a stream is an error", async () => fails(
    openai.responses.stream({model: "m/trap/error_in_stream", input: "Hello"}).finalResponse(),
    error => assert.match(error.message, /verloaded/)));

// --- anthropic

const claude = (model, more = {}) => anthropic.messages.create({model, max_tokens: 500, messages, ...more});
const claudeStream = (model, more = {}) => anthropic.messages.stream({model, max_tokens: 500, messages, ...more});
const claudeTools = [{name: "look", description: "Looks.", input_schema: parameters}];

check("messages: a plain answer, with usage", async () => {
    const whole = await claude("plain", {system: "Be brief."});
    assert.equal(whole.content[0].text, sentence);
    assert.equal(whole.stop_reason, "end_turn");
    assert.ok(whole.usage.input_tokens > 0);
    assert.match(whole._request_id, /^req_fake/);
});
for (const trap of ["", "/trap/split_utf8", "/trap/crlf", "/trap/pings", "/trap/padded", "/trap/unknown_events"]) {
    check(`messages: a stream is gathered (${trap || "no trap"})`, async () => {
        const final = await claudeStream(`m${trap}`).finalMessage();
        trap.includes("utf8") ? assert.match(final.content[0].text, /^Grüße/) : assert.equal(final.content[0].text, sentence);
        assert.ok(final.usage.output_tokens > 1);
    });
}
check("messages: tools are called and answered, thinking goes back", async () => {
    const first = await claudeStream("m/trap/thinking", {tools: claudeTools}).finalMessage();
    assert.deepEqual(first.content.map(block => block.type), ["thinking", "tool_use"]);
    const call = first.content[1];
    assert.deepEqual(call.input, {q: ""});
    const result = {role: "user", content: [{type: "tool_result", tool_use_id: call.id, content: "seen"}]};
    const turns = [...messages, {role: "assistant", content: first.content}, result];
    const second = await claude("m/trap/thinking", {tools: claudeTools, messages: turns});
    assert.equal(second.content.at(-1).text, sentence);
    turns[1] = {role: "assistant", content: [call]};
    await fails(claude("m", {tools: claudeTools, messages: turns}), error => assert.match(error.message, /thinking/));
});
check("messages: two calls and empty arguments", async () => {
    const two = await claudeStream("m/trap/interleaved_tools", {tools: claudeTools}).finalMessage();
    assert.deepEqual(two.content.map(block => block.input), [{q: "text"}, {q: "text"}]);
    const none = await claudeStream("m/trap/empty_arguments", {tools: claudeTools}).finalMessage();
    assert.deepEqual(none.content[0].input, {});
});
check("messages: a schema is answered", async () => {
    const whole = await claude("m", {output_config: {format: {type: "json_schema", schema}}});
    assert.deepEqual(JSON.parse(whole.content[0].text), {writes: [], note: null});
});
check("messages: stop reasons", async () => {
    assert.equal((await claude("m/trap/refusal")).stop_reason, "refusal");
    assert.equal((await claude("m/trap/length_half_json")).stop_reason, "max_tokens");
    assert.equal((await claude("m/trap/context_overflow_stop")).stop_reason, "model_context_window_exceeded");
    assert.equal((await claude("m", {max_tokens: 2})).stop_reason, "max_tokens");
});
check("messages: errors have their classes", async () => {
    const once = new Anthropic({apiKey: "k", baseURL: host, maxRetries: 0});
    const asked = trap => once.messages.create({model: `m/trap/${trap}`, max_tokens: 5, messages});
    await fails(asked("401"), error => assert.ok(error instanceof Anthropic.AuthenticationError));
    await fails(asked("529"), error => {
        assert.equal(error.status, 529);
        assert.equal(error.error.error.type, "overloaded_error");
    });
    await fails(asked("429_quota"), error => assert.ok(error instanceof Anthropic.RateLimitError));
    await fails(asked("context_overflow"), error => assert.match(error.message, /prompt is too long/));
    await fails(claudeStream("m/trap/error_in_stream").finalMessage(), error => assert.match(error.message, /verloaded/));
});
for (const trap of ["429_ms_once", "529_once", "500_once"]) {
    check(`messages: ${trap} is tried again`, async () => {
        assert.equal((await claude(`m/trap/${trap}`)).content[0].text, sentence);
    });
}

// --- ollama

check("ollama: a plain answer, with counts", async () => {
    const whole = await ollama.chat({model: "plain", messages});
    assert.equal(whole.message.content, sentence);
    assert.ok(whole.prompt_eval_count > 0 && whole.eval_count > 0 && whole.done);
});
for (const trap of ["", "/trap/split_utf8", "/trap/crlf"]) {
    check(`ollama: a stream is gathered (${trap || "no trap"})`, async () => {
        const text = await gather(await ollama.chat({model: `m${trap}`, messages, stream: true}), part => part.message.content);
        trap.includes("utf8") ? assert.match(text, /^Grüße/) : assert.equal(text, sentence);
    });
}
check("ollama: tools are called, a schema is answered, errors are told", async () => {
    const called = await ollama.chat({model: "tools", messages, tools});
    assert.deepEqual(called.message.tool_calls[0].function, {name: "look", arguments: {q: ""}});
    const answered = await ollama.chat({model: "m", messages, format: schema});
    assert.deepEqual(JSON.parse(answered.message.content), {writes: [], note: null});
    await fails(ollama.chat({model: "m/trap/404", messages}), error => assert.equal(error.status_code, 404));
    await fails(gather(await ollama.chat({model: "m/trap/error_in_stream", messages, stream: true}), () => ""),
                error => assert.match(error.message, /verloaded/));
    assert.ok((await ollama.list()).models.length > 0);
});

let failed = 0;
for (const [sentence_, body] of checks) {
    try {
        await body();
    } catch (error) {
        failed++;
        console.log(`failed: ${sentence_}\n${String(error.stack ?? error).split("\n").slice(0, 12).join("\n")}\n`);
    }
}
console.log(failed ? `sdk_check: ${failed} of ${checks.length} checks failed`
                   : `sdk_check: all ${checks.length} checks passed, node ${process.versions.node}`);
process.exit(failed ? 1 : 0);
