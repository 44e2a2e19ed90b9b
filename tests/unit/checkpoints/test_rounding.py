"""Rounding to nearest on a grid of codes is refused, and so is an original that is another model."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from corpus import write_adapter
from safetensors.torch import save_file

import adapterops as ao
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.rounding import check_rounding, check_views
from adapterops.errors import AdapterOpsError, AdapterWarning, IncompatibleError, OptionError

Q, SHAPE = "layers.0.q_proj", (64, 128)
WEIGHT = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def model(folder: Path, weight: torch.Tensor) -> Checkpoint:
    folder.mkdir()
    save_file({f"{Q}.weight": weight}, folder / "model.safetensors")
    return ao.open_checkpoint(folder)


@pytest.fixture
def coded(tmp_path: Path) -> Checkpoint:
    """A weight in NF4, and an adapter of it."""
    ao.save_checkpoint(ao.quantize(model(tmp_path / "full", WEIGHT), "nf4"), tmp_path / "base")
    adapter = write_adapter(tmp_path / "a", modules=[Q], out=SHAPE[0], into=SHAPE[1])
    return ao.fuse(ao.open_checkpoint(tmp_path / "base"), ao.open_adapter(adapter))


def test_nearest_has_to_be_asked_for(coded: Checkpoint) -> None:
    with pytest.raises(OptionError, match="1 adapted weight of the base stored in nf4") as caught:
        check_rounding(coded)
    assert caught.value.code == "E-GRID"
    assert "--quantize nf4" in str(caught.value.hint)
    for rounding in ("nearest", "stochastic"):
        check_rounding(replace(coded, rounding=rounding))


def test_calibrated_needs_what_each_weight_takes_in(coded: Checkpoint) -> None:
    with pytest.raises(IncompatibleError, match="1 adapted weight in codes without a Gram matrix") as caught:
        check_rounding(replace(coded, rounding="calibrated"))
    assert (caught.value.tensor, caught.value.code) == (f"{Q}.weight", "E-NAMES")


@pytest.mark.parametrize(
    ("scale", "noise", "expected"),
    [(1.0, 0.0, None), (1.0, 0.2, AdapterWarning), (3.0, 0.0, IncompatibleError), (0.0, 1.0, IncompatibleError)],
    ids=["the model itself", "a relative", "three times it", "another"],
)
def test_an_original_is_the_model_that_was_quantized(
    coded: Checkpoint, tmp_path: Path, scale: float, noise: float, expected: type[Exception] | None
) -> None:
    other = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    original = model(tmp_path / "original", scale * WEIGHT + noise * other)
    viewed = replace(coded, views={f"{Q}.weight": original.stored[f"{Q}.weight"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            check_views(viewed)
            found = None
        except (AdapterWarning, AdapterOpsError) as error:
            found = type(error)
    assert found is expected
