"""Sources that call out, end to end: what is paid for once, budgets that hold, crashes, secrets, services."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request

from agents_support import STELE, Crew, Provider, check, finish, same


def writes(text="hello", **more):
    return json.dumps({"writes": [{"op": "insert", "region": "notes", "entry": {"text": text}, **more}]})


def crew_text(provider, sources, *, model="m/answer", regions="", more=""):
    return f"""
stele: 1
crew: agents
models:
  m: {{model: "openai/{model}", base_url: "{provider.url}/v1", key_env: TEST_KEY, max_tokens: 400}}
{more}
regions:
  tasks: {{policy: append_only, entry: {{text: string}}}}
  notes: {{policy: append_only, entry: {{text: string}}}}
{regions}
sources:
{sources}
"""


def of_kind(log, kind, **fields):
    return [r for r in log if r["kind"] == kind and r.get("accepted") and all(r.get(k) == v for k, v in fields.items())]


# Two agents look up the same thing three times each: six calls of the tool, of which one is made.
def six_identical_calls_become_one():
    provider = Provider()
    provider.script([
        {"when": {"has_tools": True, "after_tools": False},
         "reply": {"tool_calls": [{"name": "lookup", "arguments": {"q": "churn"}}] * 3}},
        {"reply": {"text": writes("looked up")}},
    ])
    agent = """
    kind: llm
    model: m
    prompt: look it up
    tools: [lookup]
    when: [{start: true}]
    may: {write: {notes: [insert]}}
"""
    crew = Crew(crew_text(provider, f"  web:{agent}\n  docs:{agent}", more="""
tools:
  lookup:
    kind: process
    description: looks things up
    parameters: {q: string}
    pure: true
    command: [sh, -c, 'echo called >> calls.txt; sleep 0.3; echo 12.4']
"""))
    crew.stele("run", "crew.yaml", expect=0, TEST_KEY="k-123456")
    log = crew.log()
    same("calls of the tool that were asked for", 6, len(of_kind(log, "called", target="tool")))
    same("calls of the tool that were made", 1, (crew.path / "calls.txt").read_text().count("called"))
    same("answers from the board", 5, len([r for r in of_kind(log, "called", target="tool") if "answered_by" in r]))
    same("notes", 2, len(crew.entries("notes")))
    crew.verify()


# The same rendered input is one call: two runs, and two at the same time.
def the_same_prompt_is_paid_once():
    provider = Provider("--delay-ms", "200")
    source = """
  w:
    kind: llm
    model: m
    prompt: 'fake-answer: {"writes":[{"op":"insert","region":"notes","entry":{"text":"x"}}]}'
    when: [{start: true}]
    may: {write: {notes: [insert]}}
"""
    crew = Crew(crew_text(provider, source))
    crew.stele("run", "crew.yaml", expect=0, TEST_KEY="k-123456")
    crew.stele("run", "crew.yaml", "--continue", "--board", "agents", expect=0, TEST_KEY="k-123456")
    same("requests of two runs", 1, len(provider.requests()))
    same("notes of two runs", 2, len(crew.entries("notes")))
    crew.verify()
    crew.write("fresh.yaml", crew_text(provider, source.replace("when:", "reuse: false\n    when:")))
    crew.stele("run", "fresh.yaml", "--board", "f", expect=0, TEST_KEY="k-123456")
    crew.stele("run", "fresh.yaml", "--continue", "--board", "f", expect=0, TEST_KEY="k-123456")
    same("requests without reuse", 3, len(provider.requests()))


# What nobody needs any more is not asked for: neither what is queued nor what waits for room in a budget.
def no_call_for_what_does_not_hold():
    provider = Provider("--delay-ms", "1500")
    sources = """
  w:
    kind: llm
    model: m
    prompt: 'fake-answer: {"writes":[{"op":"insert","region":"notes","entry":{"text":"x"}}]}'
    reuse: false
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {notes: [insert]}}
  changes_its_mind:
    kind: process
    command: [python3, -c, "import time; time.sleep(0.5); print('{\\"op\\": \\"insert\\", \\"region\\": \\"notes\\", \\"entry\\": {\\"text\\": \\"never mind\\"}}')"]
    priority: 5
    when: [{start: true}]
    may: {write: {notes: [insert]}}
  drop:
    kind: rule
    priority: 9
    when: [{exists: notes}, {each: tasks as t}]
    then: [{retract: $t}]
    may: {read: [notes, tasks], write: {tasks: [retract]}}
