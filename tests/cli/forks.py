"""Forks and what-ifs, end to end: only what changed is paid for; what why-not offers wakes the source."""

import json
import os
import shlex
import signal
import subprocess
import time

from agents_support import STELE, Crew, Provider, check, finish, same


def writes(text):
    return json.dumps({"writes": [{"op": "insert", "region": "notes", "entry": {"text": text}}]})


def ask(crew, *arguments, expect=0):
    return crew.stele(*arguments, expect=expect)


def one(crew, *arguments):
    return json.loads(ask(crew, *arguments, "--json").stdout)


def kinds(crew, board):
    return [json.loads(line)["kind"] for line in ask(crew, "log", "--board", board, "--json").stdout.splitlines()]


MODELS = """
stele: 1
crew: agents
models:
  m: {{model: "openai/m/answer", base_url: "{url}/v1", key_env: TEST_KEY, max_tokens: 400}}
regions:
  tasks: {{policy: append_only, entry: {{text: string}}}}
  notes: {{policy: append_only, entry: {{text: string}}}}
  report: {{policy: append_only, entry: {{text: string}}}}
sources:
  reader:
    kind: llm
    model: m
    prompt: "read {{{{ t.text }}}}"
    view: []
    when: [{{each: tasks as t}}]
    may: {{read: [tasks], write: {{notes: [insert]}}}}
  writer:
    kind: llm
    model: m
    prompt: report
    view: [notes]
    when: [{{count: notes, is: {{gte: 2}}}}]
    may: {{read: [notes], write: {{report: [insert]}}}}
seed:
  tasks: [{{text: one}}, {{text: two}}]
"""


def only_what_changed_is_paid_for():
    provider = Provider()
    provider.script([
        {"when": {"contains": "report in one word"}, "reply": {"text": json.dumps(
            {"writes": [{"op": "insert", "region": "report", "entry": {"text": "short"}}]})}},
        {"when": {"contains": "report"}, "reply": {"text": json.dumps(
            {"writes": [{"op": "insert", "region": "report", "entry": {"text": "long"}}]})}},
        {"reply": {"text": writes("a note")}},
    ])
    crew = Crew(MODELS.format(url=provider.url))
    crew.stele("run", "crew.yaml", expect=0, TEST_KEY="k")
    paid = len(provider.requests())
    same("calls of the first run", 3, paid)
    run = crew.log()
    started = next(r["position"] for r in run if r["kind"] == "run_started")

    # From the beginning with the same crew: nothing is paid for at all.
    crew.stele("fork", "agents", "--at", str(started), "--name", "again", expect=0, TEST_KEY="k")
    same("calls of a fork that changes nothing", paid, len(provider.requests()))
    again = crew.log("--board", "again")
    returned = [r for r in again if r["kind"] == "returned"]
    same("answers used again", 3, len(returned))
    check(all(r["word"].startswith("recorded:") for r in returned), "each says where it was recorded", returned)
    check(all(r["amounts"]["tokens"] == 0 if "amounts" in r else True for r in returned), "and costs nothing")
    same("the report", ["long"], [e["text"] for e in crew.entries("report")])

    # Another prompt for the writer: one call, and the readers' answers are those of the parent.
    crew.stele("fork", "agents", "--at", str(started), "--name", "shorter", "--set",
               "writer.prompt=report in one word", expect=0, TEST_KEY="k")
    same("calls of a fork with another prompt", paid + 1, len(provider.requests()))
    same("the other report", ["short"], [e["text"] for e in crew.entries("report")])
    log = crew.log("--board", "shorter")
    same("the fork names its parent", [("forked", "agents")],
         [(r["kind"], r.get("word")) for r in log if r["kind"] == "forked"])
    check("reconfigured" in [r["kind"] for r in log], "the crew that was changed is on record")
    for board in ["agents", "again", "shorter"]:
        ask(crew, "replay", "--verify", "--board", board)
        ask(crew, "verify", "--board", board)
    # What was shared is shared: the log holds the records up to the fork once.
    boards = {b["board"]: b for b in map(json.loads, ask(crew, "boards", "--json").stdout.splitlines())}
    same("the parent of a fork", ("agents", started), (boards["shorter"]["parent"], boards["shorter"]["forked_at"]))
    ask(crew, "boards", "rm", "agents", expect=1)
    ask(crew, "boards", "rm", "again")
    ask(crew, "boards", "rm", "shorter")
    ask(crew, "boards", "rm", "agents")


