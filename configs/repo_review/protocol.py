"""The process protocol, files and git, as the sources of this crew and others use them.

A source reads one JSON object on stdin and prints one JSON object a line: what it proposes. All of
it is one commit when the source exits with 0; nothing is written when it exits otherwise.
"""

import json
import os
import subprocess
import sys
import tempfile


def read_request():
    return json.loads(sys.stdin.buffer.read())


def emit(op, region=None, entry=None, cites=(), why=None, name=None, **rest):
    """Proposes one write. Later lines may cite it as `$name`."""
    line = {"op": op, **rest}
    if name is not None:
        line["as"] = name
    if region is not None:
        line["region"] = region
    if entry is not None:
        line["entry"] = entry
    if cites:
        line["cites"] = list(cites)
    if why:
        line["why"] = why
    print(json.dumps(line))


def fail(sentence):
    """Ends the attempt. The sentence is what the person at `stele run` will read."""
    print(sentence, file=sys.stderr)
    sys.exit(1)


def bound(request, variable):
    """The entries bound to a variable in each member of a batch."""
    return [match[variable] for match in request["matches"]]


def write_whole(path, text):
    """A reader sees the old report or the new one, never half of it."""
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".report-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def git(repo, *arguments, data=None):
    """What git prints, as bytes. Ends the attempt with git's own words when git fails."""
    command = [
        "git",
        # The repository may belong to somebody else, and its own settings must not start programs.
        "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false",
        "-C", repo, *arguments,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, input=data, capture_output=True, check=False)
    except FileNotFoundError:
        fail("git is not installed or not on PATH.")
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        fail(f"git {arguments[0]} failed in {repo}: {words[-1] if words else f'exit {done.returncode}'}")
    return done.stdout


def tracked_files(repo):
    """Path to size in bytes of every regular file of HEAD whose name is UTF-8."""
    sizes = {}
    for record in git(repo, "ls-tree", "-r", "-l", "-z", "--full-tree", "HEAD").split(b"\0"):
        if not record.startswith(b"100"):  # symbolic links and submodules have other modes
            continue
        head, _, name = record.partition(b"\t")
        try:
            path = name.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if "\n" not in path:
            sizes[path] = int(head.split()[3])
    return sizes


def read_files(repo, paths):
    """(path, text) of files as they are in HEAD, one after the other, read by one git process."""
    answer = git(repo, "cat-file", "--batch", data="".join(f"HEAD:{path}\n" for path in paths).encode())
    at = 0
    for path in paths:
        end = answer.index(b"\n", at)
        words = answer[at:end].split()
        at = end + 1
        if len(words) != 3 or words[1] != b"blob":  # "missing": gone since the caller looked
            continue
        size = int(words[2])
        yield path, answer[at : at + size].decode("utf-8", "replace")
        at += size + 1
