#!/usr/bin/env python3
"""Kills `stele` at random moments of a crew's work, resumes it, and compares what it had
acknowledged with what its log holds.

    kill_resume.py STELE FOLDER [SEED]

A crew with processes, a rule, batches and retries works on a new board until it was killed a few
times; then it may finish. That goes on until there were KILLS kills.
"""

import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

KILLS = 50
TASKS = 24
KILLS_PER_BOARD_MAX = 4
MOMENT_MAX = 1.1  # seconds; about as long as the crew takes from its start to its end
NOTHING_TO_RESUME = 4  # exit code
DIES_WITHIN = 3.0  # seconds that a source may outlive its owner

CREW = """\
stele: 1
crew: killed
regions:
  tasks: {policy: append_only, entry: {number: integer}}
  results: {policy: append_only, entry: {task: string, attempt: integer}}
  noted: {policy: append_only, entry: {result: string}}
  collected: {policy: append_only, entry: {result: string}}
  tally: {policy: counter}
  summary: {policy: single_writer, owner: sum_up, key: [name], entry: {name: string, results: integer}}
sources:
  work:
    kind: process
    command: [python3, -S, -E, work.py, MARK]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {results: [insert], tally: [increment]}}
    limits: {attempts: 40, backoff: 20ms, timeout: 20s}
  note:
    kind: rule
    when: [{each: results as r}]
    then: [{insert: noted, entry: {result: $r.@id}}]
    may: {read: [results], write: {noted: [insert]}}
  collect:
    kind: process
    command: [python3, -S, -E, collect.py, MARK]
    when: [{each: results as r}]
    batch: {max: 5, within: 60ms}
    may: {read: [results], write: {collected: [insert]}}
    limits: {attempts: 40, backoff: 20ms}
  sum_up:
    kind: process
    command: [python3, -S, -E, sum_up.py, MARK]
    when: [{idle: true}, {exists: results}]
    may: {read: [results], write: {summary: [put]}}
    limits: {attempts: 40, backoff: 20ms}
seed:
  tasks: [SEED]
limits: {concurrency: 4}
stop: {goal: [{exists: summary}]}
"""

# Every source notes what it does to the world before it says what it found.
COMMON = """\
import json, os, sys, time

def begin():
    request = json.load(sys.stdin)
    line = " ".join([request["source"], request["activation"], str(request["attempt"]), request["idempotency_key"]])
    file = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, (line + "\\n").encode())
    os.close(file)
    return request

def emit(**line):
    print(json.dumps(line))
"""
WORK = """\
from common import *
request = begin()
task = request["match"]["t"]
number = task["entry"]["number"]
time.sleep(0.02 + 0.01 * (number % 7))
if number % 5 == 0 and request["attempt"] == 1:
    sys.exit("not the first time")
emit(op="insert", region="results", entry={"task": task["id"], "attempt": request["attempt"]}, cites=[task["id"]])
emit(op="increment", region="tally", by=1)
"""
COLLECT = """\
from common import *
request = begin()
time.sleep(0.03)
for match in request["matches"]:
    emit(op="insert", region="collected", entry={"result": match["r"]["id"]})
"""
SUM_UP = """\
from common import *
request = begin()
emit(op="put", region="summary", entry={"name": "all", "results": len(request["view"]["results"])})
"""


class Failure(Exception):
    pass


def check(holds, message):
    if not holds:
        raise Failure(message)


def lines_of(output):
    """The whole lines; a kill may have cut the last one."""
    return [json.loads(line) for line in output.split(b"\n")[:-1]]


def processes_with(mark):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words:
            found.append(int(entry.name))
    return found


