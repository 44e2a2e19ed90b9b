"""The table of names that programs find: it knows the names of models as their authors and diffusers have them."""

from __future__ import annotations

import inspect
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
    "Stable Diffusion 1 or Stable Diffusion 2 in diffusers' names": ALIKE["Stable Diffusion 1.5"],
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
        assert all(re.search(names.has, f"{root}_0_0_x") or root in names.has for root in names.last)


def test_names_by_the_authors_and_in_diffusers_are_of_one_model() -> None:
    own = {each.model: each for each in NAMES}
    assert own["Flux"].is_of(own["Flux in diffusers' names"])
    assert own["Mochi"].is_of(own["Mochi, Sana or CogVideoX in diffusers' names"])
    assert not own["Flux"].is_of(own["FLUX.2 in diffusers' names"])


LAYERS = {
    "Flux in diffusers' names": ("FluxTransformer2DModel", ("num_layers", "num_single_layers")),
    "FLUX.2 in diffusers' names": ("Flux2Transformer2DModel", ("num_layers", "num_single_layers")),
    "HunyuanVideo in diffusers' names": ("HunyuanVideoTransformer3DModel", ("num_layers", "num_single_layers")),
    "HunyuanVideo 1.5 in diffusers' names": ("HunyuanVideo15Transformer3DModel", ("num_layers",)),
    "Qwen-Image": ("QwenImageTransformer2DModel", ("num_layers",)),
    "Z-Image in diffusers' names": ("ZImageTransformer2DModel", ("n_layers",)),
    "Lumina 2 in diffusers' names": ("Lumina2Transformer2DModel", ("num_layers",)),
    "OmniGen 2": ("OmniGenTransformer2DModel", ("num_layers",)),
    "Wan": ("WanTransformer3DModel", ("num_layers",)),
    "PixArt in diffusers' names": ("PixArtTransformer2DModel", ("num_layers",)),
    "LTX": ("LTXVideoTransformer3DModel", ("num_layers",)),
}


@pytest.mark.parametrize("model", LAYERS)
def test_the_last_blocks_are_those_of_the_models_that_diffusers_makes(model: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    made, counts = LAYERS[model]
    given = inspect.signature(getattr(diffusers, made).__init__).parameters
    last = next(names.last for names in NAMES if names.model == model)
    assert len(last) == len(counts)
    for numbers, count in zip(last.values(), counts, strict=True):
        assert given[count].default - 1 in numbers
