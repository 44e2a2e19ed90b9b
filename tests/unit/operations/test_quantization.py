"""Into a scheme and out of it, and the rules of rounding onto one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_base

from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.saving import save_checkpoint
from adapterops.errors import IncompatibleError, OptionError
from adapterops.operations.quantization import dequantize, quantize, rounding, viewed

NAME = "model.layers.0.q_proj.weight"


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(write_base(tmp_path / "base", out=64, into=64))


@pytest.fixture
def codes(base: Checkpoint, tmp_path: Path) -> Checkpoint:
    save_checkpoint(quantize(base, "nf4"), tmp_path / "codes")
    return open_checkpoint(tmp_path / "codes")


def test_linear_layers_alone_are_quantized_and_the_config_says_so(base: Checkpoint) -> None:
    found = quantize(base, "nf4", double_quant=True)
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in found.schemes} == {"q_proj", "v_proj"}
    assert found.config is not None
    assert found.config["quantization_config"]["bnb_4bit_use_double_quant"] is True
    with pytest.raises(OptionError):
        quantize(base, "int8", double_quant=True)


def test_there_and_back_is_within_the_steps_of_the_codes(base: Checkpoint, codes: Checkpoint) -> None:
    found = dequantize(codes)
    assert not found.schemes
    assert found.config
    assert found.config == {**(base.config or {}), "torch_dtype": found.config["torch_dtype"]}
    before, after = (each.stored[NAME].rows(0, 64, Scratch()) for each in (base, codes))
    assert np.abs(before - after).max() < 0.2 * np.abs(before).max()
    with pytest.raises(IncompatibleError, match="has no quantized weight"):
        dequantize(base)


def test_the_original_is_what_an_update_is_added_to(base: Checkpoint, codes: Checkpoint) -> None:
    found = viewed(codes, base)
    assert found.views.keys() == codes.schemes.keys()
    assert found.views[NAME].dtype == "BF16"


def test_a_rule_of_rounding_has_a_name(codes: Checkpoint) -> None:
    assert rounding(codes, "stochastic", 7).seed == 7
    assert rounding(codes, "nearest").rounding == "nearest"
    with pytest.raises(OptionError):
        rounding(codes, "upwards")
