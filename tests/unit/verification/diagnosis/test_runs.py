"""Rows that are looked at: spread over a weight, and in whole groups."""

from __future__ import annotations

import pytest

from adapterops.verification.diagnosis.runs import blocks, widened


@pytest.mark.parametrize(("height", "width", "entries"), [(1000, 64, 4096), (7, 10**6, 10), (5, 5, 10**6)])
def test_blocks_are_within_and_about_as_many(height: int, width: int, entries: int) -> None:
    found = blocks(range(height), width, entries)
    rows = [row for begin, end in found for row in range(begin, end)]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(height))
    assert len(rows) * width <= max(entries, width)
    assert {0, height - 1} <= set(rows) or len(rows) == 1


def test_groups_hold_every_row_that_is_looked_at() -> None:
    runs = blocks(range(1000), 8, 1600)
    found = widened(runs, 32, 1000)
    rows = [row for begin, end in found for row in range(begin, end)]
    assert len(set(rows)) == len(rows)
    assert {row for begin, end in runs for row in range(begin, end)} <= set(rows)
    assert all(begin % 32 == 0 and (end % 32 == 0 or end == 1000) for begin, end in found)
