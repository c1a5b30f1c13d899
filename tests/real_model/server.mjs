// A small server of the OpenAI kind around a real inference engine: llama.cpp, through node-llama-cpp.
//
//   node server.mjs MODEL.gguf [--port N] [--context N] [--parallel N]
//
// POST /v1/chat/completions with stream, max_tokens, temperature, seed, response_format, tools; GET
// /v1/models, /health, /props, /stats. Errors as llama.cpp's own server tells them. Prints "ready PORT".
// The package is looked up from the current folder. Ends when its parent closes its standard input, if
// --while-stdin is given.
import http from "node:http";
import {createRequire} from "node:module";
import path from "node:path";
import {pathToFileURL} from "node:url";
import {grammarOf, Unsupported} from "./grammar.mjs";

const BODY_BYTES_MAX = 16 << 20;
const GRAMMARS_MAX = 200;
const options = readArguments(process.argv.slice(2));
const require = createRequire(path.join(process.cwd(), "here.js"));
const {getLlama, LlamaCompletion} = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);

const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath: path.resolve(options.model)});
const context = await model.createContext({contextSize: options.context, sequences: options.parallel, threads: 1});
const answerToken = model.tokenize("<|answer|>", true);
const modelName = path.basename(options.model, ".gguf");
const idle = Array.from({length: options.parallel}, () => context.getSequence());
const waiting = [];
const grammars = new Map();
const stats = {requests: 0, cancelled: 0, active: 0, tokens: 0};

const server = http.createServer((request, response) => {
    answer(request, response).catch(error => refuse(response, asRefusal(error)));
});
server.listen(options.port, "127.0.0.1", () => console.log(`ready ${server.address().port}`));
process.once("SIGTERM", () => process.exit(0));
if (options.whileStdin) process.stdin.on("end", () => process.exit(0)).resume();

function readArguments(words) {
    const read = {model: undefined, port: 0, context: 8192, parallel: 2, whileStdin: false};
    while (words.length > 0) {
        const word = words.shift();
        if (word === "--while-stdin") read.whileStdin = true;
        else if (["--port", "--context", "--parallel"].includes(word)) read[word.slice(2)] = Number(words.shift());
        else read.model = word;
    }
    if (read.model === undefined) {
        console.error("usage: server.mjs MODEL.gguf [--port N] [--context N] [--parallel N] [--while-stdin]");
        process.exit(2);
    }
    return read;
}

class Refusal extends Error {
    constructor(status, type, message, more = {}) {
        super(message);
        Object.assign(this, {status, type, more});
    }
}

function asRefusal(error) {
    if (error instanceof Refusal) return error;
    if (error instanceof Unsupported || error instanceof SyntaxError || error instanceof TypeError) {
        return new Refusal(400, "invalid_request_error", error.message);
    }
    return new Refusal(500, "server_error", String(error?.message ?? error));
}

function refuse(response, {status, type, message, more}) {
    const body = {error: {code: status, message, type, ...more}};
    if (response.headersSent) response.end(`data: ${JSON.stringify(body)}\n\n`);
    else sendJson(response, status, body);
}

function sendJson(response, status, value) {
    response.writeHead(status, {"content-type": "application/json"});
    response.end(JSON.stringify(value));
}

async function answer(request, response) {
    const place = `${request.method} ${request.url}`;
    if (place === "GET /health") return sendJson(response, 200, {status: "ok"});
    if (place === "GET /stats") return sendJson(response, 200, stats);
    if (place === "GET /props") {
        return sendJson(response, 200, {default_generation_settings: {n_ctx: context.contextSize}, total_slots: options.parallel});
    }
    if (place === "GET /v1/models") {
        return sendJson(response, 200, {object: "list", data: [{id: modelName, object: "model", created: 0, owned_by: "tests"}]});
    }
    if (place !== "POST /v1/chat/completions") throw new Refusal(404, "not_found_error", "File Not Found");
    await complete(JSON.parse(await bodyOf(request)), response);
}

async function bodyOf(request) {
    const parts = [];
    let size = 0;
    for await (const part of request) {
        size += part.length;
        if (size > BODY_BYTES_MAX) throw new Refusal(413, "invalid_request_error", "the body is too large");
        parts.push(part);
    }
    return Buffer.concat(parts).toString("utf8");
}

// --- one completion

