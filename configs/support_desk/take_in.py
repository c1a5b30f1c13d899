"""intake: the tickets of a file, one JSON object a line, each once however often the crew runs."""

import json

from protocol import emit, fail, read_request

TICKETS_MAX = 1000
TEXT_CHARACTERS = 4000


def main():
    request = read_request()
    path = request["inputs"]["tickets"]
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}; give the tickets with --input tickets=PATH.")
    known = {ticket["entry"]["number"] for ticket in request["view"]["tickets"]}
    taken = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        ticket, problem = read(line)
        if problem:
            emit("note", text=f"line {number} of {path} was left out: {problem}")
        elif ticket["number"] not in known and taken < TICKETS_MAX:
            known.add(ticket["number"])
            taken += 1
            emit("insert", "tickets", ticket)
    emit("note", text=f"{taken} new tickets")


def read(line):
    """(ticket, None), or (None, what is wrong with the line)."""
    try:
        ticket = json.loads(line)
    except ValueError as error:
        return None, f"it is not JSON: {error}"
    fields = ("number", "customer", "text")
    texts = isinstance(ticket, dict) and all(isinstance(ticket.get(field), str) for field in fields)
    if not texts or not all(ticket[field] for field in fields):
        return None, f"a ticket is an object with the texts {', '.join(fields)}"
    return {field: ticket[field][:TEXT_CHARACTERS] for field in fields}, None


if __name__ == "__main__":
    main()
