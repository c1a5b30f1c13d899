"""Facts for manners.yaml: guests who can all be seated. One operation of the source protocol a line.

usage: guests.py GUESTS [--clips]     --clips: the same as facts for CLIPS
"""
import json
import random
import sys


def facts(count):
    """As many men as women, each with two or three of three hobbies: any two share one."""
    dice = random.Random(count)
    sexes = ["m", "f"] * (count // 2)
    for name, sex in enumerate(sexes, start=1):
        for hobby in sorted(dice.sample([1, 2, 3], dice.choice([2, 3]))):
            yield "guest", {"name": name, "sex": sex, "hobby": hobby}
    for number in range(count + 2):
        yield "next", {"from": number, "to": number + 1}
    yield "last_seat", {"seat": count}
    yield "count", {"c": 1}
    yield "context", {"state": "start"}


def main():
    count = int(sys.argv[1])
    if count < 2 or count % 2 != 0:
        sys.exit("guests.py: the guests are pairs: an even number, at least 2")
    for region, entry in facts(count):
        if "--clips" in sys.argv:
            print(f"({region} " + " ".join(f"({key} {value})" for key, value in entry.items()) + ")")
        else:
            print(json.dumps({"op": "insert", "region": region, "entry": entry}))


main()
