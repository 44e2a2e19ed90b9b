"""NaN and infinity in tensors, by their bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from merged_models import DTYPES, base, write
from turns import some

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.operations.diagnosing import diagnose
from adapterops.verification.diagnosis.finite import not_finite

NAME = "model.layers.1.mlp.down_proj.weight"


@pytest.mark.parametrize("dtype", [*DTYPES.values(), torch.float64])
def test_counts(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = base(1, torch.float32)
    tensors[NAME] = tensors[NAME].to(dtype)
    tensors[NAME].view(-1)[0] = torch.finfo(dtype).max
    assert not_finite(open_checkpoint(write(tmp_path / "sound", tensors)).stored[NAME]) is None
    tensors[NAME].view(-1)[[1, 70, 4000]] = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=dtype)
    stored = open_checkpoint(write(tmp_path / "model", tensors)).stored[NAME]
    more = " (float16 holds numbers up to 65504)" if dtype == torch.float16 else ""
    assert not_finite(stored) == f"is NaN in 1 and infinite in 2 of 6144 entries{more}"


def test_rows_that_are_not_looked_at(tmp_path: Path) -> None:
    """A weight of which some rows are compared is looked through for NaN as a whole."""
    from merged_models import CONVENTIONS, Merge, lora

    from adapterops.adapters.opening import open_adapter

    before, adapter = base(1, torch.bfloat16), lora(1)
    tall = torch.cat([before[NAME]] * 64, dim=1)
    before = {**before, NAME: tall}
    B, A = adapter.factors[NAME.removesuffix(".weight")]
    factors = {**adapter.factors, NAME.removesuffix(".weight"): (B, torch.cat([A] * 64, dim=1))}
    from dataclasses import replace

    adapter = replace(adapter, factors=factors)
    model = Merge(before, [adapter], CONVENTIONS["once"]).made()
    opened = {"a": open_adapter(adapter.save(tmp_path / "a"))}
    there = open_checkpoint(write(tmp_path / "base", before))
    assert diagnose(open_checkpoint(write(tmp_path / "sound", model)), there, opened).code == 0
    for row in some(range(64), 9):
        broken = {**model, NAME: model[NAME].clone()}
        broken[NAME][row, 5] = torch.nan
        found = diagnose(open_checkpoint(write(tmp_path / f"m{row}", broken)), there, opened)
        assert found.code == 8
        assert [each.what for each in found.findings] == ["is NaN in 1 of 393216 entries"]


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
@pytest.mark.filterwarnings("error")
def test_nothing_is_computed_with_them(value: float, tmp_path: Path) -> None:
    from merged_models import CONVENTIONS, Merge, lora

    from adapterops.adapters.opening import open_adapter

    before, adapter = base(1, torch.bfloat16), lora(1)
    model = Merge(before, [adapter], CONVENTIONS["once"]).made()
    model[NAME].view(-1)[[1, 70]] = torch.tensor([value, -value], dtype=torch.bfloat16)
    models = [open_checkpoint(write(tmp_path / name, tensors)) for name, tensors in (("m", model), ("b", before))]
    found = diagnose(*models, {"a": open_adapter(adapter.save(tmp_path / "a"))})
    assert [each.place for each in found.findings] == [NAME.removesuffix(".weight")]
