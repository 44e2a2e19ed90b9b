"""Every program that trains adapters of image and video models, on every model: what it writes is read right, on a base in
either naming, or refused by name.

A file has several kinds of updates, one module after the other; each is computed here in float64 from the tensors as they
are stored. Where a base has the weights in another division, the entries are carried over by diffusers' own converters.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from image_models import EVERY, moved
from safetensors.torch import save_file
from torch import Tensor
from turns import in_turn

import adapterops as ao
from adapterops.errors import AdapterOpsError

pytest.importorskip("diffusers")

KOHYA, PEFT = ("lora_down.weight", "lora_up.weight"), ("lora_A.weight", "lora_B.weight")
OLD, DIFFSYNTH = ("lora.down.weight", "lora.up.weight"), ("lora_A.default.weight", "lora_B.default.weight")
TWICE = ("lora_A.default_0.default.weight", "lora_B.default_0.default.weight")
RANK = 2


class Program(NamedTuple):
    """How one spells its files.

    Attributes:
        names: whose names of weights it takes.
        start: what it puts before them; with underscores for dots where that ends with one.
        ends: of A and B.
        alpha: where it is: a tensor, the header, or nowhere, which is a scale of 1.
        kinds: of updates that it writes.
        end: what it puts after the name of a module.
    """

    names: str
    start: str
    ends: tuple[str, str]
    alpha: str = ""
    kinds: tuple[str, ...] = ("lora",)
    end: str = ""

    def key(self, name: str) -> str:
        flat = self.start.endswith("_")
        return self.start + (name.replace(".", "_") if flat else name) + self.end


ALL = ("lora", "dora", "loha", "lokr", "whole lokr", "diff")
PROGRAMS = {
    "kohya sd-scripts": Program("authors", "lora_unet_", KOHYA, "tensor", ("lora", "dora", "diff")),
    "kohya, names of diffusers": Program("diffusers", "lora_unet_", KOHYA, "tensor"),
    "kohya, an underscore at the end": Program("authors", "lora_unet_", KOHYA, "tensor", end="_"),
    "musubi-tuner": Program("authors", "lora_unet_", KOHYA, "tensor", ("lora", "loha", "lokr", "whole lokr")),
    "OneTrainer, legacy": Program("diffusers", "lora_transformer_", KOHYA, "tensor", ALL),
    "OneTrainer, diffusers": Program("diffusers", "transformer.", PEFT, "", ("lora", "dora")),
    "OneTrainer, original": Program("authors", "", PEFT, "tensor", ("lora", "dora")),
    "OneTrainer, ComfyUI": Program("authors", "diffusion_model.", PEFT, "tensor", ALL),
    "ai-toolkit": Program("authors", "diffusion_model.", PEFT, "", ("lora", "magnitude")),
    "ai-toolkit, names of diffusers": Program("diffusers", "diffusion_model.", PEFT),
    "ai-toolkit, LoKr": Program("authors", "diffusion_model.", PEFT, "tensor", ("lokr", "whole lokr")),
    "SimpleTuner": Program("diffusers", "transformer.", PEFT, "header"),
    "SimpleTuner, flat header": Program("diffusers", "transformer.", PEFT, "flat header"),
    "SimpleTuner of 2024": Program("diffusers", "transformer.base_model.model.", OLD),
    "SimpleTuner, LyCORIS": Program("diffusers", "lycoris_", KOHYA, "tensor", ("lokr", "whole lokr", "loha", "lora")),
    "LyCORIS": Program("authors", "lycoris_", KOHYA, "tensor", ALL),
    "DiffSynth": Program("authors", "", DIFFSYNTH),
    "DiffSynth, names of diffusers": Program("diffusers", "", DIFFSYNTH),
    "DiffSynth, the name twice": Program("authors", "", TWICE),
    "fal": Program("authors", "base_model.model.", PEFT),
    "diffusion-pipe": Program("authors", "diffusion_model.", PEFT),
    "diffusers, older": Program("diffusers", "transformer.", OLD),
    "bare names": Program("diffusers", "", PEFT, "tensor"),
}
SCALE = "does not state its scale"
REFUSED = {
    ("DiffSynth", "minimax_h3, adapters"): "interleaved head by head",
    **{(program, "ideogram4, adapters"): SCALE for program in ("DiffSynth", "DiffSynth, the name twice", "fal")},
}
"""Ideogram's names may be those of a language model's layers: that the scale is 1 is not in them."""

Parts = dict[str, Tensor]


def random(*shape: int) -> Tensor:
    return 0.3 * torch.randn(*shape)


def made(kind: str, program: Program, key: str, W: Tensor, number: int) -> tuple[Parts, Tensor]:
    """The tensors of a module, and what W becomes, as a matrix."""
    kernels = W.dim() > 2
    kind = "lora" if kernels and "lokr" in kind else kind
    out, into, start = len(W), W.flatten(1).shape[1], W.double().flatten(1)
    alpha = {"tensor": 1.0 + number % 3, "header": 6.0, "flat header": 6.0}.get(program.alpha, float(RANK))
    stated = {f"{key}.alpha": torch.tensor(alpha)} if program.alpha == "tensor" else {}
    scale = alpha / RANK
    if kind == "diff":
        return {f"{key}.diff": (change := random(*W.shape))}, start + change.double().flatten(1)
    if kind == "loha":
        a, b, c, d = random(out, RANK), random(RANK, into), random(out, RANK), random(RANK, into)
        tensors = dict(zip((f"{key}.hada_w{n}_{side}" for n in "12" for side in "ab"), (a, b, c, d), strict=True))
        return tensors | stated, start + scale * (a.double() @ b.double()) * (c.double() @ d.double())
    if "lokr" in kind:
        high, wide = (2 - size % 2 for size in (out, into))
        first, a, b = random(high, wide), random(out // high, RANK), random(RANK, into // wide)
        if kind == "lokr":
            tensors = {f"{key}.lokr_w1": first, f"{key}.lokr_w2_a": a, f"{key}.lokr_w2_b": b}
            return tensors | stated, start + scale * torch.kron(first.double(), a.double() @ b.double())
        second = random(out // high, into // wide)
        huge = {f"{key}.alpha": torch.tensor(1e10)}
        return {f"{key}.lokr_w1": first, f"{key}.lokr_w2": second} | huge, start + torch.kron(
            first.double(), second.double()
        )
    A, B = random(RANK, *W.shape[1:]), random(out, RANK, *(1,) * (W.dim() - 2))
    V = start + scale * (B.double().flatten(1) @ A.double().flatten(1))
    tensors = {f"{key}.{program.ends[0]}": A, f"{key}.{program.ends[1]}": B} | stated
    if kind == "lora":
        return tensors, V
    lengths = (V.norm(dim=1) * (1 + random(out).abs())).float()
    spelled = ("dora_scale", lengths.reshape(out, *(1,) * (W.dim() - 1))) if kind == "dora" else ("magnitude", lengths)
    return tensors | {f"{key}.{spelled[0]}": spelled[1]}, V * (lengths.double() / V.norm(dim=1))[:, None]


def header(program: Program) -> dict[str, str] | None:
    if program.alpha == "header":
        stated = {"transformer.r": RANK, "transformer.lora_alpha": 6}
        return {"lora_adapter_metadata": json.dumps(stated)}
    flat = {"transformer.lora_alpha": "6", "transformer.r": str(RANK)}
    return flat if program.alpha == "flat header" else None


@cache
def sides(model: str) -> dict[str, dict[str, Tensor]]:
    """The names of a model's weights in either naming; the numbers in them say which entry is which."""
    return dict(zip(("authors", "diffusers"), EVERY[model](), strict=True))