async function complete(asked, response) {
    const wanted = wantedOf(asked);
    const text = promptOf(asked.messages);
    const tokens = [...model.tokenize(text), ...answerToken];
    if (tokens.length >= context.contextSize) {
        throw new Refusal(400, "exceed_context_size_error",
            "the request exceeds the available context size, try increasing it",
            {n_prompt_tokens: tokens.length, n_ctx: context.contextSize});
    }
    const room = context.contextSize - tokens.length - 1;
    const grammar = wanted.schema === undefined ? undefined : await grammarFor(wanted.schema, text);
    const gone = new AbortController();
    response.on("close", () => gone.abort());

    const id = `chatcmpl-${++stats.requests}`;
    const reply = replyTo(response, asked, wanted, id);
    const sequence = await take();
    stats.active++;
    let completion;
    try {
        if (gone.signal.aborted) return void stats.cancelled++;
        await sequence.clearHistory();
        completion = new LlamaCompletion({contextSequence: sequence});
        const limit = asked.max_completion_tokens ?? asked.max_tokens ?? Infinity;
        let written = 0;
        let said = "";  // by pieces, since the engine closes up spaces when it puts all of them into letters at once
        const made = await completion.generateCompletionWithMeta(tokens, {
            maxTokens: Math.max(1, Math.min(limit < 0 ? Infinity : limit, room)),
            temperature: asked.temperature ?? 0.8,
            seed: asked.seed ?? undefined,
            grammar,
            repeatPenalty: false,
            signal: gone.signal,
            stopOnAbortSignal: true,
            onToken: some => { written += some.length; stats.tokens += some.length; },
            onTextChunk: piece => { said += piece; reply.text?.(piece); },
        });
        if (gone.signal.aborted) return void stats.cancelled++;
        const usage = {prompt_tokens: tokens.length, completion_tokens: written, total_tokens: tokens.length + written};
        reply.end(said, made.metadata.stopReason === "maxTokens" ? "length" : "stop", usage);
    } finally {
        completion?.dispose();
        stats.active--;
        give(sequence);
    }
}

function take() {
    if (idle.length > 0) return Promise.resolve(idle.pop());
    return new Promise(resolve => waiting.push(resolve));
}

function give(sequence) {
    const next = waiting.shift();
    if (next !== undefined) next(sequence);
    else idle.push(sequence);
}

// Which schema the answer must fit, and whether the answer is the call of a tool. A tool is called as long
// as the last turn brings no tool's result.
function wantedOf(asked) {
    if (!Array.isArray(asked.messages) || asked.messages.length === 0) throw new TypeError("'messages' is required");
    const format = asked.response_format ?? {type: "text"};
    const schema = format.type === "json_object" ? format.schema ?? {type: "object", additionalProperties: {type: "string"}}
        : format.type === "json_schema" ? format.json_schema?.schema ?? format.schema : undefined;
    if (format.type === "json_schema" && schema === undefined) throw new TypeError("'response_format' has no schema");
    const tools = asked.tool_choice === "none" ? [] : asked.tools ?? [];
    if (tools.length > 0 && schema !== undefined) {
        throw new Refusal(400, "invalid_request_error", "Cannot use custom grammar constraints with tools.");
    }
    if (tools.length === 0 || asked.messages.at(-1).role === "tool") return {schema, isCall: false};
    const calls = tools.map(({function: {name, parameters}}) => ({
        type: "object", required: ["name", "arguments"],
        properties: {name: {const: name}, arguments: parameters ?? {type: "object"}},
    }));
    return {schema: {anyOf: calls}, isCall: true};
}

function promptOf(messages) {
    return messages.map(({role, content, tool_calls: calls}) => {
        const text = typeof content === "string" ? content : (content ?? []).map(part => part.text ?? "").join("");
        return `${role}: ${text}${calls ? JSON.stringify(calls) : ""}\n`;
    }).join("\n");
}

async function grammarFor(schema, prompt) {
    const ids = Array.from(prompt.matchAll(/"id": ?"([^"\\/]{1,200}\/\d+)"/g), match => match[1]);
    const text = grammarOf(schema, [...new Set(ids)]);
    if (!grammars.has(text)) {
        if (grammars.size >= GRAMMARS_MAX) grammars.clear();
        grammars.set(text, await llama.createGrammar({grammar: text}));
    }
    return grammars.get(text);
}

// --- the answer on the wire

function replyTo(response, asked, wanted, id) {
    const head = {id, created: Math.floor(Date.now() / 1000), model: asked.model ?? modelName};
    return asked.stream ? streamed(response, asked, wanted, head) : whole(response, wanted, head);
}

function callsOf(text, id) {
    const {name, arguments: values} = JSON.parse(text);
    return [{id: `call_${id}`, type: "function", function: {name, arguments: JSON.stringify(values)}}];
}

function whole(response, wanted, head) {
    return {
        text: undefined,
        end(text, reason, usage) {
            const isCall = wanted.isCall && reason === "stop";
            const message = isCall ? {role: "assistant", content: null, tool_calls: callsOf(text, head.id)}
                                   : {role: "assistant", content: text};
            sendJson(response, 200, {
                ...head, object: "chat.completion", usage,
                choices: [{index: 0, message, finish_reason: isCall ? "tool_calls" : reason}],
            });
        },
    };
}

function streamed(response, asked, wanted, head) {
    const send = value => response.write(`data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`);
    const chunk = (delta, finish_reason = null) =>
        send({...head, object: "chat.completion.chunk", choices: [{index: 0, delta, finish_reason}]});
    let begun = false;
    const begin = () => {
        if (begun) return;
        begun = true;
        response.writeHead(200, {"content-type": "text/event-stream"});
        chunk({role: "assistant", content: wanted.isCall ? null : ""});
    };
    return {
        text: wanted.isCall ? undefined : text => { begin(); chunk({content: text}); },
        end(text, reason, usage) {
            begin();
            const isCall = wanted.isCall && reason === "stop";
            if (isCall) chunk({tool_calls: callsOf(text, head.id).map((call, index) => ({index, ...call}))});
            chunk({}, isCall ? "tool_calls" : reason);
            if (asked.stream_options?.include_usage) send({...head, object: "chat.completion.chunk", choices: [], usage});
            send("[DONE]");
            response.end();
        },
    };
}
