"""Facts for waltz.yaml: a line drawing of many blocks. One operation of the source protocol a line.

usage: drawing.py REGIONS [--clips]     --clips: the same as facts for CLIPS

The drawing is that of the benchmark (University of Texas): regions of four boxes each, tied to their
neighbours; one region more than asked for. A point is x * 10000 + y.
"""
import itertools
import json
import math
import sys


def box(x, y):
    paths = [
        [(0, 0), (2, 0), (3, 0), (4, 0)],
        [(0, 0), (0, 2), (0, 3), (0, 4), (4, 4), (4, 0), (5, 1), (5, 2), (5, 3), (5, 5), (4, 4)],
        [(5, 5), (3, 5), (2, 5), (1, 5), (0, 4)],
    ]
    for path in paths:
        for (ax, ay), (bx, by) in zip(path, path[1:]):
            yield (x + ax, y + ay), (x + bx, y + by)


def lines(regions):
    for number in range(regions + 1):
        x = 12 * number
        ties = [((5, 3), (6, 3)), ((3, 5), (3, 6)), ((8, 5), (8, 6)), ((5, 8), (6, 8))]
        if number < regions:  # to the next one
            ties += [((11, 3), (12, 3)), ((9, 5), (9, 6)), ((14, 5), (14, 6)), ((11, 8), (12, 8))]
        for (ax, ay), (bx, by) in ties:
            yield (x + ax, ay), (x + bx, by)
        for dx, dy in itertools.product((0, 6), (0, 6)):
            yield from box(x + dx, dy)


def angle(base, a, b):
    """The smaller one between the lines from base to a and to b."""
    first = math.atan2(a[1] - base[1], a[0] - base[0])
    second = math.atan2(b[1] - base[1], b[0] - base[0])
    between = abs(first - second)
    return min(between, 2 * math.pi - between)


def shape(base, ends):
    """What three lines that meet look like: the outer two, the one between them, and the kind."""
    sums = {end: sum(angle(base, end, other) for other in ends if other != end) for end in ends}
    shaft = min(ends, key=lambda end: (round(sums[end], 9), end))
    barbs = [end for end in ends if end != shaft]
    if abs(sums[shaft] - math.pi) < 0.001:
        kind = "tee"
    else:
        kind = "fork" if sums[shaft] > math.pi else "arrow"
    return barbs[0], shaft, barbs[1], kind


def facts(regions):
    def point(at):
        return at[0] * 10000 + at[1]

    met = {}
    for a, b in lines(regions):
        yield "line", {"p1": point(a), "p2": point(b)}
        met.setdefault(a, []).append(b)
        met.setdefault(b, []).append(a)
    for base, ends in sorted(met.items()):
        if len(ends) != 3:
            continue
        p1, p2, p3, kind = shape(base, sorted(ends))
        yield "shape", {"base": point(base), "p1": point(p1), "p2": point(p2), "p3": point(p3), "kind": kind}
    corners = sorted(point(at) for at in met)
    yield "bounds", {"low": corners[0], "high": corners[-1]}
    yield "stage", {"value": "duplicate"}


def main():
    for region, entry in facts(int(sys.argv[1])):
        if "--clips" in sys.argv:
            print(f"({region} " + " ".join(f"({key} {value})" for key, value in entry.items()) + ")")
        else:
            print(json.dumps({"op": "insert", "region": region, "entry": entry}))


main()