RULES = """
stele: 1
crew: survey
regions:
  facts: {policy: append_only, entry: {name: string, size: integer}}
  claims: {policy: last_writer_wins, key: [name], entry: {name: string, level: low | high}}
  done: {policy: append_only, entry: {name: string}}
sources:
  reader:
    kind: rule
    when:
      - each: facts as f
        where: {size: {gt: 3}}
      - none: claims
        where: {name: $f.name}
    then:
      - put: claims
        entry: {name: $f.name, level: low}
    may: {read: [facts, claims], write: {claims: [put]}}
  closer:
    kind: rule
    when:
      - count: claims
        where: {level: high}
        is: {gte: 2}
      - each: facts as f
        where: {size: {gt: 30}}
    then:
      - insert: done
        entry: {name: $f.name}
    may: {read: [facts, claims], write: {done: [insert]}}
  once:
    kind: rule
    wake: once
    when: [{each: facts as f}]
    then:
      - insert: done
        entry: {name: once}
    may: {read: [facts], write: {done: [insert]}}
seed:
  facts: [{name: a, size: 1}, {name: "it's b", size: 5}]
"""


def the_edit_that_why_not_offers_wakes_the_source():
    crew = Crew(RULES)
    crew.stele("run", "crew.yaml", expect=0)
    for source in ["reader", "closer"]:
        answer = one(crew, "why-not", source, "--board", "survey")
        same(f"{source} does not hold", False, answer["holds"])
        check(answer["edit"], source, "is offered an edit", answer)
        board = "try_" + source
        ask(crew, "fork", "survey", "--name", board, "--no-run")
        for edit in answer["edit"]:
            words = shlex.split(edit["command"])
            same("the command is for the board", ["--board", "survey"], words[-2:])
            ask(crew, *words[1:-1], board)
        before = len([r for r in crew.log("--board", board) if r.get("author") == source])
        ask(crew, "resume", "--board", board)
        after = len([r for r in crew.log("--board", board) if r.get("author") == source])
        check(after > before, source, "wakes in the fork")
        ask(crew, "verify", "--board", board)
    answer = one(crew, "why-not", "once", "--board", "survey")
    check(answer["holds"] and any("wake: once" in gate for gate in answer["held_back"]), "once has been", answer)
    check(answer["taken"] and "committed" in answer["taken"][0]["fate"], "what became of its match", answer)
    text = ask(crew, "why-not", "closer", "--board", "survey", "--at", "3").stdout
    check("the count of claims" in text and "nearest: facts/2" in text, "in words", text)
    same("a source nobody has", 4, crew.stele("why-not", "closre", "--board", "survey").returncode)
    same("a version to come", 4, crew.stele("why-not", "closer", "--board", "survey", "--at", "999").returncode)


def wrong_forks_make_nothing():
    crew = Crew(RULES)
    crew.stele("run", "crew.yaml", expect=0)
    for arguments, code in [
            (["fork", "nobody"], 4), (["fork", "survey", "--at", "999"], 4), (["fork", "survey", "--at", "1"], 2),
            (["fork", "survey", "--name", "survey"], 2), (["fork", "survey", "--name", "../x"], 2),
            (["fork", "survey", "--set", "reader.size"], 2), (["fork", "survey", "--set", "reader.when=1"], 2),
            (["fork", "survey", "--crew", "nothing.yaml"], 2), (["fork", "survey", "--input", "a=1"], 2),
    ]:
        done = crew.stele(*arguments)
        same(" ".join(arguments), code, done.returncode)
        check(done.stderr.strip(), " ".join(arguments), "says why")
    same("boards", 1, len(ask(crew, "boards", "--json").stdout.splitlines()))


