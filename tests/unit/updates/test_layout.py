"""What is known of an update from its shape, rank and dtype."""

from __future__ import annotations

import pytest

from adapterops.updates.layout import MAGNITUDE, Layout, magnitudes_of, widest


def test_parameters_entries_and_bytes() -> None:
    layout = Layout((30, 20), 4, "BF16")
    assert (layout.parameters, layout.entries, layout.bytes, layout.held) == (200, 600, 400, 800)
    assert Layout((30, 20), 4, "F32", dense=True).held == 2400
    assert Layout((30, 20), 4, "F32", working=7).held == 7
    assert (layout.needs_base, Layout((1, 1), 1, "F32", reads="rows").needs_base) == (False, True)


@pytest.mark.parametrize(
    ("dtypes", "widened"),
    [(["F16"], "F16"), (["BF16", "BF16"], "BF16"), (["BF16", "F16"], "F32"), (["F32", "F16"], "F32"), (["F64"], "F64")],
)
def test_what_holds_all(dtypes: list[str], widened: str) -> None:
    assert widest(dtypes) == widened


def test_a_vector_of_lengths_belongs_to_a_module() -> None:
    layout = {"a.q": Layout((2, 2), 1, "F32"), "a.q.m": Layout((1, 2), 1, "F32", kind=MAGNITUDE)}
    assert magnitudes_of(layout) == {"a.q.m": "a.q"}
