"""MXFP4, against a formula that goes entry by entry, and against transformers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from codes import DTYPES, normal, reader
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from recognition import Tensors, recognised
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

import adapterops as ao
from adapterops.arrays import columns
from adapterops.checkpoints import checkpoint
from adapterops.engine.execution import Execution
from adapterops.errors import InputError
from adapterops.quant.mxfp4 import MXFP4
from adapterops.updates.survival import Block

NAME = "model.layers.0.mlp.experts.gate_up_proj"


def test_the_last_power_of_two_is_none_in_mxfp4() -> None:
    parts = blocks(0, 1, 2, 32)
    parts["_scales"][0, 1] = 255
    found = MXFP4().decode((1, 32, 2), reader(parts), 0, 32)
    assert torch.equal(found.isnan(), torch.tensor([[False, True]] * 32))


def blocks(seed: int, experts: int, out: int, into: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "_blocks": torch.randint(0, 256, (experts, out, into // 32, 16), dtype=torch.uint8, generator=random),
        "_scales": torch.randint(112, 136, (experts, out, into // 32), dtype=torch.uint8, generator=random),
    }


@examples(max_examples=30)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(1, 1, 32), (3, 5, 64), (2, 96, 32)]),
    st.sampled_from(["BF16", "F32"]),
    st.data(),
)
def test_mxfp4_is_what_transformers_makes_of_it(
    seed: int, sizes: tuple[int, int, int], dtype: str, data: st.DataObject
) -> None:
    experts, out, into = sizes
    parts = blocks(seed, experts, out, into)
    expected = convert_moe_packed_tensors(parts["_blocks"].clone(), parts["_scales"].clone(), dtype=DTYPES[dtype])
    assert expected.shape == (experts, into, out)
    rows = expected.reshape(-1, out)
    begin = data.draw(st.integers(0, len(rows)))
    end = data.draw(st.integers(begin, len(rows)))
    found = MXFP4(dtype).decode((experts, into, out), reader(parts), begin, end)
    assert found.dtype == torch.float32
    assert torch.equal(found.to(DTYPES[dtype]), rows[begin:end])


def test_mxfp4_entry_by_entry() -> None:
    parts = blocks(1, 2, 3, 64)
    found = MXFP4("F32").decode((2, 64, 3), reader(parts), 0, 128).view(2, 64, 3)
    numbers = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    for expert, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(64), torch.arange(3)).tolist():
        byte = int(parts["_blocks"][expert, column, row // 32, row % 32 // 2])
        code = byte // 16 if row % 2 else byte % 16  # the low half is the first
        expected = (
            (-1) ** (code // 8) * numbers[code % 8] * 2.0 ** (int(parts["_scales"][expert, column, row // 32]) - 127)
        )
        assert float(found[expert, row, column]) == expected


def test_the_parts_of_mxfp4() -> None:
    parts = blocks(2, 4, 6, 96)
    said = MXFP4().parts((4, 96, 6))
    assert {role: part.shape for role, part in said.items()} == {
        role: tuple(part.shape) for role, part in parts.items()
    }
    assert MXFP4().granularity((4, 96, 6)) == 32


# Experts, tile by tile


@pytest.mark.parametrize("into", [96, 512])
def test_an_expert_is_fused_in_memory_for_tiles_and_its_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, into: int
) -> None:
    """Tiles that end in the middle of an expert, and ones of several; judged by what transformers makes of the codes."""
    experts, out = 1024 // into, 256
    monkeypatch.setattr(checkpoint, "BLOCK", 320 * out)
    monkeypatch.setattr(columns, "BAND", 1 << 14)
    base, stored = tmp_path / "base", blocks(3, experts, out, into)
    stored["_scales"].remainder_(3).add_(125)
    base.mkdir()
    save_file({f"{NAME}{role}": each for role, each in stored.items()}, base / "model.safetensors", {"format": "pt"})
    section = {"quantization_config": {"quant_method": "mxfp4"}, "model_type": "gpt_oss", "num_local_experts": experts}
    (base / "config.json").write_text(json.dumps(section))
    update = normal(1, experts, out, 1) @ normal(2, experts, 1, into) * 0.05
    opened = ao.open_checkpoint(base)
    W = convert_moe_packed_tensors(stored["_blocks"].clone(), stored["_scales"].clone(), dtype=torch.float32)

    def rows(begin: int, end: int) -> Block:
        plain = opened.used(NAME)(begin, end).values
        return Block(plain + update.transpose(1, 2).reshape(-1, out)[begin:end].numpy())

    made = replace(ao.rounding(opened, "stochastic", 0), edits={NAME: rows})
    ao.save_checkpoint(made, tmp_path / "out", how=Execution(1))
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(found[f"{NAME}_scales"], stored["_scales"])
    new = convert_moe_packed_tensors(found[f"{NAME}_blocks"], found[f"{NAME}_scales"], dtype=torch.float32)
    moved, wanted = new - W, update.transpose(1, 2)
    assert float((moved * wanted).sum() / wanted.square().sum()) == pytest.approx(1, abs=0.05)
    step = 2.0 * 2.0 ** (stored["_scales"].float() - 127).repeat_interleave(32, dim=2).transpose(1, 2)
    assert bool((moved.abs() <= step + wanted.abs()).all())
    assert (made.joint_entries, made.by_columns) == (32 * out, out * into + columns.BANDS * checkpoint.BAND)


# What is known, and what is broken


def mxfp4(name: str = "model.layers.0.mlp.experts.gate_up_proj") -> Tensors:
    return {
        f"{name}_blocks": torch.zeros(2, 8, 3, 16, dtype=torch.uint8),
        f"{name}_scales": torch.zeros(2, 8, 3, dtype=torch.uint8),
    }


def test_mxfp4_is_known_by_its_blocks() -> None:
    bias = {"model.layers.0.mlp.experts.gate_up_proj_bias": torch.zeros(2, 8)}
    weights, others = recognised({**mxfp4(), **bias})
    weight = weights["model.layers.0.mlp.experts.gate_up_proj"]
    assert (weight.scheme, weight.shape, others) == (MXFP4(), (2, 96, 8), list(bias))


@pytest.mark.parametrize(
    "scales",
    [torch.zeros(2, 8, 2, dtype=torch.uint8), torch.zeros(2, 8, 3), torch.zeros(8, 2, 3, dtype=torch.uint8)],
    ids=lambda x: str(x.shape),
)
def test_mxfp4_that_is_broken(scales: Tensor) -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    with pytest.raises(InputError, match=r"_scales should be U8 \[2, 8, 3\]") as caught:
        recognised({**mxfp4(), f"{name}_scales": scales})
    assert caught.value.tensor == name
    with pytest.raises(InputError, match="expected \\(experts, rows, blocks, 16\\)"):
        recognised({**mxfp4(), f"{name}_blocks": torch.zeros(2, 8, 48, dtype=torch.uint8)})
