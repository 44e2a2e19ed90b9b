"""Tables: every row as long as its header, and the arithmetic of sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from known_spectra import FALLING, MODULES, SHAPE, SLOW, adapter

from adapterops.operations.comparing.comparison import Comparison, compare
from adapterops.reports.rows import cut_rows, module_rows, pair_rows, size_rows, summary_rows


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare([adapter(1, SLOW), adapter(2, FALLING)])


def test_rows_are_as_long_as_headers(comparison: Comparison) -> None:
    with_base = replace(comparison, weights=dict.fromkeys(MODULES, 1.0))
    for each in (comparison, with_base):
        for header, rows in (
            summary_rows(each),
            pair_rows(each),
            size_rows(each),
            cut_rows(each),
            module_rows(each, 1),
        ):
            assert rows
            assert {len(row) for row in rows} == {len(header)}
    assert "of W0" in summary_rows(with_base)[0]
    assert "of W0" not in summary_rows(comparison)[0]


def test_one_row_for_each(comparison: Comparison) -> None:
    assert [row[0] for row in module_rows(comparison, 0)[1]] == list(comparison.profiles[0].spectra)
    assert len(summary_rows(comparison)[1]) == 2
    assert summary_rows(comparison)[1][1][0] == "2 (memory) (2)"
    assert len(pair_rows(comparison)[1]) == 1


def test_parameters_are_counted(comparison: Comparison) -> None:
    rows = {name: parameters for name, parameters, *_ in size_rows(comparison)[1]}
    assert rows["(memory) (1)"] == f"{len(MODULES) * 8 * sum(SHAPE):,}"
    assert rows["weights, 16 bits"] == f"{len(MODULES) * SHAPE[0] * SHAPE[1]:,}"