"""
    seed = "seed: {tasks: [" + ", ".join(f"{{text: task {i}}}" for i in range(6)) + "]}\n"
    for name, bound in (("queued", "limits: {concurrency: 2}\n"),
                        ("waiting", "limits: {concurrency: 16}\nstop: {limits: {tokens: 2500}}\n")):
        before = len(provider.requests())
        crew = Crew(crew_text(provider, sources) + seed + bound)
        crew.stele("run", "crew.yaml", expect=0, TEST_KEY="k-123456")
        same(f"requests while the rest is {name}", 1, len(provider.requests()) - before)
        same(f"notes while the rest is {name}", [{"text": "never mind"}], crew.entries("notes"))
        log = crew.log()
        claims = len(of_kind(log, "claimed", author="w"))
        same(f"claims while the rest is {name}", 1 if name == "queued" else 6, claims)
        if name == "waiting":
            ended = [r for r in of_kind(log, "result", author="w") if "does not hold any more" in r.get("reason", "")]
            same("attempts that were not wanted any more", 5, len(ended))
        crew.verify()


def budgets_hold():
    provider = Provider("--delay-ms", "30")
    sources = """
  w:
    kind: llm
    model: m
    prompt: 'fake-answer: {"writes":[{"op":"insert","region":"notes","entry":{"text":"x"}}]}'
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {notes: [insert]}}
  last:
    kind: llm
    model: m
    wrap_up: true
    view: [{region: notes, last: 3}]
    prompt: 'fake-answer: {"writes":[{"op":"put","region":"brief","entry":{"text":"what there is"}}]}'
    when: [{idle: true}, {exists: notes}]
    may: {read: [notes], write: {brief: [put]}}
limits: {concurrency: 16}
"""
    regions = "  brief: {policy: single_writer, owner: last, entry: {text: string}}"
    seed = "seed: {tasks: [" + ", ".join(f"{{text: task {i}}}" for i in range(60)) + "]}\n"
    for model, cap in (("m/answer", 30_000), ("m/trap/surprising_usage=3", 30_000)):
        for on_exceed, code in (("stop", 13), ("wrap_up", 13), ("ask", 12)):
            reserve = ", reserve: 30%" if on_exceed == "wrap_up" else ""
            stop = f"stop: {{limits: {{tokens: {cap}}}, on_exceed: {on_exceed}{reserve}}}\n"
            crew = Crew(crew_text(provider, sources, model=model, regions=regions) + seed + stop)
            done = crew.stele("run", "crew.yaml", expect=code, TEST_KEY="k-123456")
            log = crew.log()
            # The ledger from the log, record by record.
            reserved, spent, over = {}, 0, 0
            for record in log:
                if not record.get("accepted"):
                    continue
                key = (record.get("activation"), record.get("attempt"), record.get("call"))
                if record["kind"] == "called" and "answered_by" not in record:
                    reserved[key] = record["reserved"]["tokens"]
                    # Only what a provider counted beyond its own promise may pass the cap.
                    check(spent - over + sum(reserved.values()) <= cap, f"{model} {on_exceed}: reserved past the cap")
                elif record["kind"] == "returned":
                    over += max(0, record["spent"]["tokens"] - reserved.pop(key))
                    spent += record["spent"]["tokens"]
                elif record["kind"] in ("result", "abandoned"):
                    for open_call in [k for k in reserved if k[:2] == key[:2]]:
                        spent += reserved.pop(open_call)
            check(spent > 0, f"{model} {on_exceed}: nothing was spent")
            if "surprising" not in model:
                check(spent <= cap, f"{model} {on_exceed}: {spent} of {cap} tokens")
                same(f"brief of {on_exceed}", 1 if on_exceed == "wrap_up" else 0, len(crew.entries("brief")))
            if on_exceed == "ask":
                check("stele resume --crew" in done.stdout, "ask does not say how to go on")
                raised = (crew.path / "crew.yaml").read_text().replace(str(cap), "9000000")
                crew.write("raised.yaml", raised)
                crew.stele("resume", "--crew", "raised.yaml", expect=0, TEST_KEY="k-123456")
                if "surprising" not in model:
                    same("notes after raising", 60, len(crew.entries("notes")))
            crew.verify()


# kill -9 while calls are in flight: what had returned is not asked again, what had not counts in full.
def killed_in_the_middle():
    provider = Provider("--delay-ms", "150")
    crew = Crew(crew_text(provider, """
  w:
    kind: llm
    model: m
    prompt: 'fake-answer: {"writes":[{"op":"insert","region":"notes","entry":{"text":"x"}}]}'
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {notes: [insert]}}
    # A lost attempt counts, and a slow machine loses the same one at every kill.
    limits: {attempts: 10}
