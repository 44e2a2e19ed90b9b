"""The merge identity, for every kind of layer: W'x = Wx + s B (A x)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from fused_models import (
    DTYPES,
    SLACK,
    Folders,
    any_seed,
    step,
    wide,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from adapterops import Adapter, LowRank
from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.operations.fusion import fuse

# 6.2: the merge identity, for every kind of layer


class Kind(NamedTuple):
    """A base, the modules of an adapter for it, and where the (out, in) weight of each is."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    weights: dict[str, Callable[[dict[str, Tensor]], Tensor]]


def linear(random: Callable[..., Tensor]) -> Kind:
    return Kind(
        {"model.layers.0.q_proj.weight": random(7, 5)},
        {},
        {"layers.0.q_proj": lambda t: t["model.layers.0.q_proj.weight"]},
    )


def conv1d(random: Callable[..., Tensor]) -> Kind:
    shapes = {"h.0.attn.c_attn": (4, 12), "h.0.attn.c_proj": (4, 4), "h.0.mlp.c_fc": (4, 16), "h.0.mlp.c_proj": (16, 4)}
    return Kind(
        {f"transformer.{name}.weight": random(*shape) for name, shape in shapes.items()},
        {"model_type": "gpt2"},
        {f"transformer.{name}": lambda t, name=name: t[f"transformer.{name}.weight"].T for name in shapes},
    )


def fused_experts(turned: bool) -> Callable[[Callable[..., Tensor]], Kind]:
    E, H, I, place = 3, 5, 4, "model.layers.0.mlp.experts"  # noqa: E741  # the letters of the reference

    def expert(e: int, part: str) -> Callable[[dict[str, Tensor]], Tensor]:
        def weight(tensors: dict[str, Tensor]) -> Tensor:
            values = tensors[f"{place}.{'down' if part == 'down' else 'gate_up'}_proj"][e]
            matrix = values.T if turned else values
            return {"gate": matrix[:I], "up": matrix[I:], "down": matrix}[part]

        return weight

    def kind(random: Callable[..., Tensor]) -> Kind:
        shapes = {"gate_up_proj": (2 * I, H), "down_proj": (H, I)}
        modules = {f"{place}.{e}.{part}_proj": expert(e, part) for e in (0, 2) for part in ("gate", "up", "down")}
        tensors = {f"{place}.{name}": random(E, *(shape[::-1] if turned else shape)) for name, shape in shapes.items()}
        return Kind(tensors, {"model_type": "qwen3_moe"}, modules)

    return kind


def experts(random: Callable[..., Tensor]) -> Kind:
    parts = {"w1": (4, 5), "w2": (5, 4), "w3": (4, 5)}
    names = {
        f"model.layers.0.block_sparse_moe.experts.{e}.{part}": shape for e in (0, 1) for part, shape in parts.items()
    }
    return Kind(
        {f"{name}.weight": random(*shape) for name, shape in names.items()},
        {"model_type": "mixtral"},
        {name: lambda t, name=name: t[f"{name}.weight"] for name in names},
    )


def tied_head(random: Callable[..., Tensor]) -> Kind:
    config = {"model_type": "llama", "tie_word_embeddings": True}
    # before it is fused the head is the embedding
    head = {"lm_head": lambda t: t.get("lm_head.weight", t["model.embed_tokens.weight"])}
    return Kind({"model.embed_tokens.weight": random(9, 4), "model.norm.weight": random(4)}, config, head)


KINDS = {
    "linear": linear,
    "conv1d": conv1d,
    "experts by themselves": experts,
    "experts (out, in)": fused_experts(False),
    "experts (in, out)": fused_experts(True),
    "tied head": tied_head,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=8)
@given(any_seed, st.integers(1, 4), st.sampled_from([0.37, -2.0]))
def test_merge_identity(
    tmp_path_factory: Folders,
    kind: Callable[[Callable[..., Tensor]], Kind],
    dtype: str,
    seed: int,
    rank: int,
    scale: float,
) -> None:
    """(W0 + sBA) x = W0 x + s B (A x):
    each entry of W contributes at most half a step of its dtype, and what float32 loses.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(getattr(torch, FLOATS[dtype]))

    tensors, config, weights = kind(random)
    folder = tmp_path_factory.mktemp("identity")
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    updates = {}
    for module, weight in weights.items():
        out, into = weight(tensors).shape
        updates[module] = LowRank(
            torch.randn(out, rank, generator=generator), torch.randn(rank, into, generator=generator), scale
        )
    fused = dict(fuse(open_checkpoint(folder), Adapter.of(updates)).tensors)
    for module, weight in weights.items():
        W0, W = wide(weight(tensors)), wide(weight(fused))
        B, A = wide(updates[module].B), wide(updates[module].A)
        x = torch.randn(W.shape[1], generator=generator).double().numpy()
        loss = step(W, dtype) / 2 + SLACK["float32"] * (abs(W0) + abs(scale) * abs(B) @ abs(A))
        assert (
            abs(W @ x - (W0 @ x + scale * (B @ (A @ x)))) <= 1.01 * loss @ abs(x)
        ).all()  # of this test's own rounding: 1.01


@pytest.mark.parametrize("turned", [False, True])
@given(seed=any_seed)
@settings(max_examples=8)
def test_experts_without_an_adapter_keep_their_bits(tmp_path_factory: Folders, turned: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors, config, weights = fused_experts(turned)(lambda *shape: torch.randn(shape, generator=generator).bfloat16())
    folder = tmp_path_factory.mktemp("experts")
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    module = "model.layers.0.mlp.experts.2.up_proj"
    shape = weights[module](tensors).shape
    update = {module: LowRank(torch.ones(shape[0], 1), torch.ones(1, shape[1]))}
    fused = dict(fuse(open_checkpoint(folder), Adapter.of(update)).tensors)
    for name, weight in weights.items():
        assert torch.equal(weight(fused), weight(tensors)) == (name != module)
    assert torch.equal(
        fused["model.layers.0.mlp.experts.gate_up_proj"][1], tensors["model.layers.0.mlp.experts.gate_up_proj"][1]
    )