@pytest.mark.parametrize(("model", "name"), in_turn(EVERY, PROGRAMS, times=6))
def test_what_a_program_writes_for_a_model(tmp_path: Path, name: str, model: str) -> None:
    torch.manual_seed(0)
    program = PROGRAMS[name]
    own = sides(model)[program.names]
    before = {tensor: random(*ids.shape) for tensor, ids in own.items()}
    after, tensors = {}, {}
    for number, (tensor, W) in enumerate(before.items()):
        kind = program.kinds[number % len(program.kinds)]
        parts, becomes = made(kind, program, program.key(tensor.removesuffix(".weight")), W, number)
        tensors |= parts
        after[tensor] = becomes.reshape(W.shape)
    save_file(tensors, tmp_path / "a.safetensors", metadata=header(program))
    said = REFUSED.get((name, model))
    turn = list(PROGRAMS).index(name) + list(EVERY).index(model)
    side, there = list(sides(model).items())[turn % 2]  # the other one with the next program, and for the next model
    folder = tmp_path / side
    folder.mkdir()
    weights = moved({tensor: each.double() for tensor, each in before.items()}, own, there)
    save_file({tensor: each.float().contiguous() for tensor, each in weights.items()}, folder / "model.safetensors")
    if said:
        with pytest.raises(AdapterOpsError, match=said):
            ao.open_adapter(tmp_path / "a.safetensors")
        return
    fused = ao.fuse(ao.open_checkpoint(folder), ao.open_adapter(tmp_path / "a.safetensors"))
    found, wanted = fused.tensors, moved(after, own, there)
    for tensor, each in wanted.items():
        torch.testing.assert_close(
            found[tensor].double(), each, atol=1e-4, rtol=1e-4, msg=lambda m, n=f"{side}, {tensor}": f"{n}: {m}"
        )
