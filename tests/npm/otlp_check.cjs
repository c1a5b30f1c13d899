// usage: otlp_check.cjs FILE. Fails with every fault that the official definitions of OTLP find in it.
const fs = require("fs");
const root = require("@opentelemetry/otlp-grpc-exporter-base/build/src/generated/root.js");
const Request = root.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;

const faults = [];

// In OTLP's JSON the ids are hex, where JSON of protobuf has base64.
function idsFromHex(value, at) {
  if (Array.isArray(value)) return value.map((item, i) => idsFromHex(item, `${at}[${i}]`));
  if (value === null || typeof value !== "object") return value;
  const made = {};
  for (const [key, inner] of Object.entries(value)) {
    const digits = key === "traceId" ? 32 : key === "spanId" || key === "parentSpanId" ? 16 : 0;
    if (digits === 0) {
      made[key] = idsFromHex(inner, `${at}.${key}`);
      continue;
    }
    if (inner.length !== digits || !/^[0-9a-f]+$/.test(inner) || /^0+$/.test(inner)) faults.push(`${at}.${key}: ${inner}`);
    made[key] = Buffer.from(inner, "hex").toString("base64");
  }
  return made;
}

// A field that the definitions do not have is gone after a round through them.
function findLost(given, kept, at) {
  if (given === null || typeof given !== "object") return;
  for (const key of Object.keys(given)) {
    if (kept === undefined || kept === null || !(key in kept)) faults.push(`${at}.${key}: no such field`);
    else findLost(given[key], kept[key], `${at}.${key}`);
  }
}

const text = fs.readFileSync(process.argv[2], "utf8");
const given = idsFromHex(JSON.parse(text), "");
const message = Request.fromObject(given);
const wrong = Request.verify(message);
if (wrong) faults.push(wrong);
findLost(given, Request.toObject(message, {longs: String, bytes: String, enums: Number, arrays: true, objects: true}), "");

const spans = JSON.parse(text).resourceSpans.flatMap((r) => r.scopeSpans.flatMap((s) => s.spans));
const byId = new Map(spans.map((span) => [span.spanId, span]));
if (byId.size !== spans.length) faults.push("two spans have one id");
for (const span of spans) {
  if (BigInt(span.endTimeUnixNano) < BigInt(span.startTimeUnixNano)) faults.push(`${span.name} ends before it begins`);
  if (span.parentSpanId && !byId.has(span.parentSpanId)) faults.push(`${span.name} has a parent that is not there`);
  for (const link of span.links ?? []) if (!byId.has(link.spanId)) faults.push(`${span.name} links to nothing`);
}
const kinds = new Set(spans.map((span) => span.name.split(" ")[0]));
for (const kind of ["invoke_workflow", "invoke_agent", "create_memory"]) {
  if (!kinds.has(kind)) faults.push(`there is no span ${kind}`);
}
if (!spans.some((span) => (span.links ?? []).length > 0)) faults.push("no span links to what woke it");
if (faults.length > 0) {
  console.error(faults.slice(0, 20).join("\n"));
  process.exit(1);
}
console.log(`${spans.length} spans, no fault`);
