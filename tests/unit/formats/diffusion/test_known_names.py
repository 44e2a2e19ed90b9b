"""The table of names that programs find: it knows the names of models as their authors and diffusers have them."""

from __future__ import annotations

import re

import pytest
from image_models import ALIKE, HUNYUAN_DIT, flux

from adapterops.formats.diffusion.flat import flat
from adapterops.formats.diffusion.known_names import NAMES

FLUX = flux()
KNOWN = {
    "Flux": [*FLUX],
    "Flux in diffusers' names": [part for parts in FLUX.values() for part in parts],
    "Qwen-Image": ALIKE["Qwen-Image"],
    "Stable Diffusion in diffusers' names": ALIKE["Stable Diffusion 1.5"],
    "HunyuanDiT": [name for name in HUNYUAN_DIT if ".attn" in name],
    "HiDream": [name for name in ALIKE["HiDream"] if "stream" in name],
}


@pytest.mark.parametrize("model", KNOWN)
def test_names_of_models(model: str) -> None:
    (names,) = (each for each in NAMES if each.model == model)
    assert [each for each in KNOWN[model] if not re.fullmatch(names.has, flat(each).key)] == []


def test_each_model_is_there_once() -> None:
    assert len({each.model for each in NAMES}) == len(NAMES)
    for names in NAMES:
        assert all(root in names.has for root in names.last)
        assert names.stops or not names.every
