"""Facts for sudoku.yaml: the digits that each cell may still hold. One operation of the source protocol a line.

usage: sudoku.py PUZZLE [--clips]     PUZZLE: 81 characters by rows, 0 or . where nothing is given, or the
                                      name of one of the puzzles below
                                      --clips: the same as facts for CLIPS
       sudoku.py --make SEED          prints a puzzle that the crew's rules solve, made by chance
"""
import json
import random
import sys

# Made with --make 1, 2 and 3.
PUZZLES = {
    "one": "030250040008000000100049005003000000000700100000590000000100809020004630010003500",
    "two": "401800063700009080006030000050041007000200000004076000000000098000750000030000010",
    "three": "010800000000020040009006201000000160090240080000601000400050800830000005020000007",
}


def cells():
    for cell in range(81):
        row, col = divmod(cell, 9)
        yield cell, row, col, row // 3 * 3 + col // 3


def facts(puzzle):
    for cell, row, col, box in cells():
        given = puzzle[cell]
        for value in range(1, 10):
            if given in "0." or int(given) == value:
                yield "could", {"cell": cell, "row": row, "col": col, "box": box, "value": value}


PEERS = [
    {c for c, row, col, box in cells() if c != cell and (row == r or col == k or box == b)} for cell, r, k, b in cells()
]


def solutions(puzzle, limit=2, dice=None):
    """By trial, the cell with the fewest digits first: knows nothing of the crew's rules."""
    grid = [int(c) if c not in "0." else 0 for c in puzzle]
    found = []

    def search():
        best = None
        for cell in range(81):
            if grid[cell]:
                continue
            fits = set(range(1, 10)) - {grid[p] for p in PEERS[cell]}
            if best is None or len(fits) < len(best[1]):
                best = (cell, fits)
        if best is None:
            found.append("".join(map(str, grid)))
            return len(found) >= limit
        cell, fits = best
        order = sorted(fits)
        if dice:
            dice.shuffle(order)
        for value in order:
            grid[cell] = value
            if search():
                return True
        grid[cell] = 0
        return False

    for cell in range(81):
        if grid[cell] and any(grid[p] == grid[cell] for p in PEERS[cell]):
            return []
    search()
    return found


def by_rules(puzzle):
    """The crew's rules in Python, for --make: True when they end at a full grid."""
    may = {cell: {int(puzzle[cell])} if puzzle[cell] not in "0." else set(range(1, 10)) for cell in range(81)}
    units = []
    for kind in (1, 2, 3):
        units += [[c[0] for c in cells() if c[kind] == n] for n in range(9)]
    changed = True
    while changed:
        changed = False
        for cell in range(81):
            if len(may[cell]) == 1:
                for peer in PEERS[cell]:
                    if may[peer] & may[cell]:
                        may[peer] -= may[cell]
                        changed = True
        for unit in units:
            for value in range(1, 10):
                places = [c for c in unit if value in may[c]]
                if len(places) == 1 and len(may[places[0]]) > 1:
                    may[places[0]] = {value}
                    changed = True
                for other in units:
                    if places and other is not unit and set(places) <= set(other):
                        for cell in set(other) - set(unit):
                            if value in may[cell]:
                                may[cell].discard(value)
                                changed = True
    return all(len(values) == 1 for values in may.values())


def make(seed):
    dice = random.Random(seed)
    puzzle = list(solutions("0" * 81, 1, dice)[0])
    order = list(range(81))
    dice.shuffle(order)
    for cell in order:
        kept = puzzle[cell]
        puzzle[cell] = "0"
        if len(solutions("".join(puzzle))) != 1 or not by_rules("".join(puzzle)):
            puzzle[cell] = kept
    return "".join(puzzle)


def main():
    if sys.argv[1] == "--make":
        print(make(int(sys.argv[2])))
        return
    puzzle = PUZZLES.get(sys.argv[1], sys.argv[1])
    if len(puzzle) != 81 or set(puzzle) - set("0123456789."):
        sys.exit("sudoku.py: a puzzle is 81 digits, or one of: " + ", ".join(PUZZLES))
    for region, entry in facts(puzzle):
        if "--clips" in sys.argv:
            print(f"({region} " + " ".join(f"({key} {value})" for key, value in entry.items()) + ")")
        else:
            print(json.dumps({"op": "insert", "region": region, "entry": entry}))


if __name__ == "__main__":
    main()
