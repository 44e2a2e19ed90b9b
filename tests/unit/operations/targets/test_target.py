"""Rows and columns of a target, of its tensor and of its update."""

from __future__ import annotations

from adapterops.operations.targets.target import Target


def test_what_a_target_covers_of_some_rows_and_of_its_update() -> None:
    found = Target("t", "m", "m.part", (4, 3), row=10, column=2, first=100)
    assert found.within(0, 10) is None
    assert found.within(14, 20) is None
    part = found.within(8, 12)
    assert part == (slice(2, 4), slice(2, 5))
    assert found.own(8, part) == (slice(100, 102), slice(0, 3))
    part = found.within(11, 30)
    assert part == (slice(0, 3), slice(2, 5))
    assert found.own(11, part) == (slice(101, 104), slice(0, 3))