limits: {concurrency: 4}
""") + "seed: {tasks: [" + ", ".join(f"{{text: task {i}}}" for i in range(24)) + "]}\n")
    run = subprocess.Popen([STELE, "run", "crew.yaml"], cwd=crew.path, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, env={**crew.environment, "TEST_KEY": "k-123456"})
    for _ in range(6):
        time.sleep(0.37)
        run.send_signal(signal.SIGKILL)
        run.wait()
        run = subprocess.Popen([STELE, "resume"], cwd=crew.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**crew.environment, "TEST_KEY": "k-123456"})
    same("exit after the last resume", 0, run.wait(timeout=60))
    same("notes", 24, len(crew.entries("notes")))
    log = crew.log()
    returned = {}
    calls = {(r["activation"], r["attempt"], r["call"]): r for r in of_kind(log, "called")}
    for record in of_kind(log, "returned"):
        call = calls[(record["activation"], record["attempt"], record["call"])]
        check(call["call_key"] not in returned, "an answer in the log was paid for again:", call["position"])
        returned[call["call_key"]] = record
    crew.verify()


def secrets_stay_where_they_are_given():
    provider = Provider()
    secret = "sk-very-secret-4711"
    crew = Crew(crew_text(provider, """
  w:
    kind: llm
    model: m
    prompt: do it
    tools: [env]
    when: [{start: true}]
    may: {write: {notes: [insert]}}
  p:
    kind: process
    command: [sh, -c, 'env >&2; env | grep -c 4711; exit 3']
    when: [{start: true}]
    limits: {attempts: 1}
    may: {write: {notes: [insert]}}
""", more="""
tools:
  env: {kind: process, description: prints its environment, parameters: {}, command: [env]}
