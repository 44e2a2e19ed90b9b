"""Models by the arithmetic of programs. For PEFT's own see tests/interop/test_diagnosing.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from merged_models import CONVENTIONS, FAULTS, LoRA, Merge, base, lora, write
from torch import Tensor
from turns import some

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.verification.diagnosis.conventions import CONVENTIONS as NAMES
from adapterops.verification.diagnosis.judging import Guess, Trial
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.diagnosis.tools import TOOLS, Recognition, _convention, recognised
from adapterops.verification.witness import witness

BEFORE, ADAPTER = base(1, torch.bfloat16), lora(1, rank=8, alpha=5, dtype=torch.float16)


def found(place: Path, tensors: dict[str, Tensor], tool: str, adapters: Sequence[LoRA] = (ADAPTER,)) -> Recognition:
    model, before = (open_checkpoint(write(place / name, each)) for name, each in (("m", tensors), ("b", BEFORE)))
    return recognised(
        model, before, [open_adapter(each.save(place / f"a{k}")) for k, each in enumerate(adapters)], tool
    )


@pytest.mark.parametrize(
    ("arithmetic", "tools"),
    [
        ("once", {"peft", "mergekit", "unsloth", "llama-factory", "axolotl"}),
        ("peft", {"peft", "mergekit", "llama-factory", "axolotl"}),
        ("peft-safe", {"peft"}),
        ("cast", {"peft", "mergekit", "llama-factory", "axolotl"}),
        ("through-float16", {"mergekit"}),
    ],
)
def test_who_rounds_so(arithmetic: str, tools: set[str], tmp_path: Path) -> None:
    tensors = Merge(BEFORE, [ADAPTER], CONVENTIONS[arithmetic]).made()
    assert {tool for tool in TOOLS if found(tmp_path / tool, tensors, tool).ok} == tools


@pytest.mark.parametrize("fault", some(FAULTS, 4))
def test_no_fault_passes(fault: str, tmp_path: Path) -> None:
    weights = FAULTS[fault].weights
    adapters = [ADAPTER, lora(2, rank=8)][: len(weights)]
    tensors = FAULTS[fault].plant(Merge(BEFORE, adapters, CONVENTIONS["once"], weights))
    result = found(tmp_path, tensors, "peft", adapters)
    assert not result.ok
    assert not result.as_json()["verified"]


def test_every_tile_is_read_once_and_once_with_rounded_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many conventions a program may follow."""
    before, adapter = base(1, torch.bfloat16), lora(1, 8, size=0.05)
    model, opened = (open_checkpoint(write(tmp_path / name, before)) for name in "mb")
    of = Subject(model, [witness(model, opened, open_adapter(adapter.save(tmp_path / "a")))[0]])
    judge, read = Trial(of, Guess(np.ones(1)), None, 0.0, NAMES), Subject.sample
    reads: list[Any] = []
    monkeypatch.setattr(Trial, "explains", lambda self, each, unit, sample, rounded: bool(rounded()))

    def counted(self: Subject, unit: Any, ground: Any = None) -> Any:
        reads.append(unit)
        return read(self, unit, ground)

    monkeypatch.setattr(Subject, "sample", counted)
    assert _convention(judge, of.units[0]) == NAMES[0].name
    assert len(reads) == 2


def test_every_name_is_a_convention() -> None:
    assert {name for tool in TOOLS.values() for name in tool.roundings} <= {each.name for each in NAMES}
    assert all(tool.source and tool.conventions for tool in TOOLS.values())
