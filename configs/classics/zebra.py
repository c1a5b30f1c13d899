"""Facts for zebra.yaml: every way to deal five things of a kind to five houses. One operation of the source
protocol a line.

usage: zebra.py [--clips]     --clips: the same as facts for CLIPS
"""
import itertools
import json
import sys

KINDS = {
    "people": ["englishman", "spaniard", "ukrainian", "norwegian", "japanese"],
    "colours": ["red", "green", "ivory", "yellow", "blue"],
    "pets": ["dog", "snails", "fox", "horse", "zebra"],
    "drinks": ["coffee", "tea", "milk", "juice", "water"],
    "smokes": ["oldgold", "kools", "chesterfield", "luckystrike", "parliament"],
}


def facts():
    for left in range(1, 5):
        yield "right_of", {"left": left, "right": left + 1}
        yield "beside", {"a": left, "b": left + 1}
        yield "beside", {"a": left + 1, "b": left}
    for region, names in KINDS.items():
        for houses in itertools.permutations(range(1, 6)):
            yield region, dict(zip(names, houses))


def main():
    for region, entry in facts():
        if "--clips" in sys.argv:
            print(f"({region} " + " ".join(f"({key} {value})" for key, value in entry.items()) + ")")
        else:
            print(json.dumps({"op": "insert", "region": region, "entry": entry}))


main()
