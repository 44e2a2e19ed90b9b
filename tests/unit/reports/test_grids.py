"""Rows are layers, columns are kinds of modules; names that end alike stay different."""

from __future__ import annotations

from adapterops.operations.comparing.kinds import kinds
from adapterops.reports.figures import brief
from adapterops.reports.grids import grid, places

BERT = [
    f"encoder.layer.{layer}.{path}"
    for layer in (10, 2)
    for path in ("attention.output.dense", "intermediate.dense", "output.dense", "attention.self.query")
]


def test_layers_are_in_their_order_and_kinds_that_end_alike_are_told_from_each_other() -> None:
    found = places([*BERT, "classifier"], kinds([*BERT, "classifier"]))
    assert [row for row, _ in found] == ["2"] * 4 + ["10"] * 4 + ["-"]
    assert {kind for _, kind in found} == {
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
        "query",
        "classifier",
    }
    assert all(len(modules) == 1 for modules in found.values())


def test_a_cell_without_a_number_is_empty() -> None:
    figure = grid("n", "t", "c", {("0", "a"): 1.0, ("1", "b"): 2.0}, (0.0, 2.0), brief)
    assert figure.rows == ["0", "1"]
    assert figure.values == [[1.0, None], [None, 2.0]]
