"""Shapes of magnitude vectors, and what no format of one for each module can hold."""

from __future__ import annotations

import pytest

from adapterops.errors import UnsupportedError
from adapterops.formats.magnitudes import of_outputs
from adapterops.updates.layout import BY_INPUTS, BY_OUTPUTS, MAGNITUDE, Layout

LINEAR, CONV = Layout((6, 4), 2, "F32"), Layout((6, 36), 2, "F32", kernel=(4, 3, 3))


def vector(count: int, *ones: int) -> Layout:
    return Layout((1, count), 1, "F32", True, MAGNITUDE, kernel=ones)


def test_shapes() -> None:
    layout = {"q": LINEAR, f"q.{BY_OUTPUTS}": vector(6), "c": CONV, f"c.{BY_OUTPUTS}": vector(6, 1, 1)}
    assert of_outputs(layout) == {f"q.{BY_OUTPUTS}": ("q", (6,)), f"c.{BY_OUTPUTS}": ("c", (1, 6, 1, 1))}
    assert of_outputs({"q": LINEAR}) == {}


def test_of_embeddings_the_columns_are_outputs() -> None:
    layout = {"words": LINEAR, f"words.{BY_INPUTS}": vector(4)}
    assert of_outputs(layout, ["words"]) == {f"words.{BY_INPUTS}": ("words", (4,))}
    with pytest.raises(UnsupportedError, match="by inputs"):
        of_outputs(layout)


def test_all_or_none() -> None:
    with pytest.raises(UnsupportedError, match="has no magnitude vector") as caught:
        of_outputs({"q": LINEAR, f"q.{BY_OUTPUTS}": vector(6), "k": LINEAR})
    assert caught.value.tensor == "k"
