"""How the values of options are read."""

from __future__ import annotations

import click
import pytest

from adapterops.cli import values
from adapterops.hub.references import Reference


@pytest.mark.parametrize("text", ["F32", "f32", "float32", "Float32"])
def test_a_dtype_as_anybody_spells_it(text: str) -> None:
    assert values.DType().convert(text, None, None) == "F32"


def test_what_is_no_dtype() -> None:
    with pytest.raises(click.BadParameter, match="bfloat16"):
        values.DType().convert("int7", None, None)


def test_a_repository() -> None:
    assert values.REPO.convert("me/a@v2", None, None) == Reference("me/a", "v2")
    with pytest.raises(click.BadParameter, match="is not a repository"):
        values.REPO.convert("./a", None, None)
