"""What is said of a saved adapter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import adapterops as ao
from adapterops.adapters.saved import Saved, SavedModule


def test_rounding_over_all_modules_is_weighted_by_their_norms() -> None:
    modules = {
        "a": SavedModule(1, 3.0, 1.0, 0.1),
        "b": SavedModule(1, 4.0, 1.0, 0.0),
        "c": SavedModule(1, float("inf"), 1.0, 0.5),
    }
    saved = Saved(Path("out"), modules, (), 0, 1.0)
    assert saved.rounding == pytest.approx(0.3 / 5)


def test_of_nothing_nothing_was_rounded() -> None:
    assert Saved(Path("out"), {}, (), 0, 1.0).rounding == 0


def test_norms_are_missing_where_all_is_kept_and_measured_where_something_is_lost(tmp_path: Path) -> None:
    exact, moved = (ao.LowRank(np.float32([[x], [2 * x]]), np.float32([[3 * x, 4 * x]])) for x in (1, 1.1))
    kept = ao.save_adapter(ao.Adapter.of({"a": exact}), tmp_path / "kept", dtype="BF16", norms=False)
    assert kept.modules["a"].norm is None
    assert (kept.rounding, kept.energy) == (0, 1)
    both = ao.Adapter.of({"a": exact, "b": moved})
    plain, asked = (ao.save_adapter(both, tmp_path / str(norms), dtype="BF16", norms=norms) for norms in (False, True))
    assert plain == type(plain)(**{**vars(asked), "path": plain.path})
    assert plain.modules["a"].norm == pytest.approx(np.linalg.norm(exact.dense()))
    assert plain.rounding > 0
