"""More faults planted in what fuses and saves: in config.json, in files next to it, in codes of every scheme, in places."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mutations import (
    ATTENTION,
    LAYER,
    LLAMA,
    WIDTH,
    Case,
    Plant,
    check,
    coded,
    decoded,
    embedding,
    experts,
    folder,
    gpt2,
    item,
    llama,
    lora,
    opened,
    packed,
    placed,
    planted,
    put,
    random,
    resized,
    rows,
    table,
    thirds,
    with_biases,
    wrapped,
)
from torch import Tensor

import adapterops as ao
from adapterops.checkpoints.layouts import sharded
from adapterops.operations.targets.target import Target

WRITTEN: dict[str, Any] = {**LLAMA, "rope_theta": 5e5, "rms_norm_eps": 1e-5, "hidden_act": "silu"}
EIGHT = {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}
ABSMAX = "adapterops.quant.fourbit.FourBit._absmax"


def whole_folder(place: Path) -> Case:
    """A model with all that is next to one, in one file."""
    base = folder(place / "base", llama(), **WRITTEN)
    (base / "generation_config.json").write_text('{"temperature": 0.7}')
    (base / "tokenizer.json").write_text('{"of": "the base"}')
    (base / "tokenizer_config.json").write_text('{"add_bos_token": true}')
    return opened(base, lora(place / "a", ATTENTION))


def in_shards(place: Path) -> Case:
    base, adapter, options = whole_folder(place)
    ao.save_checkpoint(sharded(base, 9000), place / "shards")
    return ao.open_checkpoint(place / "shards"), adapter, options


def with_words(place: Path) -> Case:
    """An adapter with more words, and the tokenizer that has them."""
    *_, options = resized(place)
    (place / "base" / "tokenizer.json").write_text('{"of": "the base"}')
    (place / "a" / "tokenizer.json").write_text('{"of": "the adapter"}')
    return ao.open_checkpoint(place / "base"), ao.open_adapter(place / "a"), options


def scheme(name: str, **options: Any) -> Callable[[Path], Case]:
    """A base in codes that is fused in 32 bits."""

    def make(place: Path) -> Case:
        base = ao.open_checkpoint(folder(place / "plain", llama(), **LLAMA))
        ao.save_checkpoint(ao.quantize(base, name, **options), place / "base")
        return opened(place / "base", lora(place / "a", ATTENTION), dequantize=True)

    make.__name__ = f"{name} {options}"
    return make


def eight_bits(shape: tuple[int, ...], role: str = "weight_scale", **fields: Any) -> Callable[[Path], Case]:
    """FP8 with scales of a shape."""

    def make(place: Path) -> Case:
        module = f"{LAYER}self_attn.q_proj"
        scales = torch.rand(shape, generator=torch.Generator().manual_seed(4)) / 16 + 0.01
        tensors = {f"{module}.weight": random(1, WIDTH, WIDTH).to(torch.float8_e4m3fn), f"{module}.{role}": scales}
        said = {
            "model_type": "llama",
            "torch_dtype": "bfloat16",
            "quantization_config": {"quant_method": "fp8", **fields},
        }
        return opened(
            folder(place / "base", tensors, **said), lora(place / "a", {module: (WIDTH, WIDTH)}), dequantize=True
        )

    make.__name__ = f"fp8 {shape}"
    return make


def nvfp4(place: Path) -> Case:
    module, generator = f"{LAYER}self_attn.q_proj", torch.Generator().manual_seed(5)
    tensors = {
        f"{module}.weight": torch.randint(0, 256, (WIDTH, WIDTH // 2), generator=generator).to(torch.uint8),
        f"{module}.weight_scale": (torch.rand((WIDTH, WIDTH // 16), generator=generator) + 0.5).to(torch.float8_e4m3fn),
        f"{module}.weight_scale_2": torch.tensor(0.03),
    }
    said = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    base = folder(place / "base", tensors, model_type="llama", torch_dtype="bfloat16", quantization_config=said)
    return opened(base, lora(place / "a", {module: (WIDTH, WIDTH)}), dequantize=True)


def mxfp4(place: Path) -> Case:
    """The experts of gpt-oss, in blocks of 32, with LoRA on one of them."""
    path, generator = f"{LAYER}mlp.experts.", torch.Generator().manual_seed(6)
    tensors: dict[str, Tensor] = {}
    for name, out in (("gate_up_proj", 2 * WIDTH), ("down_proj", WIDTH)):
        blocks = (2, out, WIDTH // 32)
        tensors[f"{path}{name}_blocks"] = torch.randint(0, 256, (*blocks, 16), generator=generator).to(torch.uint8)
        tensors[f"{path}{name}_scales"] = torch.randint(119, 124, blocks, generator=generator).to(torch.uint8)
    said = {"model_type": "gpt_oss", "torch_dtype": "bfloat16", "quantization_config": {"quant_method": "mxfp4"}}
    modules = {f"{path}{number}.down_proj": (WIDTH, WIDTH) for number in (0, 1)}
    return opened(folder(place / "base", tensors, **said), lora(place / "a", modules), dequantize=True)


def dora_gpt2(place: Path) -> Case:
    """DoRA of a Conv1D, whose weight is (in, out)."""
    base = {"h.0.attn.c_attn.weight": random(2, WIDTH, 3 * WIDTH)}
    module = "transformer.h.0.attn.c_attn"
    more = {f"base_model.model.{module}.lora_magnitude_vector": random(3, 3 * WIDTH).abs() + 1}
    adapter = lora(place / "a", {module: (3 * WIDTH, WIDTH)}, more, fan_in_fan_out=True, use_dora=True)
    return opened(folder(place / "base", base, model_type="gpt2"), adapter)


def dora_words(place: Path) -> Case:
    """DoRA of an embedding, whose lengths are those of its columns."""
    name = "base_model.model.model.embed_tokens"
    more = {
        f"{name}.lora_embedding_A": random(8, 4, 48) / 4,
        f"{name}.lora_embedding_B": random(9, WIDTH, 4) / 4,
        f"{name}.lora_magnitude_vector": random(3, WIDTH).abs() + 1,
    }
    own = {**llama(torch.float32), "lm_head.weight": random(4, 48, WIDTH)}
    base = folder(place / "base", own, **{**LLAMA, "tie_word_embeddings": False})
    return opened(base, lora(place / "a", {}, more, use_dora=True))


def together(place: Path) -> Case:
    """One update of query, key and value, in a base that has each by itself."""
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "hidden_size": WIDTH}
    modules = {f"{LAYER}self_attn.qkv_proj": (3 * WIDTH, WIDTH)}
    return opened(folder(place / "base", llama(), **LLAMA, **heads), lora(place / "a", modules))


def said(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Plant:
    """config.json as a function of what it should be."""

    def changed(files: Iterator[tuple[str, Any]], *_: Any) -> Iterator[tuple[str, Any]]:
        for name, content in files:
            if name == "config.json":
                true = content.read_bytes() if isinstance(content, Path) else content
                content = json.dumps(change(json.loads(true))).encode()
            yield name, content

    return wrapped("adapterops.checkpoints.saving.small_files", changed)


def adding(**fields: Any) -> Plant:
    return said(lambda config: {**config, **fields})


def losing(field: str) -> Plant:
    return said(lambda config: {name: value for name, value in config.items() if name != field})


def file(name: str, content: bytes | None) -> Plant:
    """Another file of a name, or none."""

    def changed(files: Iterator[tuple[str, Any]], *_: Any) -> Iterator[tuple[str, Any]]:
        for each, true in files:
            if each != name:
                yield each, true
            elif content is not None:
                yield each, content

    return wrapped("adapterops.checkpoints.saving.small_files", changed)


def targets(change: Callable[[tuple[Target, ...]], tuple[Target, ...]]) -> Plant:
    return table(lambda edits: {name: replace(edit, targets=change(edit.targets)) for name, edit in edits.items()})


def one_row_on(target: Target) -> Target:
    return replace(target, first=max(0, target.first - 1))


def in_the_next(target: Target) -> Target:
    return replace(target, row={32: 48, 48: 32}.get(target.row, target.row))


def halves(found: Tensor, *_: Any) -> Tensor:
    return found.view(-1, 2, found.shape[1]).flip(1).flatten(0, 1)


def by_next_row(found: Tensor) -> Tensor:
    largest = found.abs().amax(1)
    return found * (largest.roll(1) / largest)[:, None]


def scales(kind: str, change: Callable[[Any], Any]) -> Plant:
    return wrapped(f"adapterops.quant.{kind}.scales", lambda found, *_: change(found))


def without_offset(found: Tensor, self: Any, *_: Any) -> Tensor:
    return found - self.offset


def other_axis(self: Any, part: Any, W: Any, out: Any) -> Any:
    """DoRA by columns for rows, or by rows for columns."""
    self.direction.rows(part, out)
    np.add(out, W, out=out)
    stated = self.magnitude.astype(out.dtype)
    if self.by_inputs:
        out *= stated.mean() / np.linalg.norm(out, axis=1)[:, None]
    else:
        out *= stated.mean() / np.linalg.norm(out, axis=0)
    return np.subtract(out, W, out=out)


def rolled(kind: str, dim: int) -> Plant:
    return wrapped(f"adapterops.quant.{kind}.scales", lambda found, *_: (found[0].roll(1, dim), found[1]))


FAULTS: dict[str, tuple[Callable[[Path], Case], Plant]] = {
    "a window is added": (whole_folder, adding(sliding_window=8)),
    "positions are scaled": (whole_folder, adding(rope_scaling={"rope_type": "yarn", "factor": 8.0})),
    "another base of positions": (whole_folder, adding(rope_theta=1e4)),
    "the base of positions is lost": (whole_folder, losing("rope_theta")),
    "another activation": (whole_folder, adding(hidden_act="gelu")),
    "the activation is lost": (whole_folder, losing("hidden_act")),
    "another epsilon": (whole_folder, adding(rms_norm_eps=1e-6)),
    "the epsilon is lost": (whole_folder, losing("rms_norm_eps")),
    "biases of attention are added": (whole_folder, adding(attention_bias=True)),
    "a cap of logits is added": (whole_folder, adding(final_logit_softcapping=30.0)),
    "a scale of attention is added": (whole_folder, adding(attention_multiplier=0.5)),
    "a scale of logits is added": (whole_folder, adding(logits_scaling=2.0)),
    "the ends are said to be two": (whole_folder, adding(tie_word_embeddings=False)),
    "the type is lost": (whole_folder, losing("model_type")),
    "another number of words is said": (whole_folder, adding(vocab_size=99)),
    "config.json is lost": (whole_folder, file("config.json", None)),
    "another generation_config.json": (whole_folder, file("generation_config.json", b"{}")),
    "generation_config.json is lost": (whole_folder, file("generation_config.json", None)),
    "another tokenizer": (whole_folder, file("tokenizer.json", b"{}")),
    "the tokenizer is lost": (whole_folder, file("tokenizer.json", None)),
    "the tokenizer of the base for new words": (with_words, put("operations.fusion.agreed_tokenizer", lambda _: {})),
    "the config of codes is lost": (coded("nf4"), losing("quantization_config")),
    "codes are said to be in 8 bits": (coded("nf4"), adding(quantization_config=EIGHT)),
    "other codes are said": (coded("int8"), adding(quantization_config={**EIGHT, "llm_int8_threshold": 0.5})),
    "nested scales without their offset": (scheme("nf4", double_quant=True), wrapped(ABSMAX, without_offset)),
    "nested scales of the next block": (scheme("nf4", double_quant=True), wrapped(ABSMAX, lambda found, *_: found.roll(1))),
    "nested FP4 without its offset": (scheme("fp4", double_quant=True), wrapped(ABSMAX, without_offset)),
    "FP4 with scales of the next block": (scheme("fp4"), wrapped(ABSMAX, lambda found, *_: found.roll(1))),
    "FP4 of twice the size": (scheme("fp4"), decoded("fourbit.FourBit", lambda found: found * 2)),
    "int8 by the scale of the next row": (scheme("int8"), decoded("int8.Int8", by_next_row)),
    "int8 without signs": (scheme("int8"), decoded("int8.Int8", lambda found: found.abs())),
    "FP8 in blocks across": (packed("fp8"), scales("fp8.FP8", lambda found: (found[0].T, found[1]))),
    "FP8 with scales of the next block": (packed("fp8"), rolled("fp8.FP8", 1)),
    "FP8 by the scale of the next row": (eight_bits((WIDTH, 1)), rolled("fp8.FP8", 0)),
    "FP8 by one scale the other way": (eight_bits((1,)), scales("fp8.FP8", lambda found: (1 / found[0], found[1]))),
    "FP8 of another kind": (eight_bits((WIDTH,)), item("quant.fp8.BYTES", F8_E4M3="float8_e5m2")),
    "NVFP4 with halves exchanged": (nvfp4, decoded("nvfp4.NVFP4", lambda found: found.view(len(found), -1, 2).flip(2).flatten(1))),
    "NVFP4 without its scale of all": (nvfp4, scales("nvfp4.NVFP4", lambda found: (found[0] / 0.03, found[1]))),
    "MXFP4 with halves exchanged": (mxfp4, wrapped("adapterops.quant.mxfp4.MXFP4.codes", halves)),
    "MXFP4 of twice the size": (mxfp4, scales("mxfp4.MXFP4", lambda found: (2 * found[0], found[1]))),
    "MXFP4 with scales of the next row": (mxfp4, rolled("mxfp4.MXFP4", 1)),
    "MXFP4 by another table": (mxfp4, put("quant.float4.NUMBERS", (0, 0.5, 1, 1.5, 2, 3, 4, 8, 0, -0.5, -1, -1.5, -2, -3, -4, -8))),
    "GPTQ with zeros one too low": (packed("gptq"), scales("gptq.GPTQ", lambda found: (found[0], found[1] - 1))),
    "AWQ with scales of the next row": (packed("awq"), rolled("awq.AWQ", 0)),
    "AWQ with zeros one too high": (packed("awq"), scales("awq.AWQ", lambda found: (found[0], found[1] + 1))),
    "DoRA of a Conv1D by the other axis": (dora_gpt2, put("updates.magnitude.Magnitude.change", other_axis)),
    "DoRA of an embedding by the other axis": (dora_words, put("updates.magnitude.Magnitude.change", other_axis)),
    "experts of a shorter list": (experts, targets(lambda each: each[:-1])),
    "a part of a joined update one row on": (together, placed(one_row_on)),
    "a part in the rows of the next": (thirds, placed(in_the_next)),
    "an update that is added twice": (gpt2, targets(lambda each: (*each, *each))),
    "a bias that is added twice": (with_biases, targets(lambda each: each * 2)),
    "an embedding without its update": (embedding, targets(lambda each: ())),
    "trained rows of the last word": (rows, put("operations.fusion.with_rows", lambda before, indices, stored: before)),
    "generation_config.json of several files is lost": (in_shards, file("generation_config.json", None)),
}  # fmt: skip


@pytest.mark.parametrize(
    "case",
    sorted({case for case, _ in FAULTS.values()}, key=lambda case: case.__name__),
    ids=lambda case: case.__name__,
)
def test_without_a_fault_it_is_verified(case: Callable[[Path], Case], tmp_path: Path) -> None:
    found = check(case(tmp_path), tmp_path / "out")
    assert found.ok, found.problems


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not planted(*FAULTS[name], tmp_path, monkeypatch).ok
