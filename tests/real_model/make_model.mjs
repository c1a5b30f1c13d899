// Writes a tiny model that llama.cpp loads: a bigram model, counted from texts at hand.
//
//   node make_model.mjs OUT.gguf TEXT_FILE...  [--merges N] [--context N]
//
// Nothing is downloaded. The tokeniser is byte pair encoding, learnt from the texts. The network is a
// llama with one block that does nothing: the embedding of a token is a unit vector of its own, the block
// adds zero, and the output matrix holds log P(next | this), so the engine's softmax gives exactly what was
// counted. It babbles in the texts' words; what samples, streams, stops and obeys grammars is the engine.
import {readFileSync, writeFileSync} from "node:fs";

const HEAD_WIDTH = 64; // of the one attention head
const SMOOTHING = 0.2; // how many observations the unigram is worth
const NEVER = -40; // logit
const SPECIAL = ["<|end|>", "<|answer|>"];
// What a write may begin with is chosen evenly: the texts favour some of these words.
const EVEN = ["insert", "add", "put", "replace", "retract", "remove", "increment"];
const EVEN_COUNT = 3;

const {out, files, merges: mergesMax, context} = readArguments(process.argv.slice(2));
const corpus = files.map(file => readFileSync(file, "utf8"));
const merges = learnMerges(wordCounts(corpus), mergesMax);
const tokens = [...alphabet().values(), ...merges.map(([left, right]) => left + right), ...SPECIAL];
const ids = new Map(tokens.map((token, id) => [token, id]));
const sentences = corpus.flatMap(sentencesOf);
const {following, alone} = countPairs(sentences);
writeFileSync(out, gguf());
console.log(`${out}: ${tokens.length} tokens, ${sentences.length} sentences`);

function readArguments(words) {
    const read = {out: undefined, files: [], merges: 1400, context: 32768};
    while (words.length > 0) {
        const word = words.shift();
        if (word === "--merges" || word === "--context") read[word.slice(2)] = Number(words.shift());
        else if (read.out === undefined) read.out = word;
        else read.files.push(word);
    }
    if (read.files.length === 0) {
        console.error("usage: make_model.mjs OUT.gguf TEXT_FILE... [--merges N] [--context N]");
        process.exit(2);
    }
    return read;
}

// --- tokens

// A character for each byte, as GPT-2's vocabulary files write them: printable bytes stand for themselves,
// the others for characters from 256 on.
function alphabet() {
    const letters = new Map();
    let next = 256;
    for (let byte = 0; byte < 256; byte++) {
        const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
        letters.set(byte, String.fromCharCode(printable ? byte : next++));
    }
    return letters;
}

function spelled(text) {
    spelled.letters ??= alphabet();
    return Array.from(Buffer.from(text), byte => spelled.letters.get(byte));
}

