"""A crew at work with the reference MCP servers: as a source's one tool, as a model's tools, and gone when
the run is."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
from agents_support import STELE, Crew, Provider, check, finish, same

SERVERS = pathlib.Path(os.environ["STELE_NODE_MODULES"]).resolve() / "@modelcontextprotocol"
MARK = f"STELE_TEST_MARK=mcp-{os.getpid()}"  # in the environment of every server, and of nothing else
GONE_WITHIN = 5.0


def server(name, *arguments, **environment):
    key, value = MARK.split("=")
    return {"command": "node", "args": [str(SERVERS / f"server-{name}" / "dist" / "index.js"), *map(str, arguments)],
            "env": {key: value, **environment}}


def in_a_shell(described):
    """As npx starts them: the server is a grandchild."""
    words = " ".join(f"'{word}'" for word in (described["command"], *described["args"]))
    return {**described, "command": "sh", "args": ["-c", f"{words}; true"]}


def processes():
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and MARK.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
        except (OSError, ValueError):
            pass  # it ended meanwhile, or is somebody else's
    return found


def nothing_left(when):
    deadline = time.monotonic() + GONE_WITHIN
    while processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    left = processes()
    check(not left, f"processes left {when}:", left)
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)


def until(holds, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return check(False, f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return True


def call_of(record):
    return record["activation"], record["attempt"], record["call"]


def calls(crew, source):
    """Each call of the source with what it came to."""
    records = crew.log()
    returned = {call_of(record): record for record in records if record["kind"] == "returned"}
    return [(record, returned.get(call_of(record))) for record in records
            if record["kind"] == "called" and record["author"] == source]


CREW = """\
stele: 1
crew: servers
models:
  writer: {{model: openai/writer, base_url: "{url}/v1", max_tokens: 500, stream: {stream}}}
mcpServers: {servers}
regions:
  files: {{policy: append_only, entry: {{path: string}}}}
  texts: {{policy: append_only, entry: {{path: string, text: string}}}}
  told: {{policy: append_only, entry: {{text: string}}}}
  known: {{policy: append_only, entry: {{graph: object}}}}
  sums: {{policy: append_only, entry: {{text: string}}}}
sources:
  read:
    kind: mcp
    tool: files/read_text_file
    arguments: {{path: $f.path}}
    when: [{{each: files as f}}]
    then: [{{insert: texts, entry: {{path: $f.path, text: $result.text}}, cites: [$f]}}]
    may: {{read: [files], write: {{texts: [insert]}}}}
    limits: {{attempts: 1}}
  remember:
    kind: mcp
    tool: mcp:memory/create_entities
    arguments: {{entities: [{{name: $t.path, entityType: file, observations: [$t.text]}}]}}
    when: [{{each: texts as t}}]
    then: [{{insert: known, entry: {{graph: $result.data}}}}]
    may: {{read: [texts], write: {{known: [insert]}}}}
  tell:
    kind: llm
    model: writer
    prompt: Say what the tool says.
    tools: ["mcp:everything/echo"]
    when: [{{each: texts as t}}]
    may: {{read: [texts], write: {{told: [insert]}}}}
    limits: {{attempts: 1}}
  outside:
    kind: mcp
    tool: files/read_text_file
    arguments: {{path: /etc/passwd}}
    when: [{{start: true}}]
    then: [{{insert: sums, entry: {{text: $result.text}}}}]
    may: {{write: {{sums: [insert]}}}}
    limits: {{attempts: 1}}
seed:
  files: [{{path: {note}}}]
