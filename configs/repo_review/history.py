"""history: one pass over the newest commits. Which files change, who changes them, how often to fix."""

import collections
import datetime
import os
import re
import subprocess
import sys

from protocol import emit, fail, git, read_request, tracked_files

COMMITS_MAX = 5000
RECENT_SECONDS = 90 * 24 * 3600
FIX = re.compile(r"\b(fix(e[sd])?|bugs?|defect|regression|hotfix|crash(es)?)\b", re.IGNORECASE)


class Changes:
    """What is known of one file."""

    def __init__(self):
        self.commits = 0
        self.fixes = 0
        self.recent = 0
        self.authors = collections.Counter()


def main():
    request = read_request()
    repo, top = request["inputs"]["repo"], max(1, request["inputs"]["top"])
    check_repository(repo)

    commits = read_log(repo)
    if not commits:
        fail(f"{repo} has no commits that change files, so there is nothing to review.")
    changes = count(commits)
    sizes = tracked_files(repo)
    # Ties go to the larger file, then to the name, so that two runs choose the same files.
    order = lambda path: (-changes[path].commits, -sizes[path], path)
    chosen = sorted((path for path in changes if path in sizes and changes[path].commits), key=order)[:top]

    facts = [fact for path in chosen for fact in facts_about(path, changes[path])]
    write_evidence(facts, request["view"]["evidence"])
    write_baseline(commits, sizes, [changes[path] for path in chosen], request["view"]["baseline"])


def check_repository(repo):
    if not os.path.isdir(repo):
        fail(f"{repo} is no folder; give the repository to review with --input repo=PATH.")
    probe = ["git", "-c", "safe.directory=*", "-C", repo, "rev-parse"]
    try:
        inside = subprocess.run([*probe, "--git-dir"], capture_output=True, check=False)
    except FileNotFoundError:
        fail("git is not installed or not on PATH.")
    if inside.returncode != 0:
        fail(f"{repo} is no git repository; give the one to review with --input repo=PATH.")
    if subprocess.run([*probe, "--verify", "--quiet", "HEAD"], capture_output=True, check=False).returncode != 0:
        fail(f"{repo} is a git repository without commits, so there is nothing to review.")


def read_log(repo):
    """Newest first: (time, author, subject, [(path, old path or None)]). Binary files are left out."""
    output = git(
        repo, "log", "--no-merges", f"--max-count={COMMITS_MAX}", "--numstat", "-z", "-M90%", "-l200",
        "--no-ext-diff", "--no-textconv", "--no-color", "--format=%x01%ct%x02%aN%x02%s",
    )  # fmt: skip
    commits = []
    fields = iter(output.decode("utf-8", "surrogateescape").split("\0"))
    for field in fields:
        field = field.lstrip("\n")
        if field.startswith("\x01"):
            time, author, subject = field[1:].split("\x02", 2)
            commits.append((int(time), author, subject, []))
        elif field.count("\t") >= 2:
            added, _, path = field.split("\t", 2)
            # A rename leaves the path empty; the old and the new name follow.
            old = None if path else next(fields)
            path = path or next(fields)
            if added != "-":
                commits[-1][3].append((path, old))
    return [commit for commit in commits if commit[3]]


def count(commits):
    changes = collections.defaultdict(Changes)
    name_today = {}  # of files that were renamed since
    newest = max(time for time, *_ in commits)
    for time, author, subject, paths in commits:
        for path, old in paths:
            today = name_today.get(path, path)
            if old is not None:
                name_today[old] = today
            file = changes[today]
            file.commits += 1
            file.fixes += bool(FIX.search(subject))
            file.recent += newest - time <= RECENT_SECONDS
            file.authors[author] += 1
    return changes


def facts_about(path, file):
    author, own = max(file.authors.items(), key=lambda item: (item[1], item[0]))
    author = author.encode("utf-8", "replace").decode("utf-8")
    for kind, value, note in (
        ("churn", file.commits, f"changed in {file.commits} commits"),
        ("recent", file.recent, f"changed {file.recent} times in the 90 days before the newest commit"),
        ("fixes", file.fixes, f"{file.fixes} of its {file.commits} changes are called fixes"),
        ("main_author", round(100 * own / file.commits), f"{author} made {own} of its {file.commits} changes"),
    ):
        yield {"file": path, "kind": kind, "value": value, "note": note}


def write_evidence(facts, known):
    """Brings the board up to date, so that a second run over the same board does not count twice."""
    before = {(old["entry"]["file"], old["entry"]["kind"]): old for old in known}
    for fact in facts:
        old = before.pop((fact["file"], fact["kind"]), None)
        if old is not None and old["entry"] == fact:
            continue
        if old is not None:
            emit("retract", id=old["id"], why="the history has gone on")
        emit("insert", "evidence", fact)
    for old in before.values():
        emit("retract", id=old["id"], why="no longer among the files that change most")


def write_baseline(commits, sizes, chosen, known):
    """What is normal here: a rule says "often" by comparing with these, not with a fixed number."""

    def exceeded_by(share, values, at_least):
        values = sorted(values, reverse=True)
        return max(at_least, values[int(len(values) * share)] if values else 0)

    authors = len({author for _, author, _, _ in commits})
    values = {
        "commits": len(commits),
        "authors": authors,
        "tracked_files": len(sizes),
        "churn_high": exceeded_by(0.5, (file.commits for file in chosen), 5),
        "fixes_high": exceeded_by(0.25, (file.fixes for file in chosen), 3),
    }
    # Rules compare with these: putting what stands there already would wake them for nothing.
    stands = {entry["entry"]["name"]: entry["entry"]["value"] for entry in known}
    for name, value in values.items():
        if stands.get(name) != value:
            emit("put", "baseline", {"name": name, "value": value})

    day = lambda time: datetime.datetime.fromtimestamp(time, datetime.timezone.utc).date().isoformat()
    first, last = (pick(time for time, *_ in commits) for pick in (min, max))
    capped = f"the newest {len(commits)}" if len(commits) >= COMMITS_MAX else str(len(commits))
    people = "1 author" if authors == 1 else f"{authors} authors"
    text = f"{capped} commits by {people}, {day(first)} to {day(last)}, {len(sizes)} tracked files"
    emit("put", "progress", {"phase": "history", "text": text})
    emit("note", text=text)


if __name__ == "__main__":
    sys.exit(main())
