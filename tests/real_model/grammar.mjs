// From a JSON Schema to a grammar in llama.cpp's notation (GBNF), so that what the engine samples fits the
// schema and ends: lists, texts and maps are bounded even where the schema does not bound them.
//
// What comes out is valid, not exhaustive: required members come first, an open object has only its named
// members, a list of objects has at least one where it may, and numbers between bounds come from a grid.
// Throws Unsupported, with a sentence, for what it cannot keep (pattern, not, if).
export class Unsupported extends Error {}

const ITEMS_MORE_MAX = 2; // beyond minItems
const CHARACTERS_MAX = 90; // of a text that has no smaller bound
const GRID = 40; // values of a bounded number
const KNOWN_IDS_MAX = 60;

// `knownIds`: the ids of entries in the prompt. "cites" and "id" hold some of them: a model that cannot copy
// from its prompt would otherwise speak of what is not there. Without any id they are free. "as", a name
// that means nothing to such a model, is left out or null where the schema allows it.
export function grammarOf(schema, knownIds = []) {
    const rules = new Map(); // body to name
    const maker = {
        root: schema,
        knownIds: knownIds.slice(0, KNOWN_IDS_MAX),
        references: new Map(),
        rule(body) {
            if (!rules.has(body)) rules.set(body, `r${rules.size}`);
            return rules.get(body);
        },
    };
    const root = valueOf(schema, maker);
    const lines = [`root ::= ${root}`];
    for (const [name, body] of maker.references.values()) lines.push(`${name} ::= ${body}`);
    for (const [body, name] of rules) lines.push(`${name} ::= ${body}`);
    return lines.join("\n") + "\n";
}

function valueOf(schema, maker) {
    if (schema === true || schema === undefined || Object.keys(schema).length === 0) return textOf({}, maker);
    for (const key of ["pattern", "not", "if", "patternProperties", "contains"]) {
        if (key in schema) throw new Unsupported(`the schema uses "${key}", which no grammar is made for`);
    }
    if ("$ref" in schema) return referenceOf(schema.$ref, maker);
    if ("const" in schema) return literal(schema.const);
    if ("enum" in schema) return oneOf(schema.enum.map(literal), maker);
    for (const key of ["anyOf", "oneOf"]) {
        if (key in schema) {
            const {[key]: choices, ...rest} = schema;
            return oneOf(choices.map(choice => valueOf(joined([rest, choice]), maker)), maker);
        }
    }
    if ("allOf" in schema) {
        const {allOf, ...rest} = schema;
        return valueOf(joined([rest, ...allOf]), maker);
    }
    const kind = schema.type ?? ("properties" in schema ? "object" : "items" in schema ? "array" : "string");
    if (Array.isArray(kind)) return oneOf(kind.map(type => valueOf({...schema, type}, maker)), maker);
    switch (kind) {
        case "object": return objectOf(schema, maker);
        case "array": return arrayOf(schema, maker);
        case "integer": return integerOf(schema, maker);
        case "number": return numberOf(schema, maker);
        case "boolean": return maker.rule(`"true" | "false"`);
        case "null": return `"null"`;
        case "string": return textOf(schema, maker);
    }
    throw new Unsupported(`the schema has the type ${JSON.stringify(kind)}, which is unknown`);
}

function joined(parts) {
    const whole = {};
    for (const part of parts) {
        for (const [key, value] of Object.entries(part)) {
            if (key === "properties") whole.properties = {...whole.properties, ...value};
            else if (key === "required") whole.required = [...(whole.required ?? []), ...value];
            else if (key !== "$defs") whole[key] = value;
        }
    }
    return whole;
}

