// usage: trace_check.cjs FILE. Builds the model that TracerBench makes of a trace, and asks it who did what.
const fs = require("fs");
const { buildModel } = require("@tracerbench/trace-model");

const faults = [];
const same = (what, wanted, found) => {
  if (JSON.stringify(wanted) !== JSON.stringify(found)) faults.push(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
};

const trace = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const model = buildModel(trace);
same("processes", 1, model.processes.length);
const board = model.processes[0];
same("its name", "board relay", board.name);

const slices = {};
for (const thread of board.threads) {
  if (!thread.name) continue;
  for (const event of thread.events) {
    if (!event.isComplete()) continue;
    slices[thread.name] = (slices[thread.name] || 0) + 1;
    if (!(event.duration > 0)) faults.push(`${event.name} takes ${event.duration}`);
    // Slices of one thread lie beside or inside each other.
    for (const other of thread.events) {
      if (!other.isComplete() || other === event) continue;
      const apart = other.end <= event.start || other.start >= event.end;
      const inside = (other.start >= event.start && other.end <= event.end) || (event.start >= other.start && event.end <= other.end);
      if (!apart && !inside) faults.push(`${event.name} and ${other.name} overlap`);
    }
  }
}
// Attempts that overlap are in lanes of their own, named "note", "note 2" and so on.
const by_source = {};
for (const [name, count] of Object.entries(slices)) {
  const source = name.replace(/[ (].*$/, "");
  by_source[source] = (by_source[source] || 0) + count;
}
same("rule firings", 3, by_source.pass);
same("attempts of the process", 3, by_source.note);
same("failures", 1, by_source.fail);

// Each wake arrow has both its ends, inside slices.
const events = board.threads.flatMap((thread) => thread.events);
const starts = events.filter((event) => event.isFlowBegin());
const ends = events.filter((event) => event.isFlowEnd());
same("arrows", starts.map((event) => event.traceEvent.id).sort(), ends.map((event) => event.traceEvent.id).sort());
if (starts.length < 7) faults.push(`only ${starts.length} arrows`);
for (const event of [...starts, ...ends]) {
  const thread = board.threads.find((one) => one.id === event.tid);
  const held = thread.events.some((slice) => slice.isComplete() && slice.start <= event.start && event.start <= slice.end);
  if (!held) faults.push(`the end of an arrow at ${event.start} is in no slice`);
}

if (faults.length > 0) {
  console.error(faults.join("\n"));
  process.exit(1);
}
console.log(`${events.length} events, ${starts.length} arrows`);
