"""Which rows of a weight are looked at: runs of neighbours, spread over it."""

from __future__ import annotations

ENTRIES = 1 << 16
"""Looked at of one weight."""

BLOCKS = 8
"""Runs of neighbouring rows that the rows looked at are in."""


def blocks(rows: range, width: int, entries: int) -> list[tuple[int, int]]:
    """Runs of rows spread evenly over a range, about `entries` numbers of so many columns; all where there are no more.

    >>> blocks(range(100), 10, 160)
    [(0, 2), (14, 16), (28, 30), (42, 44), (56, 58), (70, 72), (84, 86), (98, 100)]
    >>> blocks(range(4, 8), 10, 160)
    [(4, 8)]
    """
    height, wanted = rows.stop - rows.start, max(1, entries // width)
    if wanted >= height:
        return [(rows.start, rows.stop)]
    number = min(BLOCKS, wanted)
    each = wanted // number
    starts = [rows.start + i * (height - each) // max(1, number - 1) for i in range(number)]
    return [(start, start + each) for start in starts]


def widened(runs: list[tuple[int, int]], joint: int, height: int) -> list[tuple[int, int]]:
    """Runs of rows in their order as whole groups of so many, none of which is in two of them.

    >>> widened([(0, 2), (14, 16), (98, 99)], 8, 99), widened([(0, 2), (98, 99)], 99, 99)
    ([(0, 16), (96, 99)], [(0, 99)])
    """
    found: list[tuple[int, int]] = []
    for first, last in runs:
        begin, end = first // joint * joint, min(-(-last // joint) * joint, height)
        if found and begin <= found[-1][1]:
            begin, end = found[-1][0], max(end, found.pop()[1])
        found.append((begin, end))
    return found