def a_replay_asks_and_calls_nothing():
    crew = Crew(RULES)
    crew.stele("run", "crew.yaml", expect=0)
    same("a replay with the same crew", 0, one(crew, "replay", "--with", "crew.yaml")["differences"])
    answer = one(crew, "replay", "--set", "reader.when.0.where.size.gt=0")
    same("one more would have woken", (1, "other", "reader", "facts/1"),
         (answer["differences"], answer["first"][0]["under"], answer["first"][0]["source"],
          answer["first"][0]["bound"][0]["id"]))
    check("under the other crew" in ask(crew, "replay", "--set", "reader.when.0.where.size.gt=0").stdout, "in words")
    before = len(crew.log())
    for arguments, code in [(["replay"], 2), (["replay", "--step", "--verify"], 2), (["replay", "--set", "x.y=1"], 2),
                            (["replay", "--with", "nothing.yaml"], 2)]:
        same(" ".join(arguments), code, crew.stele(*arguments).returncode)

    def step(*commands):
        done = subprocess.run([STELE, "replay", "--step", "--json"], cwd=crew.path, capture_output=True, text=True,
                              input="\n".join(commands) + "\n", timeout=60)
        same("steps", 0, done.returncode)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    last = before
    steps = step("next", "", "next 2", "back", "end", "goto 3", "bogus", "break reader", "continue", "reverse",
                 "break when {count: facts, is: {gte: 2}}", "goto 0", "continue", "break nobody", "break when {cont: x}",
                 "goto x", "quit", "next")
    positions = [s.get("position", s.get("error")) for s in steps]
    same("where steps lead", [1, 2, 4, 3, last, 3], positions[:6])
    check("bogus" in positions[6], "an unknown command", positions)
    check(steps[7]["record"]["author"] == "reader", "a breakpoint on a source", steps[7])
    check("woken by" in steps[7]["reason"] and "rating" in steps[7]["reason"], "says why", steps[7]["reason"])
    check(steps[5]["agenda"] and steps[5]["agenda"][0]["source"] in ("reader", "once"), "the agenda", steps[5])
    check("no source" in steps[-3]["error"] and "cont" in steps[-2]["error"] and "number" in steps[-1]["error"],
          "wrong commands", steps[-3:])
    same("nothing was written", before, len(crew.log()))


SLOW = """
stele: 1
crew: slow
regions:
  tasks: {policy: append_only, entry: {text: string}}
  notes: {policy: append_only, entry: {text: string}}
sources:
  worker:
    kind: process
    command: [sh, -c, "cat > /dev/null; sleep 30; echo '{\\"op\\": \\"insert\\", \\"region\\": \\"notes\\", \\"entry\\": {\\"text\\": \\"x\\"}}'"]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {notes: [insert]}}
seed:
  tasks: [{text: one}]
"""


def a_fork_leaves_its_parents_processes_alone():
    crew = Crew(SLOW)
    run = subprocess.Popen([STELE, "run", "crew.yaml"], cwd=crew.path, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        group = None
        for _ in range(600):
            log = crew.stele("log", "--json", "--board", "slow")
            started = [r for r in map(json.loads, log.stdout.splitlines()) if r["kind"] == "started"]
            if started:
                group = started[0]["process_group"]
                break
            time.sleep(0.1)
        check(group, "the worker has started")
        # Through the owner, while the parent's run goes on.
        fork = subprocess.Popen([STELE, "fork", "slow", "--name", "other"], cwd=crew.path, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(600):
            log = crew.stele("log", "--json", "--board", "other")
            abandoned = [r for r in map(json.loads, log.stdout.splitlines()) if r["kind"] == "abandoned"]
            if abandoned:
                break
            time.sleep(0.1)
        check(abandoned, "the claim that was open counts as abandoned")
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            check(False, "the parent's process lives")
        fork.send_signal(signal.SIGINT)
        fork.wait(timeout=30)
    finally:
        run.send_signal(signal.SIGINT)
        time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        run.wait(timeout=30)


if __name__ == "__main__":
    only_what_changed_is_paid_for()
    the_edit_that_why_not_offers_wakes_the_source()
    wrong_forks_make_nothing()
    a_replay_asks_and_calls_nothing()
    a_fork_leaves_its_parents_processes_alone()
    finish()
