"""DoRA in two modules, where it is written: what is added, and its magnitude vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import config, factors, write_adapter
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.adapters.magnitudes import with_magnitudes
from adapterops.errors import UnsupportedError

MODULE = "diffusion_model.blocks.0.conv"


def dora(folder: Path, vector: tuple[int, ...], kernel: tuple[int, ...] = (3, 3)) -> Path:
    ones = (1,) * len(kernel)
    tensors = {
        f"{MODULE}.lora_A.weight": torch.randn(2, 4, *kernel),
        f"{MODULE}.lora_B.weight": torch.randn(6, 2, *ones),
        f"{MODULE}.dora_scale": 1 + torch.rand(vector),
    }
    save_file(tensors, folder / "a.safetensors")
    return folder / "a.safetensors"


@pytest.mark.parametrize(
    ("vector", "name"),
    [((6, 1, 1, 1), f"{MODULE}.lora_magnitude_vector"), ((1, 4, 1, 1), f"{MODULE}.dora_scale")],
)
def test_what_is_written_has_the_vector_as_it_was(tmp_path: Path, vector: tuple[int, ...], name: str) -> None:
    source = dora(tmp_path, vector)
    adapter = with_magnitudes(ao.open_adapter(source))
    assert list(adapter.layout) == [MODULE, name]
    stated = load_file(source)[f"{MODULE}.dora_scale"]
    np.testing.assert_array_equal(adapter.updates[name].dense()[0], stated.flatten().numpy())
    saved = ao.save_adapter(ao.open_adapter(source), tmp_path / "out", dtype="F64")
    assert list(saved.modules) == [MODULE]
    written = load_file(tmp_path / "out/lora.safetensors")[f"{MODULE}.dora_scale"]
    torch.testing.assert_close(written, stated.double(), rtol=0, atol=0)


def test_what_was_done_to_it_is_not_written(tmp_path: Path) -> None:
    adapter = 1.0 * ao.open_adapter(dora(tmp_path, (6, 1, 1, 1)))
    with pytest.raises(UnsupportedError, match="is DoRA, which depends on the weight"):
        ao.save_adapter(adapter, tmp_path / "out")


@pytest.mark.parametrize("form", ["peft", "diffusers"])
def test_one_of_inputs_is_kohya_s_and_comfy_s_alone(tmp_path: Path, form: str) -> None:
    with pytest.raises(UnsupportedError, match="by inputs"):
        ao.save_adapter(ao.open_adapter(dora(tmp_path, (1, 4, 1, 1))), tmp_path / "out", format=form)


@pytest.mark.parametrize("form", ["peft", "mlx"])
def test_peft_and_mlx_have_one_of_every_module(tmp_path: Path, form: str) -> None:
    vector = {"base_model.model.layers.0.q_proj.lora_magnitude_vector": torch.ones(12)}
    write_adapter(tmp_path / "a", {**factors(["layers.0.q_proj"]), **vector}, config(2, use_dora=True))
    plain = {
        key.replace("base_model.model.", "diffusion_model."): each for key, each in factors(["layers.0.q_proj"]).items()
    }
    more = {key.replace("q_proj", "v_proj"): each.clone() for key, each in plain.items()}
    save_file(
        {**plain, **more, "diffusion_model.layers.0.q_proj.dora_scale": torch.ones(12, 1)}, tmp_path / "b.safetensors"
    )
    ao.save_adapter(ao.open_adapter(tmp_path / "a"), tmp_path / "one", dtype="F64", format=form)
    with pytest.raises(UnsupportedError, match="no magnitude vector"):
        ao.save_adapter(ao.open_adapter(tmp_path / "b.safetensors"), tmp_path / "out", format=form)
