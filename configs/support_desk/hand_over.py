"""outbox: the replies that may go out, one JSON object a line, and what a person has to look at."""

import json
import re

from protocol import emit, read_request, write_whole


def main():
    request = read_request()
    view, inputs = request["view"], request["inputs"]
    tickets = {ticket["entry"]["number"]: ticket["entry"] for ticket in view["tickets"]}
    replies = {reply["entry"]["ticket"]: reply["entry"] for reply in view["replies"]}
    questions = {}
    for question in view["open_questions"]:
        questions.setdefault(question["entry"]["ticket"], []).append(question["entry"])

    lines = []
    for number in sorted(replies.keys() & tickets.keys()):
        reply = {"ticket": number, "to": tickets[number]["customer"], "text": replies[number]["text"]}
        lines.append(json.dumps(reply, ensure_ascii=False))
    write_whole(inputs["replies"], "".join(line + "\n" for line in lines))

    for_person = [number for number in tickets if number not in replies]
    text = ["# For a person", "", f"{len(lines)} of {len(tickets)} tickets have a reply in {inputs['replies']}.", ""]
    for number in for_person:
        ticket = tickets[number]
        text += [f"## {number}, {ticket['customer']}", "", "> " + one_line(ticket["text"]), ""]
        for question in questions.get(number, []):
            text.append(f"- {question['reason']}. Draft: {one_line(question['draft'])}")
        if number not in questions:
            text.append("- nobody drafted a reply; `stele log` says why")
        text.append("")
    write_whole(inputs["questions"], "\n".join(text))
    emit("put", "outbox", {"replies": len(lines), "for_person": len(for_person)})
    left = f"{len(for_person)} tickets in {inputs['questions']}"
    emit("note", text=f"{len(lines)} replies in {inputs['replies']}, {left}")


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    main()
