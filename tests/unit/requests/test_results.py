"""The adapter that a request asks for, cut as its output is to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import write_adapter

from adapterops.adapters.adapter import Adapter
from adapterops.expressions.expression import parse
from adapterops.requests.fields import Input, Output
from adapterops.requests.places import Opened
from adapterops.requests.request import Request
from adapterops.requests.results import result


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    from adapterops.adapters.opening import open_adapter

    return Opened({name: open_adapter(write_adapter(tmp_path / name, seed=ord(name))) for name in "ab"}, {})


def request(text: str, **output: Any) -> Request:
    return Request({name: Input(name) for name in "ab"}, parse(text, ["a", "b"]), output=Output(**output))


def test_an_expression_is_computed_and_cut(opened: Opened) -> None:
    whole, cut = result(request("2*a - b"), opened), result(request("2*a - b", rank=1), opened)
    assert isinstance(whole, Adapter)
    assert isinstance(cut, Adapter)
    for module, update in whole.updates.items():
        a, b = (each.updates[module].dense() for each in opened.adapters.values())
        np.testing.assert_allclose(update.dense(), 2 * a - b, atol=1e-6)
        best = np.linalg.svd(update.dense(), compute_uv=False)[0]
        assert np.linalg.norm(cut.updates[module].dense(), 2) == pytest.approx(best, rel=1e-5)
        assert cut.layout[module].rank == 1