"""))
    crew.write(".env", f"TEST_KEY={secret}\nOTHER=unused-secret-0815\n")
    provider.script([
        {"when": {"has_tools": True, "after_tools": False}, "reply": {"tool_calls": [{"name": "env", "arguments": {}}]}},
        # A model that says the key, which it cannot know but from a careless error.
        {"reply": {"text": writes(f"the key is {secret}")}},
    ])
    done = crew.stele("run", "crew.yaml", OTHER="unused-secret-0815")
    sent = provider.requests()
    check(all(r["headers"].get("authorization", r["headers"].get("Authorization")) == f"Bearer {secret}" for r in sent),
          "the key from .env was not sent")
    same("secrets in the data directory", set(), crew.bytes_hold(secret, "unused-secret-0815"))
    check(secret not in done.stdout + done.stderr, "the key is printed")
    tools = [m["content"] for m in json.loads(sent[-1]["body"]) ["messages"] if m["role"] == "tool"] \
        if isinstance(sent[-1]["body"], str) else [m["content"] for m in sent[-1]["body"]["messages"] if m["role"] == "tool"]
    check(tools and "PATH=" in tools[0] and "4711" not in tools[0] and "0815" not in tools[0],
          "a tool's environment holds more than it was given", tools)


class Service(http.server.BaseHTTPRequestHandler):
    secret = b"hush-hush-hush"
    seen = []
    answer_later = threading.Event()

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Service.seen.append((self.path, dict(self.headers), json.loads(body)))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body \
            if self.headers["webhook-id"] else b""
        if signed:
            expected = "v1," + base64.b64encode(hmac.new(self.secret, signed, hashlib.sha256).digest()).decode()
            check(expected == self.headers["webhook-signature"], "the request's signature does not verify")
        lines = json.dumps({"op": "insert", "region": "notes", "entry": {"text": self.path}}).encode() + b"\n"
        if self.path == "/later":
            self.reply(202, b"")
            threading.Thread(target=call_back, args=(self.headers["Stele-Callback"], self.headers["Idempotency-Key"], lines)).start()
        elif self.path == "/flaky" and len([s for s in Service.seen if s[0] == "/flaky"]) < 3:
            self.reply(503, b"busy")
        else:
            self.reply(200, lines)

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def call_back(url, identity, body):
    time.sleep(0.2)
    for secret, wanted in ((b"wrong", 401), (Service.secret, 204), (Service.secret, 410)):
        now = str(int(time.time()))
        signature = base64.b64encode(hmac.new(secret, f"{identity}.{now}.".encode() + body, hashlib.sha256).digest()).decode()
        request = urllib.request.Request(url, data=body, headers={
            "webhook-id": identity, "webhook-timestamp": now, "webhook-signature": "v1," + signature})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError:
            status = 410  # the run is over, and its listener with it
        same("status of a callback", wanted, status)


def services_answer_now_or_later():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"

    def source(name):
        return f"""
  {name}:
    kind: http
    url: "{base}/{name}"
    secret_env: HOOK_SECRET
    when: [{{each: tasks as t}}]
    may: {{read: [tasks], write: {{notes: [insert]}}}}
"""
    crew = Crew(crew_text(Provider(), source("now") + source("later") + source("flaky"),
                          more="callbacks: {listen: '127.0.0.1:0'}") + "seed: {tasks: [{text: a}]}\n")
    # The model is declared and not used.
    crew.stele("run", "crew.yaml", expect=0, HOOK_SECRET=Service.secret.decode())
    same("notes of services", {"/now", "/later", "/flaky"}, {note["text"] for note in crew.entries("notes")})
    flaky = [headers["Idempotency-Key"] for path, headers, _ in Service.seen if path == "/flaky"]
    same("tries of one key", (3, 1), (len(flaky), len(set(flaky))))
    same("secrets in the data directory", set(), crew.bytes_hold(Service.secret.decode()))
    crew.verify()
    time.sleep(0.5)
    server.shutdown()


def falls_back_and_repairs():
    provider = Provider()
    provider.script([
        {"when": {"model": "*first*"}, "reply": {"error": 529}},
        {"when": {"nth": [1]}, "reply": {"text": writes(cites=["tasks/99"])}},
        {"reply": {"text": writes("mended", cites=["tasks/1"])}},
    ])
    crew = Crew(crew_text(provider, f"""
  w:
    kind: llm
    model: first
    fallback: m
    prompt: do it
    when: [{{each: tasks as t}}]
    may: {{read: [tasks], write: {{notes: [insert]}}}}
""", more=f"""  first: {{model: openai/first, base_url: "{provider.url}/v1", key_env: TEST_KEY}}
""") + "seed: {tasks: [{text: a}]}\n")
    crew.stele("run", "crew.yaml", expect=0, TEST_KEY="k-123456")
    same("notes", [{"text": "mended"}], crew.entries("notes"))
    results = of_kind(crew.log(), "result")
    check(any("instead" in note for r in results for note in r.get("notes", [])), "the fall-back is not told", results)
    check(any("tasks/99" in note for r in results for note in r.get("notes", [])), "the repair is not told")
    crew.verify()


for test in (six_identical_calls_become_one, the_same_prompt_is_paid_once,
             no_call_for_what_does_not_hold, budgets_hold, killed_in_the_middle,
             secrets_stay_where_they_are_given, services_answer_now_or_later, falls_back_and_repairs):
    begun = time.monotonic()
    test()
    print(f"{test.__name__}: {time.monotonic() - begun:.1f} s", flush=True)
finish()