function wordsOf(text) {
    return text.match(/'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s/gu) ?? [];
}

function wordCounts(texts) {
    const counts = new Map();
    for (const text of texts) {
        for (const word of wordsOf(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
    }
    return counts;
}

// The most frequent neighbours become one token, again and again.
function learnMerges(counts, most) {
    const words = [...counts].map(([word, count]) => ({parts: spelled(word), count}));
    const learnt = [];
    while (learnt.length < most) {
        const pairs = new Map();
        for (const {parts, count} of words) {
            for (let at = 1; at < parts.length; at++) {
                const pair = `${parts[at - 1]} ${parts[at]}`;
                pairs.set(pair, (pairs.get(pair) ?? 0) + count);
            }
        }
        let best, most_ = 2;
        for (const [pair, count] of pairs) {
            if (count > most_ || (count === most_ && best !== undefined && pair < best)) [best, most_] = [pair, count];
        }
        if (best === undefined) break;
        const [left, right] = best.split(" ");
        learnt.push([left, right]);
        for (const word of words) word.parts = merged(word.parts, left, right);
    }
    return learnt;
}

function merged(parts, left, right) {
    const whole = [];
    for (const part of parts) {
        if (part === right && whole.at(-1) === left) whole[whole.length - 1] = left + right;
        else whole.push(part);
    }
    return whole;
}

function tokenise(text) {
    tokenise.known ??= new Map();
    return wordsOf(text).flatMap(word => {
        let found = tokenise.known.get(word);
        if (found === undefined) {
            let parts = spelled(word);
            for (const [left, right] of merges) parts = merged(parts, left, right);
            found = parts.map(part => ids.get(part));
            tokenise.known.set(word, found);
        }
        return found;
    });
}

// --- what follows what

function sentencesOf(text) {
    return text
        .replace(/```[\s\S]*?```/g, "\n\n")
        .split(/\n\s*\n/)
        .filter(paragraph => !/^\s*[|#<]/.test(paragraph))
        .flatMap(paragraph => paragraph.replace(/[`*\[\]{}\\"]|\(\S*?\)/g, "").replace(/\s+/g, " ").split(/(?<=[.!?]) /))
        .map(sentence => sentence.replace(/^[-\s\d.]+/, "").trim())
        .filter(sentence => sentence.length > 15 && sentence.length < 300 && /[.!?]$/.test(sentence));
}

// Each sentence is seen twice: as an answer, and as a text in quotes, so that texts in JSON begin and end
// where sentences do.
function countPairs(lines) {
    const following = tokens.map(() => new Map());
    const alone = new Float64Array(tokens.length).fill(0.01);
    const see = (before, after) => {
        following[before].set(after, (following[before].get(after) ?? 0) + 1);
        alone[after]++;
    };
    const [end, answer, quote] = [ids.get(SPECIAL[0]), ids.get(SPECIAL[1]), ids.get('"')];
    for (const line of lines) {
        for (const [first, last] of [[answer, end], [quote, quote]]) {
            const row = [first, ...tokenise(line), last];
            for (let at = 1; at < row.length; at++) see(row[at - 1], row[at]);
        }
    }
    for (const word of EVEN) {
        const [first] = tokenise(word);
        const extra = EVEN_COUNT - (following[quote].get(first) ?? 0);
        for (let times = 0; times < extra; times++) see(quote, first);
    }
    return {following, alone};
}

// --- the file

function tensors() {
    const width = Math.ceil(tokens.length / 64) * 64;
    const inner = 64;
    const embedding = new Float32Array(tokens.length * width);
    for (let token = 0; token < tokens.length; token++) embedding[token * width + token] = 1;
    const zeros = count => new Float32Array(count);
    const ones = count => new Float32Array(count).fill(1);
    return {
        width, inner,
        list: [
            ["token_embd.weight", [width, tokens.length], embedding],
            ["output.weight", [width, tokens.length], outputMatrix(width)],
            ["output_norm.weight", [width], ones(width)],
            ["blk.0.attn_norm.weight", [width], ones(width)],
            ["blk.0.attn_q.weight", [width, HEAD_WIDTH], zeros(width * HEAD_WIDTH)],
            ["blk.0.attn_k.weight", [width, HEAD_WIDTH], zeros(width * HEAD_WIDTH)],
            ["blk.0.attn_v.weight", [width, HEAD_WIDTH], zeros(width * HEAD_WIDTH)],
            ["blk.0.attn_output.weight", [HEAD_WIDTH, width], zeros(HEAD_WIDTH * width)],
            ["blk.0.ffn_norm.weight", [width], ones(width)],
            ["blk.0.ffn_gate.weight", [width, inner], zeros(width * inner)],
            ["blk.0.ffn_up.weight", [width, inner], zeros(width * inner)],
            ["blk.0.ffn_down.weight", [inner, width], zeros(inner * width)],
        ],
    };
}

// The norm before the output makes a unit vector sqrt(width) long, which is divided out here.
function outputMatrix(width) {
    const matrix = new Float32Array(tokens.length * width);
    const length = Math.sqrt(width);
    const all = alone.reduce((sum, count) => sum + count, 0);
    const never = new Set([ids.get(SPECIAL[1])]);
    for (let before = 0; before < tokens.length; before++) {
        let seen = 0;
        for (const count of following[before].values()) seen += count;
        for (let after = 0; after < tokens.length; after++) {
            const count = following[before].get(after) ?? 0;
            const chance = (count + SMOOTHING * alone[after] / all) / (seen + SMOOTHING);
            matrix[after * width + before] = (never.has(after) ? NEVER : Math.log(chance)) / length;
        }
    }
    return matrix;
}

function gguf() {
    const UINT32 = 4, INT32 = 5, FLOAT32 = 6, BOOL = 7, STRING = 8, ARRAY = 9, ALIGNMENT = 32;
    const {width, inner, list} = tensors();
    const u32 = value => { const bytes = Buffer.alloc(4); bytes.writeUInt32LE(value); return bytes; };
    const u64 = value => { const bytes = Buffer.alloc(8); bytes.writeBigUInt64LE(BigInt(value)); return bytes; };
    const f32 = value => { const bytes = Buffer.alloc(4); bytes.writeFloatLE(value); return bytes; };
    const text = value => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
    const array = (type, values) => Buffer.concat([u32(type), u64(values.length), ...values]);
    const padding = size => Buffer.alloc((ALIGNMENT - size % ALIGNMENT) % ALIGNMENT);

    const facts = [
        ["general.architecture", STRING, text("llama")],
        ["general.name", STRING, text("bigram")],
        ["general.alignment", UINT32, u32(ALIGNMENT)],
        ["general.file_type", UINT32, u32(0)],
        ["llama.context_length", UINT32, u32(context)],
        ["llama.embedding_length", UINT32, u32(width)],
        ["llama.block_count", UINT32, u32(1)],
        ["llama.feed_forward_length", UINT32, u32(inner)],
        ["llama.attention.head_count", UINT32, u32(1)],
        ["llama.attention.head_count_kv", UINT32, u32(1)],
        ["llama.attention.key_length", UINT32, u32(HEAD_WIDTH)],
        ["llama.attention.value_length", UINT32, u32(HEAD_WIDTH)],
        ["llama.attention.layer_norm_rms_epsilon", FLOAT32, f32(1e-9)],
        ["llama.rope.dimension_count", UINT32, u32(HEAD_WIDTH)],
        ["llama.vocab_size", UINT32, u32(tokens.length)],
        ["tokenizer.ggml.model", STRING, text("gpt2")],
        ["tokenizer.ggml.pre", STRING, text("gpt-2")],
        ["tokenizer.ggml.tokens", ARRAY, array(STRING, tokens.map(text))],
        ["tokenizer.ggml.token_type", ARRAY, array(INT32, tokens.map(token => u32(SPECIAL.includes(token) ? 3 : 1)))],
        ["tokenizer.ggml.merges", ARRAY, array(STRING, merges.map(pair => text(pair.join(" "))))],
        ["tokenizer.ggml.bos_token_id", UINT32, u32(ids.get(SPECIAL[1]))],
        ["tokenizer.ggml.eos_token_id", UINT32, u32(ids.get(SPECIAL[0]))],
        ["tokenizer.ggml.add_bos_token", BOOL, Buffer.from([0])],
    ];
    const parts = [Buffer.from("GGUF"), u32(3), u64(list.length), u64(facts.length)];
    for (const [key, type, value] of facts) parts.push(text(key), u32(type), value);
    let offset = 0;
    for (const [name, shape, values] of list) {
        parts.push(text(name), u32(shape.length), ...shape.map(u64), u32(0), u64(offset));
        offset += values.byteLength + padding(values.byteLength).length;
    }
    const head = Buffer.concat(parts);
    const data = list.flatMap(([, , values]) => [Buffer.from(values.buffer), padding(values.byteLength)]);
    return Buffer.concat([head, padding(head.length), ...data]);
}
