"""A module as it is stored: its numbers are in the dtype of the output, and what that moved is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus import MODULES, write_adapter

import adapterops as ao
from adapterops.adapters.factors import factored
from adapterops.adapters.planning import arrangement
from adapterops.errors import IncompatibleError


def test_factors_of_a_module(tmp_path: Path) -> None:
    adapter = ao.open_adapter(write_adapter(tmp_path / "a"))
    found = factored(adapter, arrangement(adapter, "F32", None), exact=False)(MODULES[0])
    dense = adapter.updates[MODULES[0]].dense()
    assert np.allclose(found.B.astype(float) @ found.A.astype(float), dense, rtol=1e-6, atol=1e-6)
    assert np.isclose(found.norm, np.linalg.norm(dense))
    assert (found.error, found.rounding < 1e-6) == (0, True)


def test_a_number_that_does_not_fit(tmp_path: Path) -> None:
    adapter = 1e9 * ao.open_adapter(write_adapter(tmp_path / "a"))
    with pytest.raises(IncompatibleError, match="dtype F32") as caught:
        factored(adapter, arrangement(adapter, "F16", None), exact=False)(MODULES[0])
    assert caught.value.tensor == MODULES[0]