function referenceOf(reference, maker) {
    if (!maker.references.has(reference)) {
        const entry = [`ref${maker.references.size}`, ""];
        maker.references.set(reference, entry); // before its body: it may refer to itself
        let place = maker.root;
        for (const part of reference.replace(/^#\/?/, "").split("/").filter(Boolean)) {
            place = place?.[part.replaceAll("~1", "/").replaceAll("~0", "~")];
        }
        if (place === undefined) throw new Unsupported(`the schema refers to "${reference}", which it does not have`);
        entry[1] = valueOf(place, maker);
    }
    return maker.references.get(reference)[0];
}

function literal(value) {
    const text = JSON.stringify(value).replaceAll("\\", "\\\\").replaceAll('"', '\\"');
    return `"${text}"`;
}

function oneOf(choices, maker) {
    const different = [...new Set(choices)];
    return different.length === 1 ? different[0] : maker.rule(different.join(" | "));
}

function objectOf(schema, maker) {
    const properties = schema.properties ?? {};
    const required = new Set(schema.required ?? []);
    const member = name => `${literal(name)} ":" ${maker.rule(memberOf(name, properties[name], maker))}`;
    for (const name of required) {
        if (!(name in properties)) throw new Unsupported(`the schema requires "${name}" and does not describe it`);
    }
    const names = Object.keys(properties).filter(name => required.has(name) || name !== "as");
    const always = names.filter(name => required.has(name)).map(member);
    const perhaps = names.filter(name => !required.has(name)).map(member);
    if (always.length > 0) {
        return maker.rule([`"{"`, always.join(` "," `), ...perhaps.map(one => `( "," ${one} )?`), `"}"`].join(" "));
    }
    if (perhaps.length > 0) {
        // Whichever of them is the first has no comma before it.
        const beginnings = perhaps.map((one, at) =>
            maker.rule([one, ...perhaps.slice(at + 1).map(later => `( "," ${later} )?`)].join(" ")));
        return maker.rule(`"{" ( ${beginnings.join(" | ")} )? "}"`);
    }
    const others = schema.additionalProperties;
    if (typeof others === "object" && (schema.maxProperties ?? 1) > 0) {
        const pair = `${textOf({minLength: 1, maxLength: 12}, maker)} ":" ${valueOf(others, maker)}`;
        return maker.rule((schema.minProperties ?? 0) > 0 ? `"{" ${pair} "}"` : `"{" ( ${pair} )? "}"`);
    }
    return `"{}"`;
}

function memberOf(name, schema, maker) {
    const types = [schema?.type ?? []].flat();
    if (name === "as" && types.includes("null")) return `"null"`;
    if (maker.knownIds.length === 0) return valueOf(schema, maker);
    if (name === "id" && types.includes("string")) return oneOf(maker.knownIds.map(literal), maker);
    if (name !== "cites" || !types.includes("array")) return valueOf(schema, maker);
    const count = Math.max(1, schema.minItems ?? 1);
    if (count > maker.knownIds.length) return valueOf(schema, maker);
    const choices = [];
    for (let at = 0; at + count <= maker.knownIds.length; at++) {
        choices.push(literal(maker.knownIds.slice(at, at + count)));
    }
    return oneOf(choices, maker);
}

function arrayOf(schema, maker) {
    const items = schema.items;
    const most = schema.maxItems ?? Infinity;
    let least = schema.minItems ?? 0;
    if (most === 0) return `"[]"`;
    if (items !== undefined && (items.type === "object" || "anyOf" in items || "oneOf" in items)) least = Math.max(least, 1);
    const upTo = schema.uniqueItems ? Math.max(least, 1) : Math.min(most, least + ITEMS_MORE_MAX);
    if (schema.uniqueItems && least > 1) throw new Unsupported("the schema wants several different items in a list");
    const item = maker.rule(valueOf(items, maker));
    const row = `${item} ( "," ${item} ){${Math.max(0, least - 1)},${upTo - 1}}`;
    const full = upTo === 1 ? item : row;
    return maker.rule(least === 0 ? `"[" ( ${full} )? "]"` : `"[" ${full} "]"`);
}

function textOf(schema, maker) {
    const digits = count => `[0-9]{${count}}`;
    const date = `"20" ${digits(2)} "-0" [1-9] "-" [1] [0-9]`;
    const time = `"1" [0-9] ":" [0-5] [0-9] ":" [0-5] [0-9] "Z"`;
    switch (schema.format) {
        case "date": return maker.rule(`"\\"" ${date} "\\""`);
        case "time": return maker.rule(`"\\"" ${time} "\\""`);
        case "date-time": return maker.rule(`"\\"" ${date} "T" ${time} "\\""`);
        case "uri": return maker.rule(`"\\"https://" [a-z]{3,12} ".example/" [a-z]{0,12} "\\""`);
    }
    const least = Math.max(schema.minLength ?? 0, Math.min(1, schema.maxLength ?? 1));
    const most = Math.max(least, Math.min(schema.maxLength ?? Infinity, CHARACTERS_MAX));
    const character = maker.rule(`[^"\\\\\\x00-\\x1F\\x7F]`);
    return maker.rule(`"\\"" ${character}{${least},${most}} "\\""`);
}

function bounds(schema, step) {
    let low = schema.minimum ?? -Infinity, high = schema.maximum ?? Infinity;
    if (schema.exclusiveMinimum !== undefined) low = Math.max(low, schema.exclusiveMinimum + step);
    if (schema.exclusiveMaximum !== undefined) high = Math.min(high, schema.exclusiveMaximum - step);
    return [low, high];
}

function integerOf(schema, maker) {
    let [low, high] = bounds(schema, 1);
    const step = schema.multipleOf ?? 1;
    if (low === -Infinity && high === Infinity && step === 1) return maker.rule(`"-"? ( "0" | [1-9] [0-9]{0,4} )`);
    if (low === -Infinity) low = high === Infinity ? 0 : Math.min(0, high - GRID * step);
    const values = [];
    for (let value = Math.ceil(low / step) * step; value <= high && values.length < GRID; value += step) values.push(value);
    if (values.length === 0) throw new Unsupported("the schema has no whole number between its bounds");
    return oneOf(values.map(literal), maker);
}

function numberOf(schema, maker) {
    const [low, high] = bounds(schema, Number.EPSILON * 4);
    if (schema.multipleOf !== undefined) return integerOf({...schema, multipleOf: schema.multipleOf}, maker);
    if (low === -Infinity && high === Infinity) {
        return maker.rule(`"-"? ( "0" | [1-9] [0-9]{0,4} ) ( "." [0-9]{1,3} )?`);
    }
    if (low === -Infinity || high === Infinity) {
        const first = low === -Infinity ? Math.floor(high) - GRID : Math.ceil(low);
        return oneOf(Array.from({length: GRID}, (_, at) => literal(first + at)), maker);
    }
    const values = [];
    for (let at = 0; at <= GRID; at++) {
        const value = Number((low + (high - low) * at / GRID).toFixed(4));
        if (value >= low && value <= high) values.push(value);
    }
    return oneOf((values.length > 0 ? values : [low]).map(literal), maker);
}
