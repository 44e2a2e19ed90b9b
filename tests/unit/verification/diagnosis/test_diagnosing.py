"""What a diagnosis says; see tests/fault/test_diagnosis.py for models."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from merged_models import CONVENTIONS, MODULES, Merge, base, lora, write

import adapterops
from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.storage.lazy import Lazy
from adapterops.verification.deltas import Formula
from adapterops.verification.diagnosis import subject
from adapterops.verification.diagnosis.grounds import THROUGH
from adapterops.verification.diagnosis.samples import Unit
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.witness import witness


def test_its_numbers(tmp_path: Path) -> None:
    before, adapter = base(1, torch.bfloat16), lora(1)
    model = open_checkpoint(write(tmp_path / "m", Merge(before, [adapter], CONVENTIONS["once"]).made()))
    opened = open_checkpoint(write(tmp_path / "b", before))
    found = adapterops.diagnose(model, opened, {"mine": open_adapter(adapter.save(tmp_path / "a"))}).as_json()
    assert found["sentence"] == "this is the base and mine, complete"
    assert found["weights"]["mine"]["weight"] == 1
    assert found["modules"] == {"compared": 14, "right": 14, "exact": 14, "showing": 14}
    assert found["roundings"][0] == "once"
    assert 0.9 < found["kept"] < 1.1


def test_one_bit_of_one_module(tmp_path: Path) -> None:
    """Within what 16-bit arithmetic may do, and still not as the rest is rounded."""
    before, adapter = base(1, torch.bfloat16), lora(1)
    made = Merge(before, [adapter], CONVENTIONS["once"]).made()
    made["model.layers.0.mlp.up_proj.weight"].view(torch.int16)[3, 4] ^= 1
    models = [open_checkpoint(write(tmp_path / name, tensors)) for name, tensors in (("m", made), ("b", before))]
    found = adapterops.diagnose(*models, {"mine": open_adapter(adapter.save(tmp_path / "a"))})
    assert (found.code, found.right, found.exact) == (0, 14, 13)


def test_nothing_in_common(tmp_path: Path) -> None:
    one = open_checkpoint(write(tmp_path / "m", {"a.weight": torch.ones(2, 2)}))
    other = open_checkpoint(write(tmp_path / "b", {"b.weight": torch.ones(2, 2)}))
    assert adapterops.diagnose(one, other).code == 9


def test_an_original_underneath(tmp_path: Path) -> None:
    """The base has 4 bits, and the update was added to the 16-bit model that it was made from; or to what it stands for."""
    before, adapter = base(1, torch.bfloat16), lora(1)
    original = open_checkpoint(write(tmp_path / "original", before))
    adapterops.save_checkpoint(adapterops.quantize(original, "nf4"), tmp_path / "b")
    opened, mine = open_checkpoint(tmp_path / "b"), {"mine": open_adapter(adapter.save(tmp_path / "a"))}
    model = open_checkpoint(write(tmp_path / "m", Merge(before, [adapter], CONVENTIONS["once"]).made()))
    found = adapterops.diagnose(model, opened, mine, original=original)
    assert (found.code, found.under) == (0, "original"), found.sentence
    adapterops.save_checkpoint(adapterops.fuse(adapterops.dequantize(opened), mine["mine"]), tmp_path / "d")
    found = adapterops.diagnose(open_checkpoint(tmp_path / "d"), opened, mine, original=original)
    assert (found.code, found.under) == (0, "base"), found.sentence


def test_what_has_no_update_is_the_original_too(tmp_path: Path) -> None:
    """Of a model that was merged into the 16-bit original, weights without an update are not those of the 4-bit base."""
    before, adapter = base(1, torch.bfloat16), lora(1, modules=[name for name in MODULES if "q_proj" in name])
    original = open_checkpoint(write(tmp_path / "original", before))
    adapterops.save_checkpoint(adapterops.quantize(original, "nf4"), tmp_path / "b")
    opened, mine = open_checkpoint(tmp_path / "b"), {"mine": open_adapter(adapter.save(tmp_path / "a"))}
    made = Merge(before, [adapter], CONVENTIONS["once"]).made()
    found = adapterops.diagnose(open_checkpoint(write(tmp_path / "m", made)), opened, mine, original=original)
    assert (found.code, found.under, found.findings) == (0, "original", []), found.sentence
    name = "model.layers.1.mlp.up_proj.weight"
    model = open_checkpoint(write(tmp_path / "changed", made | {name: 1.1 * made[name]}))
    found = adapterops.diagnose(model, opened, mine, original=original)
    assert (found.code, [each.place for each in found.findings]) == (8, [name]), found.sentence


def test_an_update_that_is_lost_in_codes(tmp_path: Path) -> None:
    """To nearest on the grid of the base a small update is gone, and stochastic rounding keeps it."""
    before = open_checkpoint(write(tmp_path / "plain", base(1, torch.bfloat16)))
    adapterops.save_checkpoint(adapterops.quantize(before, "nf4"), tmp_path / "b")
    opened = open_checkpoint(tmp_path / "b")
    mine = {"mine": open_adapter(lora(1, size=0.02).save(tmp_path / "a"))}
    for how, code, verdict in (("nearest", 8, "lost-in-codes"), ("stochastic", 0, "base-plus-adapters")):
        fused = adapterops.rounding(adapterops.fuse(opened, mine["mine"]), how, 0)
        adapterops.save_checkpoint(fused, tmp_path / how, accept_loss=True)
        found = adapterops.diagnose(open_checkpoint(tmp_path / how), opened, mine)
        assert (found.code, found.verdict) == (code, verdict), found.sentence


@pytest.mark.parametrize("scheme", ["int8", "nf4"])
def test_what_codes_hold_instead_of_an_update(scheme: str, tmp_path: Path) -> None:
    """Another adapter, of which they show enough, is not called the base; less of the adapter is not called lost in codes."""
    before = open_checkpoint(write(tmp_path / "plain", base(1, torch.bfloat16)))
    mine, other = (open_adapter(lora(seed, size=0.5).save(tmp_path / f"a{seed}")) for seed in (1, 2))
    cases = {
        "other": (other, "something-else"),
        "less": (0.3 * mine, "base-plus-adapters"),
        "none": (None, "lost-in-codes"),
    }
    for name, (added, verdict) in cases.items():
        fused = before if added is None else adapterops.fuse(before, added)
        adapterops.save_checkpoint(adapterops.quantize(fused, scheme), tmp_path / name)
        found = adapterops.diagnose(open_checkpoint(tmp_path / name), before, {"mine": mine})
        assert (found.code, found.verdict) == (8, verdict), found.sentence
    assert adapterops.diagnose(open_checkpoint(tmp_path / "less"), before, {"mine": mine}).weights["mine"][
        0
    ] == pytest.approx(0.3, abs=0.02)
    none = open_checkpoint(tmp_path / "none")
    assert adapterops.diagnose(none, none, {"mine": mine}).sentence == "this is the base: no update is in it"


def test_a_base_that_was_only_quantized(tmp_path: Path) -> None:
    """What rounding to codes changes is no update, and is not taken for one; nor is an update taken for rounding."""
    before = open_checkpoint(write(tmp_path / "plain", base(1, torch.bfloat16)))
    adapterops.save_checkpoint(adapterops.quantize(before, "nf4"), tmp_path / "codes")
    adapterops.save_checkpoint(adapterops.dequantize(open_checkpoint(tmp_path / "codes")), tmp_path / "back")
    for name in ("codes", "back"):
        found = adapterops.diagnose(open_checkpoint(tmp_path / name), before)
        assert (found.verdict, found.sentence) == ("base", "this is the base: 14 weights only rounded to nf4")
    mine = open_adapter(lora(1, modules=["model.layers.0.mlp.up_proj"]).save(tmp_path / "a"))
    adapterops.save_checkpoint(adapterops.quantize(adapterops.fuse(before, mine), "nf4"), tmp_path / "tuned")
    found = adapterops.diagnose(open_checkpoint(tmp_path / "tuned"), before)
    assert (found.verdict, len(found.spectra)) == ("different", 1)
    assert found.sentence.endswith("that includes what rounding to codes changed; 13 weights only rounded to nf4")


def test_what_codes_without_a_judge_cannot_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing says which codes are next to the base, the update is not called lost in them."""
    before = open_checkpoint(write(tmp_path / "plain", base(1, torch.bfloat16)))
    mine = open_adapter(lora(1, size=0.5).save(tmp_path / "a"))
    adapterops.save_checkpoint(adapterops.quantize(adapterops.fuse(before, 0.3 * mine), "nf4"), tmp_path / "m")
    monkeypatch.setattr(subject, "judge_of", lambda *_, **__: None)
    found = adapterops.diagnose(open_checkpoint(tmp_path / "m"), before, {"mine": mine})
    assert (found.code, found.verdict) == (9, "unknown"), found.sentence
    assert "cannot be told" in found.sentence


