"""splitter: a range of commits as hunks on the board, and one entry for each file that they are in."""

import re

from protocol import emit, fail, git, read_request

FILES_MAX = 60
HUNKS_MAX = 400
HUNK_CHARACTERS = 4000
CONTEXT_LINES = 5
HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,\d+)? @@")
# Written by programs, for programs.
NOT_READ = re.compile(r"(\.lock|-lock\.(json|yaml)|go\.sum|\.min\.(js|css)|\.svg|\.snap)$")


def main():
    request = read_request()
    repo, commits = request["inputs"]["repo"], request["inputs"]["range"]
    if commits.startswith("-"):
        fail(f"{commits} is no range of commits; give one like HEAD~3..HEAD with --input range=A..B.")
    git(repo, "rev-parse", "--git-dir")  # outside of a repository `git diff` would compare files
    changes = read_diff(repo, commits)
    if not changes:
        fail(f"nothing that can be read has changed in {commits} of {repo}.")

    hunks = 0
    for path, found in list(changes.items())[:FILES_MAX]:
        found = found[: max(0, HUNKS_MAX - hunks)]
        if not found:
            break
        hunks += len(found)
        for number, (line, text) in enumerate(found):
            entry = {"file": path, "line": line, "text": text}
            emit("insert", "hunks", entry, name=f"h{hunks - len(found) + number}")
        added, removed = (sum(count(text, sign) for _, text in found) for sign in "+-")
        entry = {"path": path, "hunks": len(found), "added": added, "removed": removed}
        # After its hunks and in the same commit: whoever is woken by the file sees all of them.
        emit("insert", "files", entry, cites=[f"$h{hunks - len(found) + number}" for number in range(len(found))])
    emit("note", text=f"{hunks} hunks in {min(len(changes), FILES_MAX)} of {len(changes)} files")


def read_diff(repo, commits):
    """Path to [(first line, text)]; what is deleted, binary or made by a program is left out."""
    output = git(
        repo, "diff", "--no-color", "--no-ext-diff", "--no-textconv", "-M", f"--unified={CONTEXT_LINES}",
        "--diff-filter=d", "--src-prefix=a/", "--dst-prefix=b/", "--end-of-options", commits, "--",
    )  # fmt: skip
    changes, path, hunk = {}, None, None
    for line in output.decode("utf-8", "replace").split("\n"):
        head = HUNK.match(line)
        if line.startswith("diff --git "):
            path = hunk = None
        elif line.startswith("+++ ") and hunk is None:
            name = unquoted(line[4:].rstrip("\t"))
            path = name[2:] if name.startswith("b/") and not NOT_READ.search(name) else None
        elif head and path is not None:
            hunk = (int(head[1]), [])
            changes.setdefault(path, []).append(hunk)
        elif hunk is not None:
            hunk[1].append(line)
    return {path: [part for line, lines in hunks for part in cut(line, lines)] for path, hunks in changes.items()}


def unquoted(name):
    """git writes names with other than plain letters in quotes, their bytes as in C."""
    if not name.startswith('"'):
        return name
    return name[1:-1].encode("latin-1", "replace").decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")


def cut(first, lines):
    """A long hunk in parts, each with the number of its own first line in the new file."""
    part, size, at = [], 0, first
    for line in lines:
        line = line[:HUNK_CHARACTERS]
        if part and size + len(line) > HUNK_CHARACTERS:
            yield first, "\n".join(part)
            part, size, first = [], 0, at
        part.append(line)
        size += len(line) + 1
        at += not line.startswith(("-", "\\"))
    if any(line.startswith(("+", "-")) for line in part):
        yield first, "\n".join(part)


def count(text, sign):
    return sum(line.startswith(sign) for line in text.split("\n"))


if __name__ == "__main__":
    main()
