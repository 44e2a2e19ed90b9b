"""Faults planted in kinds of updates, and in where layouts have their rows: `verify` finds them all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
import torch
from corpus import write_adapter
from mutations import (
    LAYER,
    LLAMA,
    WIDTH,
    Case,
    Plant,
    check,
    folder,
    llama,
    lora,
    opened,
    pairs,
    planted,
    put,
    random,
    renamed,
    table,
    wrapped,
)

from adapterops.updates.lowrank import LowRank
from adapterops.updates.rotation import Rotation

Q = f"{LAYER}self_attn.q_proj"
KEY = f"base_model.model.{Q}"


def of_kind(name: str, tensors: dict[str, torch.Tensor], **fields: Any) -> Callable[[Path], Case]:
    """An adapter of the query of the first layer."""

    def make(place: Path) -> Case:
        adapter = write_adapter(place / "a", tensors, {"target_modules": ["q_proj"], **fields})
        return opened(folder(place / "base", llama(), **LLAMA), adapter)

    make.__name__ = name
    return make


BOFT = {f"{KEY}.boft_R": random(1, 2, 4, 8, 8) / 4, f"{KEY}.boft_s": random(2, WIDTH, 1).abs() + 0.5}
VERA = {
    f"{KEY}.vera_lambda_b": random(1, WIDTH),
    f"{KEY}.vera_lambda_d": random(2, 4),
    "base_model.vera_A": random(3, 4, WIDTH),
    "base_model.vera_B": random(4, WIDTH, 4),
}
FACTORS = {f"{KEY}.lora_A.weight": random(1, 4, WIDTH) / 4, f"{KEY}.lora_B.weight": random(2, WIDTH, 4) / 4}
QALORA = {**FACTORS, f"{KEY}.lora_A.weight": random(1, 4, WIDTH // 4) / 4}
STATED = {"peft_type": "LORA", "r": 4, "lora_alpha": 6}

ia3 = of_kind("ia3", {f"{KEY}.ia3_l": random(1, WIDTH, 1)}, peft_type="IA3", feedforward_modules=[])
ia3_inputs = of_kind(
    "ia3 of inputs", {f"{KEY}.ia3_l": random(1, 1, WIDTH)}, peft_type="IA3", feedforward_modules=["q_proj"]
)
oft = of_kind(
    "oft",
    {f"{KEY}.oft_R.weight": random(1, 4, 28) / 4},
    peft_type="OFT",
    oft_block_size=8,
    r=0,
    use_cayley_neumann=False,
)
boft = of_kind("boft", BOFT, peft_type="BOFT", boft_block_size=8, boft_n_butterfly_factor=2)
vera = of_kind("vera", VERA, peft_type="VERA", r=4)
qalora = of_kind("qalora", QALORA, **STATED, use_qalora=True, qalora_group_size=4)
pissa = of_kind("pissa", FACTORS, **STATED, init_lora_weights="pissa")
olora = of_kind("olora", FACTORS, **STATED, init_lora_weights="olora")


def replicated(place: Path) -> Case:
    """A copy of the first layer has an update of its own."""
    modules = {f"model.layers.{layer}.self_attn.q_proj": (WIDTH, WIDTH) for layer in range(3)}
    base = folder(place / "base", llama(), num_hidden_layers=2, **LLAMA)
    return opened(base, lora(place / "a", modules, layer_replication=[[0, 1], [0, 2]]))


def llava(place: Path) -> Case:
    """Layers of a tower and of a language model, which differ by what they are in."""
    inner = "layers.0.self_attn.q_proj"
    files = (f"vision_tower.vision_model.encoder.{inner}", f"language_model.model.{inner}")
    base = {f"{name}.weight": random(seed, WIDTH, WIDTH) for seed, name in enumerate(files)}
    modules = {f"model.vision_tower.vision_model.encoder.{inner}": (WIDTH, WIDTH)}
    config = {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}
    return opened(folder(place / "base", base, **config), lora(place / "a", modules))


def grouped(place: Path) -> Case:
    """Keys and values of one shape, fewer rows than the query has."""
    names = {name: f"{LAYER}self_attn.{name}_proj" for name in "qkv"}
    base = {
        f"{names[name]}.weight": random(seed, rows, WIDTH)
        for seed, (name, rows) in enumerate({"q": 32, "k": 8, "v": 8}.items())
    }
    heads = {"num_attention_heads": 8, "num_key_value_heads": 2}
    return opened(folder(place / "base", base, **LLAMA, **heads), lora(place / "a", {names["k"]: (8, WIDTH)}))


def of_other(kind: str, **fields: Any) -> Plant:
    """The change of an update with other fields; a function of what they are."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        owner = resolve_name(f"adapterops.updates.{kind}")
        true = owner.change

        def change(self: Any, *given: Any) -> Any:
            return true(replace(self, **{name: each(getattr(self, name)) for name, each in fields.items()}), *given)

        monkeypatch.setattr(owner, "change", change)

    return plant


