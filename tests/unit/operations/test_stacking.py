"""Which tensors are layers, and whose the others are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mergekit_models import CONFIG, tensors, write
from safetensors.numpy import save_file

from adapterops import open_checkpoint
from adapterops.errors import IncompatibleError, OptionError, UnsupportedError
from adapterops.operations.stacking import Slice, stack


@pytest.fixture
def two(tmp_path: Path) -> list[Any]:
    return [open_checkpoint(write(tmp_path / name, name)) for name in ("chat", "code")]


def test_what_is_before_the_layers_is_the_first_s_and_what_is_after_them_the_last_s(two: list[Any]) -> None:
    one, other = two
    found = stack([Slice(one, 1, 3), Slice(other, 0, 1), Slice(one, 2, 3), Slice(other, 2, 3)])
    assert found.config is not None
    assert found.config["num_hidden_layers"] == 5
    ours, theirs = tensors("chat"), tensors("code")
    whence = [(ours, 1), (ours, 2), (theirs, 0), (ours, 2), (theirs, 2)]
    for number, (model, layer) in enumerate(whence):
        name = "model.layers.{}.mlp.down_proj.weight"
        assert np.array_equal(found.tensors[name.format(number)].numpy(), model[name.format(layer)])
    for name, model in (("model.embed_tokens.weight", ours), ("model.norm.weight", theirs), ("lm_head.weight", theirs)):
        assert np.array_equal(found.tensors[name].numpy(), model[name])
    assert len(found.layout) == 3 + 5 * 9


def test_lists_of_the_config_go_along_with_their_layers(tmp_path: Path) -> None:
    write(tmp_path / "one", "chat")
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    (tmp_path / "one/config.json").write_text(json.dumps({**CONFIG, "layer_types": kinds}))
    one = open_checkpoint(tmp_path / "one")
    found = stack([Slice(one, 1, 3), Slice(one, 1, 2)])
    assert (found.config or {})["layer_types"] == [kinds[1], kinds[2], kinds[1]]
    other = open_checkpoint(write(tmp_path / "two", "code"))
    with pytest.raises(IncompatibleError, match="no layer_types for each"):
        stack([Slice(one, 0, 1), Slice(other, 0, 1)])


def test_what_does_not_fit_is_refused(two: list[Any], tmp_path: Path) -> None:
    one, other = two
    with pytest.raises(OptionError, match="no layers to stack"):
        stack([])
    with pytest.raises(OptionError, match="the model has 3"):
        stack([Slice(one, 0, 4)])
    for name, change in (
        ("more", {"extra.weight": np.ones((2, 2), np.float32)}),
        ("wider", {"model.norm.weight": np.ones(8, np.float32)}),
        ("towers", {"vision.layers.0.weight": np.ones((2, 2), np.float32)}),
    ):
        write(tmp_path / name, "chat")
        save_file({**tensors("chat"), **change}, tmp_path / name / "model.safetensors")
    more, wider, towers = (open_checkpoint(tmp_path / name) for name in ("more", "wider", "towers"))
    with pytest.raises(IncompatibleError, match=r"extra\.weight: is not there"):
        stack([Slice(more, 0, 1), Slice(other, 0, 1)])
    with pytest.raises(IncompatibleError, match="the models have different sizes"):
        stack([Slice(one, 0, 1), Slice(wider, 0, 1)])
    with pytest.raises(UnsupportedError, match=r"model\.layers, vision\.layers"):
        stack([Slice(towers, 0, 1)])
