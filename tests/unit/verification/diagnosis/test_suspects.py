"""What a module is that is not what it should be; see tests/fault/test_diagnosis.py for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from merged_models import CONVENTIONS, FAULTS, Merge, base, lora, write

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.verification.diagnosis.judging import Guess, Judged, look
from adapterops.verification.diagnosis.likeness import Likeness
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.diagnosis.suspects import suspect
from adapterops.verification.witness import witness

Q = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (f"missing-{Q}", "missing"),
        (f"twice-{Q}", "scale"),
        (f"transposed-{Q}", "transposed"),
        (f"swapped-{Q}-model.layers.0.self_attn.v_proj", "swapped"),
        ("first-half-base", "partly"),
    ],
)
def test_its_kind(fault: str, kind: str, tmp_path: Path) -> None:
    before, adapter = base(1, torch.bfloat16), lora(1, size=0.05)
    tensors = FAULTS[fault].plant(Merge(before, [adapter], CONVENTIONS["once"]))
    model, opened = (open_checkpoint(write(tmp_path / name, t)) for name, t in (("m", tensors), ("b", before)))
    subject = Subject(model, [witness(model, opened, open_adapter(adapter.save(tmp_path / "a")))[0]])
    unit = next(each for each in subject.units if each.module == Q)
    found, sample = look(subject, unit), subject.sample(unit)
    assert found is not None
    assert sample is not None
    judged = Judged(found, 1, 1, True, None)
    assert suspect(Likeness(subject), judged, Guess(np.ones(1)), None, 0.0, sample).kind == kind
