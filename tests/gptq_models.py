"""Weights in GPTQ, packed bit by bit as AutoGPTQ's documentation of the layout has it,
and the formula for what they stand for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor


def packed(codes: Tensor, bits: int) -> Tensor:
    """Rows of codes → rows of words: one long number for each, the first code in its lowest bits."""
    rows = []
    for row in codes.tolist():
        number = sum(code << bits * place for place, code in enumerate(row))
        count = len(row) * bits // 32
        assert count * 32 == len(row) * bits
        rows.append(list(memoryview(number.to_bytes(4 * count, "little")).cast("i")))
    return torch.tensor(rows, dtype=torch.int32)


@dataclass
class GPTQWeight:
    """Random codes, zeros and scales, (in, out) and (groups, out), and the group of each column."""

    codes: Tensor
    zeros: Tensor
    scales: Tensor
    groups: Tensor
    bits: int

    @classmethod
    def random(cls, out: int, into: int, bits: int, size: int, *, ordered: bool, seed: int = 0) -> GPTQWeight:
        generator = torch.Generator().manual_seed(seed)
        codes = torch.randint(0, 1 << bits, (into, out), generator=generator)
        zeros = torch.randint(0, 1 << bits, (into // size, out), generator=generator)
        scales = (torch.rand(into // size, out, generator=generator) + 0.5).half() / 64
        columns = torch.randperm(into, generator=generator) if ordered else torch.arange(into)
        return cls(codes, zeros, scales, columns // size, bits)

    def stored(self, offset: int = 1) -> dict[str, Tensor]:
        return {
            "qweight": packed(self.codes.T, self.bits).T.contiguous(),
            "qzeros": packed((self.zeros - offset) % (1 << self.bits), self.bits),
            "scales": self.scales,
            "g_idx": self.groups.int(),
        }

    def formula(self) -> Tensor:
        """(out, in), entry by entry, in float64."""
        W = torch.empty(self.codes.T.shape, dtype=torch.float64)
        for column, group in enumerate(self.groups.tolist()):
            W[:, column] = (self.codes[column] - self.zeros[group]) * self.scales[group].double()
        return W


def write_gptq(folder: Path, weights: dict[str, GPTQWeight], size: int, *, offset: int = 1, **section: Any) -> Path:
    """A model whose modules are in GPTQ, with a norm beside them."""
    folder.mkdir()
    bits = next(iter(weights.values())).bits
    tensors = {
        f"{module}.{role}": part for module, each in weights.items() for role, part in each.stored(offset).items()
    }
    save_file(
        {**tensors, "model.norm.weight": torch.ones(4).half()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    quantization = {"quant_method": "gptq", "bits": bits, "group_size": size, "desc_act": True, "sym": False, **section}
    (folder / "config.json").write_text(json.dumps({"dtype": "float16", "quantization_config": quantization}))
    return folder
