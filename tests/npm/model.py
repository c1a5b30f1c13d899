"""Crews that a real engine answers. It babbles, but fits the schema: so what is read, counted, committed,
cut off and refused is real.

    model.py FOLDER      where start.sh keeps packages and model
"""

import json
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "cli"))
from agents_support import PROJECT, STELE, Crew, check, finish, same

CONTEXT = 8192
SEQUENCES = 2


class Engine:
    def __init__(self, folder):
        self.process = subprocess.Popen(
            [TESTS / "real_model" / "start.sh", folder, "--while-stdin", "--context", str(CONTEXT),
             "--parallel", str(SEQUENCES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        words = []
        while words[:1] != ["ready"]:
            line = self.process.stdout.readline()
            if not line:
                sys.exit("the engine's server did not start")
            words = line.split()
        self.url = f"http://127.0.0.1:{words[1]}/v1"

    def stats(self):
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats", timeout=20) as answer:
            return json.load(answer)

    def end(self):
        self.process.stdin.close()
        self.process.wait(20)


def until(holds, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return check(False, f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return True


def call_of(record):
    return record["activation"], record["attempt"], record["call"]


CREW = """\
stele: 1
crew: babble
models:
  tiny: {{model: openai/tiny, base_url: "{url}", max_tokens: 1500, structured: schema, seed: {seed}, stream: {stream}}}
regions:
  topics: {{policy: append_only, entry: {{text: string}}}}
  findings:
    policy: append_only
    entry: {{claim: string, score: number, kind: fact | guess, pages: [integer], note: string?}}
  ratings: {{policy: set_union, key: [finding], merge: {{rank: max}}, entry: {{finding: string, rank: integer}}}}
  summary: {{policy: single_writer, owner: sum_up, entry: {{title: string, open: boolean}}}}
sources:
  find:
    kind: llm
    model: tiny
    role: a reader
    prompt: Insert findings on the topic.
    when: [{{each: topics as t}}]
    may: {{read: [topics], write: {{findings: [insert]}}}}
  rate:
    kind: llm
    model: tiny
    prompt: Rate the finding.
    when: [{{each: findings as f}}]
    may: {{read: [findings], write: {{ratings: [add]}}}}
  sum_up:
    kind: llm
    model: tiny
    prompt: Put the summary.
    when: [{{idle: true}}, {{exists: findings}}]
    wake: once
    may: {{read: [findings, ratings], write: {{summary: [put]}}}}
seed:
  topics: [{{text: what the board keeps}}, {{text: who wakes whom}}]
stop: {{limits: {{wall: 100s}}}}
"""


def answers_are_committed(engine, stream, seed):
    crew = Crew(CREW.format(url=engine.url, stream=str(stream).lower(), seed=seed))
    before = engine.stats()
    done = crew.stele("run", "crew.yaml", OPENAI_API_KEY="none")
    what = f"{'streamed' if stream else 'whole'}, seed {seed}"
    check(done.returncode in (0, 11), f"{what}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-1000:]}")
    records = crew.log()
    ends = [(record["author"], record["outcome"]) for record in records if record["kind"] == "result"]
    for source in ("find", "rate", "sum_up"):
        check((source, "ok") in ends, f"{what}: no answer of {source} was committed:", ends)

    findings = crew.entries("findings")
    check(findings, f"{what}: no findings")
    for finding in findings:
        check(isinstance(finding["claim"], str) and isinstance(finding["score"], (int, float))
              and finding["kind"] in ("fact", "guess") and all(isinstance(page, int) for page in finding["pages"]),
              f"{what}: a finding of another form:", finding)
    ids = {write["id"] for record in records if record["kind"] == "commit" for write in record["writes"] if "id" in write}
    cites = [cite for record in records if record["kind"] == "commit" and record["author"] in ("find", "rate", "sum_up")
             for write in record["writes"] for cite in write.get("cites", [])]
    check(cites, f"{what}: nothing is cited")
    check(set(cites) <= ids, f"{what}: cites of what is not there:", set(cites) - ids)

    called = {call_of(record): record for record in records if record["kind"] == "called"}
    returned = [record for record in records if record["kind"] == "returned"]
    same(f"{what}: what was called", {("model", "tiny")}, {(record["target"], record["word"]) for record in called.values()})
    same(f"{what}: calls that have an end", len(called), len(returned))
    for record in returned:
        reserved, spent = called[call_of(record)]["reserved"], record["spent"]
        check(not record.get("estimated"), f"{what}: the tokens are estimated:", record)
        check(0 < spent["tokens"] <= reserved["tokens"], f"{what}: not within what was reserved:", reserved, spent)
    after = engine.stats()
    same(f"{what}: requests", after["requests"] - before["requests"], len(called))
    # What the engine says that it wrote is part of what the log says that was spent.
    check(sum(record["spent"]["tokens"] for record in returned) > after["tokens"] - before["tokens"] > 0,
          f"{what}: tokens", after, before)
    crew.verify()


ONE = """\
stele: 1
crew: one
models:
  tiny: {{model: openai/tiny, base_url: "{url}", max_tokens: {most}}}
regions:
  topics: {{policy: append_only, entry: {{text: string}}}}
  told: {{policy: append_only, {entry}}}
sources:
  tell:
    kind: llm
    model: tiny
    prompt: {prompt}
    when: [{{start: true}}]
    may: {{read: [topics], write: {{told: [insert]}}}}
    limits: {{attempts: 2, backoff: 10ms}}
seed: {{topics: {topics}}}
"""


def a_view_that_is_too_long_is_shown_in_part(engine):
    topics = json.dumps([{"text": f"topic {i} " + "board entry region source " * 200} for i in range(80)])
    crew = Crew(ONE.format(url=engine.url, prompt="Tell.", most=500, entry="entry: {text: string}", topics=topics))
    crew.stele("run", "crew.yaml", expect=0, OPENAI_API_KEY="none")
    records = crew.log()
    results = [record for record in records if record["kind"] == "result"]
    same("outcomes of a view too long", ["ok"], [record["outcome"] for record in results])
    check(any("half of the view" in note for note in results[0]["notes"]), "no word of what was left out:", results)
    returned = [record["outcome"] for record in records if record["kind"] == "returned"]
    check(returned[:1] == ["failed"] and returned[-1] == "ok", "ends of the calls:", returned)
    check(crew.entries("told"), "nothing was told")
    crew.verify()


def a_task_that_is_too_long_is_given_up(engine):
    crew = Crew(ONE.format(url=engine.url, prompt="Tell everything. " * 10000, most=500, entry="entry: {text: string}",
                           topics="[{text: the board}]"))
    before = engine.stats()
    crew.stele("run", "crew.yaml", expect=11, OPENAI_API_KEY="none")
    results = [record for record in crew.log() if record["kind"] == "result"]
    check(results and all(record["outcome"] == "failed" for record in results), "outcomes of a task too long:", results)
    check(all("context" in record.get("reason", "") for record in results), "no word of the context:", results)
    same("told", [], crew.entries("told"))
    same("answers to a task too long", before["requests"], engine.stats()["requests"])
    crew.verify()


def an_answer_is_left_when_the_run_ends(engine):
    long = {"type": "object", "required": ["lines"], "additionalProperties": False, "properties": {
        "lines": {"type": "array", "minItems": 300, "items": {"type": "string", "minLength": 60}}}}
    crew = Crew(ONE.format(url=engine.url, prompt="Tell.", most=7000, entry="schema: " + json.dumps(long),
                           topics='[{text: the board}]'))
    before = engine.stats()
    run = subprocess.Popen([STELE, "run", "crew.yaml"], cwd=crew.path, stdin=subprocess.DEVNULL, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           env={**crew.environment, "OPENAI_API_KEY": "none"})
    until(lambda: engine.stats()["tokens"] > before["tokens"] + 20 or run.poll() is not None, "an answer under way")
    for _ in range(2):
        run.send_signal(signal.SIGINT)
        time.sleep(0.3)
    output, _ = run.communicate(timeout=20)
    same(f"exit code after Ctrl-C twice\n{output}", 130, run.returncode)
    until(lambda: engine.stats()["active"] == 0, "the engine's sequence is free")
    same("answers left", before["cancelled"] + 1, engine.stats()["cancelled"])
    crew.verify()


def the_research_crew_ends_by_itself(engine):
    crew = Crew("")
    start = time.monotonic()
    done = crew.stele("run", str(PROJECT / "configs" / "research_brief.yaml"), "--input", "model=openai/tiny",
                      "--input", f"base_url={engine.url}", "--input", f"docs={PROJECT / 'docs'}", timeout=180,
                      OPENAI_API_KEY="none")
    took = time.monotonic() - start
    check(done.returncode in (0, 10, 11, 13), f"research_brief: exit {done.returncode}\n{done.stdout[-2500:]}"
          f"{done.stderr[-1000:]}")
    print(f"research_brief: exit {done.returncode} after {took:.0f} s")
    print("\n".join(done.stdout.splitlines()[-25:]))
    crew.verify()


def timed(function, *arguments):
    start = time.monotonic()
    function(*arguments)
    print(f"{function.__name__}: {time.monotonic() - start:.1f} s", flush=True)


engine = Engine(sys.argv[1])
try:
    timed(answers_are_committed, engine, True, 1)
    timed(answers_are_committed, engine, False, 2)
    timed(a_view_that_is_too_long_is_shown_in_part, engine)
    timed(a_task_that_is_too_long_is_given_up, engine)
    timed(an_answer_is_left_when_the_run_ends, engine)
    timed(the_research_crew_ends_by_itself, engine)
finally:
    engine.end()
finish()
