"""Rows of heads in the model's order, whatever says how many heads there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_files import LLAMA, factors, permuted, write
from safetensors.numpy import save_file

import adapterops as ao
from adapterops.errors import IncompatibleError
from adapterops.operations.targets.heads import halved, in_order

Q, K = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_it_is_the_inverse_of_the_converters(heads: int) -> None:
    B = np.random.default_rng(0).standard_normal((12 * heads, 3))
    np.testing.assert_array_equal(halved(permuted(B, heads), heads), B)


def checkpoint(folder: Path, config: dict[str, Any]) -> ao.Checkpoint:
    folder.mkdir()
    zeros = {f"{module}.weight": np.zeros(shape, np.float32) for module, shape, _ in LLAMA.values()}
    save_file(zeros, folder / "model.safetensors", {"format": "pt"})
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return ao.open_checkpoint(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 4, "num_key_value_heads": 2},
        {"model_type": "llava", "text_config": {"num_attention_heads": 4, "num_key_value_heads": 2}},
    ],
    ids=["of the model", "of the language model in it"],
)
def test_the_config_says_how_many_there_are(config: dict[str, Any], tmp_path: Path) -> None:
    adapter = ao.open_adapter(write(tmp_path / "a.gguf", 0.0))
    ordered = in_order(adapter, checkpoint(tmp_path / "base", config))
    assert not ordered.interleaved
    for module in (Q, K):
        A, B = factors()[module]
        np.testing.assert_allclose(ordered.updates[module].dense(), B @ A, rtol=1e-5, atol=1e-5)
    assert in_order(ordered, checkpoint(tmp_path / "again", {})) is ordered


def test_without_key_value_heads_there_are_as_many_as_of_queries(tmp_path: Path) -> None:
    adapter = ao.open_adapter(write(tmp_path / "a.gguf", 0.0))
    ordered = in_order(adapter, checkpoint(tmp_path / "base", {"num_attention_heads": 4}))
    A, B = factors()[K]
    np.testing.assert_allclose(ordered.updates[K].dense(), halved(permuted(B, 2), 4) @ A, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "found"),
    [({}, "does not say it"), ({"num_attention_heads": 5}, "says 5"), ({"num_attention_heads": "4"}, "says '4'")],
)
def test_what_the_config_does_not_say_is_refused(config: dict[str, Any], found: str, tmp_path: Path) -> None:
    adapter = ao.open_adapter(write(tmp_path / "a.gguf"))
    base = checkpoint(tmp_path / "base", config)
    for attempt in (in_order, ao.named_as, lambda adapter, base: ao.fuse(base, adapter)):
        with pytest.raises(IncompatibleError, match=found) as raised:
            attempt(adapter, base)
        assert raised.value.tensor in (Q, K)
        assert "config.json" in str(raised.value)


def test_without_a_base_it_is_neither_combined_nor_saved(tmp_path: Path) -> None:
    adapter = ao.open_adapter(write(tmp_path / "a.gguf"))
    for attempt in (
        lambda: adapter + adapter,
        lambda: ao.merge([adapter, adapter], "ties"),
        lambda: ao.merge([adapter], "ties"),
        lambda: ao.compare([adapter, adapter]),
        lambda: ao.save_adapter(adapter, tmp_path / "out"),
        lambda: ao.save_adapter(0.5 * adapter, tmp_path / "out"),
        lambda: ao.save_adapter(ao.normalize(adapter), tmp_path / "out"),
        lambda: ao.save_adapter(ao.truncate(adapter, rank=2), tmp_path / "out"),
        lambda: ao.save_adapter(ao.select(adapter, "*q_proj"), tmp_path / "out"),
    ):
        with pytest.raises(IncompatibleError, match=r"llama\.cpp's order") as raised:
            attempt()
        assert "--base" in str(raised.value)


def test_the_architecture_of_an_adapter_is_that_of_the_base(tmp_path: Path) -> None:
    adapter = ao.open_adapter(write(tmp_path / "a.gguf", 0.0))
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    with pytest.raises(IncompatibleError, match="'llama', and the base is of the type 'qwen3_moe'"):
        in_order(adapter, checkpoint(tmp_path / "qwen", {"model_type": "qwen3_moe", **heads}))
    for stated in ("deepseek_v2", "deepseek_v3"):
        with pytest.raises(IncompatibleError, match=r"which llama\.cpp has as 'deepseek2'"):
            in_order(adapter, checkpoint(tmp_path / stated, {"model_type": stated, **heads}))
    for stated in ("mistral", "another"):
        assert not in_order(adapter, checkpoint(tmp_path / stated, {"model_type": stated, **heads})).interleaved
