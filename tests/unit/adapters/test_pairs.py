"""The two adapters of Wan 2.2 are not added to one model without a word."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import adapterops as ao


def opened(path: Path, prefix: str = "diffusion_model.") -> ao.Adapter:
    module = f"{prefix}blocks.0.self_attn.q"
    save_file({f"{module}.lora_A.weight": torch.ones(2, 4), f"{module}.lora_B.weight": torch.ones(4, 2)}, path)
    return ao.open_adapter(path)


@pytest.mark.parametrize("names", [("wan_high_noise", "wan_low_noise"), ("Style-HIGH", "Style-Low")])
def test_a_pair_is_named(tmp_path: Path, names: tuple[str, str]) -> None:
    adapters = [opened(tmp_path / f"{each}.safetensors") for each in names]
    with pytest.warns(ao.AdapterWarning, match="two adapters of a pair"):
        ao.merge(adapters)
    with pytest.warns(ao.AdapterWarning, match=names[1]):
        adapters[0] + adapters[1]


def test_others_are_not(tmp_path: Path) -> None:
    adapters = [opened(tmp_path / f"{each}.safetensors") for each in ("high_noise", "style_low", "low_noise_v2")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ao.merge(adapters)
        ao.merge([adapters[0], adapters[0]])
