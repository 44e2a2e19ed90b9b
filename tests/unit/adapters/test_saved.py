"""What is said of a saved adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterops.adapters.saved import Kept, Saved


def test_rounding_over_all_modules_is_weighted_by_their_norms() -> None:
    modules = {"a": Kept(1, 3.0, 1.0, 0.1), "b": Kept(1, 4.0, 1.0, 0.0), "c": Kept(1, float("inf"), 1.0, 0.5)}
    saved = Saved(Path("out"), modules, (), 0, 1.0)
    assert saved.rounding == pytest.approx(0.3 / 5)


def test_of_nothing_nothing_was_rounded() -> None:
    assert Saved(Path("out"), {}, (), 0, 1.0).rounding == 0