stop: {{limits: {{wall: 60s}}}}
"""

SCRIPT = [
    {"when": {"after_tools": False},
     "reply": {"tool_calls": [{"name": "everything_echo", "arguments": {"message": "round trip"}}]}},
    {"when": {"after_tools": True},
     "reply": {"json": {"writes": [{"op": "insert", "region": "told", "entry": {"text": "{{find (Echo: [a-z ]+)}}"}}]}}},
]


def crew_with_servers(provider, stream=True):
    crew = Crew("")
    crew.write("note.txt", "left here\n")
    note = str((crew.path / "note.txt").resolve())
    servers = {"files": in_a_shell(server("filesystem", crew.path.resolve())),
               "memory": server("memory", MEMORY_FILE_PATH=str(crew.path / "memory.jsonl")),
               "everything": server("everything")}
    crew.write("crew.yaml", CREW.format(url=provider.url, stream=str(stream).lower(), servers=json.dumps(servers),
                                        note=json.dumps(note)))
    return crew, note


def a_crew_works_with_servers(stream):
    provider = Provider()
    provider.script(SCRIPT)
    crew, note = crew_with_servers(provider, stream)
    # What the server refuses is a dead activation; all else is done.
    crew.stele("run", "crew.yaml", expect=11)
    nothing_left("by the run")
    same("texts", [{"path": note, "text": "left here\n"}], crew.entries("texts"))
    read = [write for record in crew.log() if record["kind"] == "commit" and record["author"] == "read"
            for write in record["writes"]]
    same("what the text rests on", [["files/1"]], [write.get("cites") for write in read])
    same("told", [{"text": "Echo: round trip"}], crew.entries("told"))
    same("sums", [], crew.entries("sums"))
    known = crew.entries("known")
    check(len(known) == 1 and note in json.dumps(known), "not remembered:", known)
    check(note in (crew.path / "memory.jsonl").read_text(), "not in the server's own file")

    same("calls for the model's source", [("model", "writer"), ("tool", "mcp:everything/echo"), ("model", "writer")],
         [(called["target"], called["word"]) for called, _ in calls(crew, "tell")])
    for name in ("read", "remember", "tell"):
        for called, returned in calls(crew, name):
            if check(returned is not None, f"{name}: {called['word']} has no end in the log"):
                same(f"{name}: {called['word']}", "ok", returned["outcome"])
                check(called["reserved"]["calls"] == returned["spent"]["calls"] == 1, "not one call:", called, returned)
    outside = [record for record in crew.log() if record["kind"] == "result" and record["author"] == "outside"]
    same("outcome of what the server refuses", ["failed"], [record["outcome"] for record in outside])
    check("/etc/passwd" in json.dumps(outside) or "denied" in json.dumps(outside).lower(), "no reason:", outside)
    crew.verify()


def the_doctor_lists_the_tools():
    provider = Provider()
    crew, _ = crew_with_servers(provider)
    lines = crew.stele("doctor", "crew.yaml", "--json", timeout=30).stdout.splitlines()
    tools = {line["server"]: line.get("tools", []) for line in map(json.loads, lines) if "server" in line}
    same("servers that the doctor found", {"files", "memory", "everything"}, set(tools))
    for name, tool in (("files", "read_text_file"), ("memory", "read_graph"), ("everything", "echo")):
        check(tool in tools.get(name, []), f"the doctor does not list {tool} of {name}:", tools.get(name))
    nothing_left("by the doctor")


LONG_CREW = """\
stele: 1
crew: long
mcpServers: {servers}
regions: {{done: {{policy: append_only, entry: {{text: string}}}}}}
sources:
  wait:
    kind: mcp
    tool: everything/trigger-long-running-operation
    arguments: {{duration: 100, steps: 100}}
    when: [{{start: true}}]
    then: [{{insert: done, entry: {{text: $result.text}}}}]
    may: {{write: {{done: [insert]}}}}
    limits: {{timeout: 5m}}
stop: {{grace: 1s}}
"""


def servers_end_with_a_run_that_does_not(described, ending, what):
    crew = Crew(LONG_CREW.format(servers=json.dumps({"everything": described})))
    run = subprocess.Popen([STELE, "run", "crew.yaml"], cwd=crew.path, env=crew.environment, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # A call that was answered is no call that waits; the first seconds are the server's own beginning.
    until(processes, f"{what}: no server was started")
    time.sleep(2)
    same(f"{what}: ended by itself", None, run.poll())
    check(processes(), f"{what}: the server ended by itself")
    for signal_sent in ending:
        run.send_signal(signal_sent)
        time.sleep(0.2)
    output, _ = run.communicate(timeout=20)
    nothing_left(what)
    if signal.SIGKILL not in ending:
        same(f"{what}: exit code\n{output}", 130, run.returncode)
    crew.stele("log", expect=0)


for stream in (True, False):
    a_crew_works_with_servers(stream)
busy = server("everything")
servers_end_with_a_run_that_does_not(busy, [signal.SIGKILL], "after kill -9")
servers_end_with_a_run_that_does_not(busy, [signal.SIGINT, signal.SIGINT], "after Ctrl-C twice")
servers_end_with_a_run_that_does_not(in_a_shell(busy), [signal.SIGINT, signal.SIGINT], "after Ctrl-C, with a shell between")
the_doctor_lists_the_tools()
finish()
