"""What a module is that holds no multiple of its update; see tests/fault/test_diagnosis.py for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from merged_models import CONVENTIONS, FAULTS, Merge, base, lora, write

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.verification.diagnosis import forms
from adapterops.verification.diagnosis.forms import _pairs, form, in_lines
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.witness import witness


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("limited-sum", "limited"),
        ("limited-updates", "limited"),
        ("dropped-at-random", "sparse"),
        ("trimmed", "sparse"),
        ("lower-rank-of-one", "rank"),
        ("first-ranks", "rank"),
        ("halves-of-rows", "halves"),
        ("weight-transposed", "transposed"),
        ("separately", "separate"),
        ("zero", "zero"),
        ("noise", None),
        ("only-noise", None),
        ("rolled", None),
    ],
)
def test_its_kind(fault: str, kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates are read for the forms that look at them, once."""
    planted = FAULTS[fault]
    before, adapters = base(1, torch.bfloat16), [lora(k, 8, size=0.05) for k in range(len(planted.weights))]
    tensors = planted.plant(Merge(before, adapters, CONVENTIONS["once"], planted.weights))
    model, opened = (open_checkpoint(write(tmp_path / name, t)) for name, t in (("m", tensors), ("b", before)))
    files = [open_adapter(each.save(tmp_path / f"a{k}")) for k, each in enumerate(adapters)]
    subject = Subject(model, [witness(model, opened, each)[0] for each in files])
    unit = next(each for each in subject.units if each.module in planted.places or not planted.places)
    sample = subject.sample(unit)
    assert sample is not None
    read, real = list[str](), forms._updates
    monkeypatch.setattr(forms, "_updates", lambda subject, unit: read.append(unit.module) or real(subject, unit))
    found = form(subject, unit, sample, np.ones(len(adapters)), None, 0.0)
    assert (found and found[0]) == kind, found
    assert len(read) == (kind not in ("limited", "zero"))


def test_lines() -> None:
    changed = np.ones((4, 5), bool)
    changed[1] = False
    assert in_lines(~changed, changed)
    assert in_lines(~changed.T, changed.T)
    assert not in_lines(np.eye(4, 5, dtype=bool), changed)


def test_products_in_pairs_are_found_without_loops_over_all() -> None:
    """The weight of every product of two adapters."""
    random = np.random.default_rng(1)
    left, right = random.standard_normal((2, 3, 40, 2)), random.standard_normal((3, 2, 30))
    wanted = random.standard_normal((3, 3))
    D = sum(wanted[i, j] * left[0][i] @ right[j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(_pairs(list(left[0]), list(right), D), wanted, atol=1e-9)
