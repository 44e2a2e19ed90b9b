"""The table of models: nothing in it is there twice, or stands for itself."""

from __future__ import annotations

import pytest

from adapterops.formats.diffusion.flat import flat
from adapterops.formats.diffusion.models import FIRST_ROWS, MODELS, XLABS


@pytest.mark.parametrize("model", MODELS)
def test_names_are_flat_and_differ(model: str) -> None:
    renamed, joined, exchanged = MODELS[model]
    names = [*renamed, *renamed.values(), *(name for each in joined for name in (each.whole, *each.parts))]
    names += exchanged
    assert {*exchanged}.isdisjoint(renamed.values())
    assert all("." not in name and name.count("#") < 2 for name in names)
    assert len(set(renamed.values())) == len(renamed)
    assert all(one != other for one, other in renamed.items())


def test_names_of_xlabs_are_of_flux() -> None:
    assert {flat(name).key for name in (*XLABS, *FIRST_ROWS)} == {*XLABS, *FIRST_ROWS}