def test_codes_of_all_rows_are_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are judged together are in one run, and it is counted in what is held at once."""
    before = open_checkpoint(write(tmp_path / "plain", base(1, torch.bfloat16)))
    mine = open_adapter(lora(1, size=0.5).save(tmp_path / "a"))
    adapterops.save_checkpoint(adapterops.quantize(before, "nf4"), tmp_path / "m")
    of = Subject(open_checkpoint(tmp_path / "m"), [witness(before, before, mine)[0]], 512)
    unit, plain = of.units[0], of.working_memory(1)
    monkeypatch.setattr(subject, "judged_rows", lambda found: found.shape[0])
    assert of.working_memory(1) > plain
    runs: list[tuple[int, int]] = []

    class Whole:
        rows = 64

        def __call__(self, S: Any, slack: Any, begin: int, end: int) -> Any:
            runs.append((begin, end))
            return S != S, S

    monkeypatch.setattr(subject, "judge_of", lambda *_, **__: Whole())
    assert of.beyond_codes(unit, [1.0]) == 0
    assert runs == [(0, 64)]
    runs.clear()
    monkeypatch.setattr(Whole, "rows", 1)
    monkeypatch.setattr(Formula, "entire", True)
    assert of.beyond_codes(unit, [1.0]) == 0
    assert runs == [(0, 64)]


def test_what_is_read_of_a_model_that_has_another_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each weight the rows are read twice, once before and once after it is known what most of the model is; and of
    each update the factors a few times, however many modules they are compared with.
    """
    before, adapter, other = base(1, torch.bfloat16), lora(1), lora(2)
    model = open_checkpoint(write(tmp_path / "m", Merge(before, [other], CONVENTIONS["once"]).made()))
    opened = open_checkpoint(write(tmp_path / "b", before))
    mine, read = open_adapter(adapter.save(tmp_path / "a")), Counter[str]()
    sample, updates = Subject.sample, mine.updates

    def counted(self: Subject, unit: Unit, *rest: Any) -> Any:
        read["samples"] += 1
        return sample(self, unit, *rest)

    def compute(name: str) -> Any:
        read["updates"] += 1
        return updates[name]

    monkeypatch.setattr(Subject, "sample", counted)
    found = adapterops.diagnose(model, opened, {"mine": replace(mine, updates=Lazy(mine.layout, compute))})
    assert found.verdict == "something-else"
    tried = 2 * len(THROUGH)  # at most, on other grounds
    assert read["samples"] <= 2 * len(MODULES) + tried, read
    assert read["updates"] <= 7 * len(MODULES) + tried, read
