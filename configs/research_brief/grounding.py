"""grounding: takes back each finding whose quote does not stand in what it names as its source.

A model that was shown a passage may still put words into its mouth. Whether a quote stands in a text
needs no model to decide.
"""

import re

from protocol import bound, emit, read_request

QUOTE_CHARACTERS_MIN = 20  # a word or two stand in every text


def main():
    request = read_request()
    texts = {item["id"]: item["entry"]["text"] for region in ("passages", "pages") for item in request["view"][region]}
    # Others may have been taken back, or found elsewhere in the same words, before.
    stands = {finding["id"]: finding for finding in request["view"]["findings"]}
    batch = {finding["id"] for finding in bound(request, "f")}
    claims = {plain(f["entry"]["claim"]) for id, f in stands.items() if id not in batch and is_older(id, batch)}

    for finding in bound(request, "f"):
        reason = problem_of(finding["entry"], texts, claims)
        claims.add(plain(finding["entry"]["claim"]))
        if reason:
            entry = {"claim": finding["entry"]["claim"], "author": finding["author"], "reason": reason}
            emit("insert", "refusals", entry, cites=[finding["id"]])
            emit("retract", id=finding["id"], why=reason)


def is_older(id, batch):
    number = lambda name: int(name.rpartition("/")[2])
    return number(id) < min(map(number, batch))


def problem_of(finding, texts, claims):
    text = texts.get(finding["source"])
    if text is None:
        return f"its source {finding['source'][:60]!r} is no passage and no page on the board"
    quote = plain(finding["quote"])
    if len(quote) < QUOTE_CHARACTERS_MIN:
        return f"its quote is shorter than {QUOTE_CHARACTERS_MIN} characters"
    if quote not in plain(text):
        return f"its quote does not stand in {finding['source']}"
    claim = plain(finding["claim"])
    if not claim:
        return "it claims nothing"
    if claim in claims:
        return "another finding says the same"
    return None


def plain(text):
    """Without what a model changes when it copies: spaces, quotation marks, emphasis, case."""
    text = text.replace("“", '"').replace("”", '"').replace("’", "'").replace("‘", "'")
    return re.sub(r"\s+", " ", re.sub(r"[*_`]", "", text)).strip().strip('".…').lower()


if __name__ == "__main__":
    main()
