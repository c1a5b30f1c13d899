"""What the tests of sources that call out share: the fake provider, crews, runs and their logs."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
STELE = os.path.realpath(os.environ["STELE"])
FAKE = PROJECT / "tests" / "fake_provider" / "fake_provider.py"

failures = 0


def check(good, *what):
    global failures
    if not good:
        failures += 1
        print("FAILED:", *what, flush=True)
    return good


def same(what, wanted, found):
    return check(wanted == found, f"{what}: expected {wanted!r}, found {found!r}")


def finish():
    if failures:
        print(f"{failures} failed")
        sys.exit(1)
    print("all passed")


class Provider:
    """The fake provider, ended with this test whatever becomes of it."""

    def __init__(self, *options):
        self.process = subprocess.Popen(
            [sys.executable, FAKE, "--port", "0", "--while-stdin", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data=data), timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def requests(self):
        found = self.ask("/fake/requests")
        return found["requests"] if isinstance(found, dict) else found

    def script(self, rules):
        self.ask("/fake/script", rules)

    def reset(self):
        self.ask("/fake/reset", {})


class Crew:
    """A crew file in a folder of its own, and the runs of it."""

    def __init__(self, text, **files):
        self.folder = tempfile.TemporaryDirectory(prefix="stele-agents-")
        self.path = pathlib.Path(self.folder.name)
        self.environment = {k: v for k, v in os.environ.items()
                            if not k.endswith("_API_KEY") and not k.lower().endswith("_proxy")}
        self.write("crew.yaml", text)
        for name, content in files.items():
            self.write(name.replace("__", "."), content)

    def write(self, name, text):
        (self.path / name).write_text(text, encoding="utf-8")

    def stele(self, *arguments, expect=None, timeout=120, **environment):
        done = subprocess.run([STELE, *arguments], cwd=self.path, capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, env={**self.environment, **environment})
        if expect is not None and done.returncode != expect:
            check(False, f"stele {' '.join(arguments)}: expected exit {expect}, found {done.returncode}\n"
                  f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done

    def log(self, *arguments):
        return [json.loads(line) for line in self.stele("log", "--json", *arguments, expect=0).stdout.splitlines()]

    def entries(self, region):
        lines = self.stele("show", "--region", region, "--json", expect=0).stdout.splitlines()
        return [value["entry"] for value in map(json.loads, lines) if "entry" in value]

    def verify(self):
        self.stele("replay", "--verify", expect=0)

    def bytes_hold(self, *secrets):
        """Which of the texts stand anywhere in the data directory."""
        found = set()
        for file in (self.path / ".stele").rglob("*"):
            if file.is_file():
                content = file.read_bytes()
                found |= {secret for secret in secrets if secret.encode() in content}
        return found