def rotated(change: Callable[[Any], Any]) -> Plant:
    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        true: Any = vars(Rotation)["rotations"]
        monkeypatch.setattr(Rotation, "rotations", property(lambda self: change(true.func(self))))

    return plant


def added(self: Any, part: Any, W: Any, out: Any) -> Any:
    """(IA)³ as if its numbers were those of a difference."""
    factors = self.factors[part[int(self.by_inputs)]].astype(out.dtype)
    return np.multiply(W, factors if self.by_inputs else factors[:, None], out=out)


def of_plain_size(self: Any, W: Any) -> Any:
    return self.trained + -1.0 * self.start(W, self.trained.rank)


def next_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the second layer for one of the first."""
    from adapterops.operations import replication

    true = replication.Slice
    other = {(0, 1): (1, 2)}
    monkeypatch.setattr(
        replication, "Slice", lambda base, first, end: true(base, *other.get((first, end), (first, end)))
    )


def of_the_copied(edits: dict[str, Any]) -> dict[str, Any]:
    """The update of the second layer in the first, and that of the first in the second."""
    one, two = (f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1))
    there = {one: edits[two].targets, two: edits[one].targets}
    moved = {
        name: tuple(replace(each, tensor=name, source=each.source) for each in targets)
        for name, targets in there.items()
    }
    return {name: replace(edit, targets=moved.get(name, edit.targets)) for name, edit in edits.items()}


def low_rank(module: str, change: Callable[..., LowRank]) -> Plant:
    return put(f"updates.{module}.LowRank", change)


FAULTS: dict[str, tuple[Callable[[Path], Case], Plant]] = {
    "(IA)³ as what is added": (ia3, put("updates.gain.Gain.change", added)),
    "(IA)³ of outputs on the inputs": (ia3, of_other("gain.Gain", by_inputs=lambda _: True)),
    "(IA)³ of inputs on the outputs": (ia3_inputs, of_other("gain.Gain", by_inputs=lambda _: False)),
    "OFT the other way round": (oft, rotated(lambda found: found.swapaxes(-1, -2))),
    "OFT with its blocks from the last on": (oft, rotated(lambda found: found[:, ::-1])),
    "BOFT with its rotations from the last on": (boft, rotated(lambda found: found[::-1])),
    "BOFT without its lengths": (boft, of_other("rotation.Rotation", lengths=lambda _: None)),
    "BOFT without its orders": (boft, of_other("rotation.Rotation", orders=lambda _: ())),
    "VeRA with its rows from the last on": (vera, low_rank("shared", lambda B, A: LowRank(B[::-1], A))),
    "QA-LoRA as a mean": (qalora, low_rank("pooled", lambda B, A, scale: LowRank(B, A, scale / 8))),
    "QA-LoRA of every eighth input": (
        qalora,
        low_rank("pooled", lambda B, A, scale: LowRank(B, np.tile(A[:, ::4], 4), scale)),
    ),
    "PiSSA without what it began with": (pissa, put("updates.started.Started.on", lambda self, W: self.trained)),
    "OLoRA of the plain size": (olora, put("updates.started.Started.on", of_plain_size)),
    "a copy of another layer": (replicated, next_layer),
    "an update of the next layer of copies": (replicated, table(of_the_copied)),
    "a tower for the language model": (llava, renamed("vision_tower.vision_model.encoder", "language_model.model")),
    "values for the keys of groups": (grouped, renamed("k_proj", "v_proj")),
    "rows of keys by the heads of the query": (
        pairs,
        wrapped(
            "adapterops.formats.models.gguf_models.field_of_heads", lambda found, *_: found and "num_attention_heads"
        ),
    ),
}


@pytest.mark.parametrize(
    "case", list(dict.fromkeys(case for case, _ in FAULTS.values())), ids=lambda case: case.__name__
)
def test_without_a_fault_it_is_verified(case: Callable[[Path], Case], tmp_path: Path) -> None:
    found = check(case(tmp_path), tmp_path / "out")
    assert found.ok, found.problems


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not planted(*FAULTS[name], tmp_path, monkeypatch).ok