class Killed:
    """One board, from its first run to its end."""

    def __init__(self, stele, folder, number, rng):
        self.stele, self.rng = stele, rng
        self.folder = folder / f"board_{number}"
        self.folder.mkdir()
        self.mark = f"stele_kill_{os.getpid()}_{number}"
        tasks = ", ".join(f"{{number: {task}}}" for task in range(TASKS))
        crew = CREW.replace("MARK", self.mark).replace("SEED", tasks)
        files = {"crew.yaml": crew, "common.py": COMMON, "work.py": WORK, "collect.py": COLLECT, "sum_up.py": SUM_UP}
        for name, text in files.items():
            (self.folder / name).write_text(text)
        self.told = {}  # position -> record, of every process that told it
        self.log = []
        self.kills = 0
        self.steps = []  # for the report of a failure

    def command(self, *words):
        return subprocess.run([self.stele, *words], cwd=self.folder, capture_output=True, check=False)

    def next_start(self):
        """How a person goes on: resume, or run when there is no board yet."""
        if not (self.folder / ".stele").exists():
            return ["run", "crew.yaml"]
        boards = self.command("boards", "--json")
        if boards.returncode != 0 or not boards.stdout:
            return ["run", "crew.yaml"]
        return ["resume"]

    def work(self, moment, words=None):
        """Starts or resumes the crew, and kills it after `moment` seconds. True when it ended before."""
        words = words or self.next_start()
        output = self.folder / "told"
        with open(output, "wb") as out, open(self.folder / "errors", "wb") as errors:
            process = subprocess.Popen([self.stele, *words, "--json"], cwd=self.folder, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=errors)  # fmt: skip
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
        killed = process.returncode == -signal.SIGKILL
        self.steps.append(f"{' '.join(words)}: " + (f"killed after {moment:.4f} s" if killed else "ended"))
        self.kills += killed
        for record in lines_of(output.read_bytes()):
            if "event" in record:
                continue
            at = record["position"]
            check(self.told.setdefault(at, record) == record, f"record {at} was told in two ways")
        if process.returncode == NOTHING_TO_RESUME and words == ["resume"]:
            # The board was made, and its first run was killed before it was in the log.
            return self.work(moment, ["run", "crew.yaml", "--board", "killed", "--continue"])
        if not killed:
            errors = (self.folder / "errors").read_text(errors="replace")
            check(process.returncode == 0, f"exit {process.returncode}: {errors}")
        return not killed

    def sources_are_gone(self):
        end = time.monotonic() + DIES_WITHIN
        while left := processes_with(self.mark):
            check(time.monotonic() < end, f"processes {left} have outlived their owner")
            time.sleep(0.02)

    def compare(self):
        """What was told is in the log, and what was in the log still is."""
        if not (self.folder / ".stele").exists():
            return check(not self.told, "the data directory is gone")
        boards = self.command("boards", "--json")
        if boards.returncode != 0 or not boards.stdout:
            return check(not self.told, f"the board is gone: {boards.stderr.decode()}")
        read = self.command("log", "--json")
        check(read.returncode == 0, f"stele log: exit {read.returncode}: {read.stderr.decode()}")
        log = lines_of(read.stdout)
        check([record["position"] for record in log] == list(range(1, len(log) + 1)), "the log has gaps")
        for before, after in zip(self.log, log):
            check(before == after, f"record {before['position']} has changed")
        check(len(log) >= len(self.log), f"the log had {len(self.log)} records and has {len(log)}")
        for at, record in self.told.items():
            check(at <= len(log), f"record {at} was acknowledged and is not in the log, which has {len(log)}")
            check(record == log[at - 1], f"record {at} was acknowledged in other words")
        self.log = log
        self.nothing_happened_twice()
        if not log:
            return
        replay = self.command("replay", "--verify")
        check(replay.returncode == 0, f"replay: exit {replay.returncode}: {(replay.stdout + replay.stderr).decode()}")

    def nothing_happened_twice(self):
        commits = collections.Counter(
            record["activation"] for record in self.log
            if record["kind"] == "commit" and record["accepted"] and "activation" in record
        )  # fmt: skip
        for activation, count in commits.items():
            check(count == 1, f"activation {activation} was committed {count} times")
        effects = self.folder / "effects"
        if not effects.exists():
            return
        keys = collections.Counter(line.split()[3] for line in effects.read_text().splitlines())
        for key, count in keys.items():
            check(count == 1, f"the idempotency key {key} was given to {count} attempts")

    def compare_end(self):
        active = collections.defaultdict(list)
        for region in ("tasks", "results", "noted", "collected", "tally", "summary"):
            shown = self.command("show", "--json", "--region", region)
            check(shown.returncode == 0, f"show {region}: exit {shown.returncode}: {shown.stderr.decode()}")
            active[region] = lines_of(shown.stdout)
        tasks = sorted(entry["id"] for entry in active["tasks"])
        results = sorted(entry["id"] for entry in active["results"])
        check(len(tasks) == TASKS, f"{len(tasks)} tasks")
        done = sorted(entry["entry"]["task"] for entry in active["results"])
        check(done == tasks, f"results are of {done}")
        for region in ("noted", "collected"):
            of = sorted(entry["entry"]["result"] for entry in active[region])
            check(of == results, f"{region}: {of}, but there are {results}")
        tally = sum(entry["entry"]["by"] for entry in active["tally"])
        check(tally == TASKS, f"the tally is {tally}")
        check([entry["entry"]["results"] for entry in active["summary"]] == [TASKS], f"summary {active['summary']}")
        effects = {tuple(line.split()[1:3]) for line in (self.folder / "effects").read_text().splitlines()}
        for record in self.log:
            if record["kind"] == "commit" and record["accepted"] and record["author"] in ("work", "collect", "sum_up"):
                attempt = (str(record["activation"]), str(record["attempt"]))
                check(attempt in effects, f"attempt {attempt} was committed and never ran")

    def moment(self):
        # The first moments, in which directory, board and run come into being, are short and delicate.
        return self.rng.uniform(0, 0.08) if self.rng.random() < 0.2 else self.rng.uniform(0, MOMENT_MAX)

    def live(self, kills_left):
        ended = False
        for _ in range(min(kills_left, self.rng.randint(1, KILLS_PER_BOARD_MAX))):
            ended = self.work(self.moment())
            self.sources_are_gone()
            self.compare()
            if ended:
                break
        if not ended:
            check(self.work(60), "the run did not end within 60 s")
            self.sources_are_gone()
            self.compare()
        self.compare_end()


def main():
    if not 3 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    seed = int(sys.argv[3]) if len(sys.argv) == 4 else random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)
    stele, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    kills, boards, begin = 0, 0, time.monotonic()
    while kills < KILLS:
        boards += 1
        board = Killed(stele, folder, boards, rng)
        try:
            board.live(KILLS - kills)
        except Failure as failure:
            print(f"board {boards} (seed {seed}): {failure}")
            for step in board.steps:
                print("    " + step)
            sys.exit(1)
        kills += board.kills
    print(f"{kills} kills on {boards} boards in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
