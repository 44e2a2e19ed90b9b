"""Which updates a difference may be, by a few entries of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from merged_models import CONVENTIONS, MODULES, LoRA, Merge, base, lora, write

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.engine.execution import Execution
from adapterops.operations.diagnosing import diagnose
from adapterops.storage.lazy import Lazy
from adapterops.verification.diagnosis.forms import form
from adapterops.verification.diagnosis.likeness import MOST, Likeness, natural, resembles, spread
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.witness import witness

Q, K1 = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.k_proj"


def subject(folder: Path, merged: dict[str, Any], before: dict[str, Any], *adapters: LoRA) -> Subject:
    model, opened = (open_checkpoint(write(folder / name, tensors)) for name, tensors in (("m", merged), ("b", before)))
    files = [open_adapter(each.save(folder / f"a{k}")) for k, each in enumerate(adapters)]
    return Subject(model, [witness(model, opened, each)[0] for each in files])


@pytest.mark.parametrize(
    ("B", "A", "what"),
    [
        (K1, K1, f"holds the update of {K1}"),
        (Q, K1, f"holds its B and the A of {K1}"),
        (K1, Q, f"holds its A and the B of {K1}"),
    ],
)
def test_what_a_difference_resembles(B: str, A: str, what: str, tmp_path: Path) -> None:
    before, adapter = base(1, torch.float32), lora(1, 8, size=0.05)
    mixed = replace(adapter, factors={**adapter.factors, Q: (adapter.factors[B][0], adapter.factors[A][1])})
    of = subject(tmp_path, Merge(before, [mixed], CONVENTIONS["once"]).made(), before, adapter)
    unit = next(each for each in of.units if each.module == Q)
    sample = of.sample(unit)
    assert sample is not None
    (found,) = [each for each in Likeness(of).candidates(unit, 0, sample.rows, sample.D) if each.what == what]
    update = found.update(of.adapters[0].updates)
    delta = of.other(unit, sample, found.begins(update), update, found.transposed)
    np.testing.assert_allclose(delta.values, sample.D, atol=1e-6)


def test_those_near_by_come_first(tmp_path: Path) -> None:
    before, adapter = base(1, torch.float32), lora(1)
    of = subject(tmp_path, before, before, adapter)
    unit = next(each for each in of.units if each.module == Q)
    found = [each.source for each in Likeness(of).nearest(unit, 0)]
    assert set(found[:3]) == {f"model.layers.0.self_attn.{name}_proj" for name in "kvo"}
    assert found[3] == "model.layers.1.self_attn.q_proj"
    assert Q not in found
    assert len(found) == len(set(found)) == 7 <= MOST


def test_order_and_entries() -> None:
    assert sorted(["l.10.q", "l.9.q", "l.9.k"], key=natural) == ["l.9.k", "l.9.q", "l.10.q"]
    assert spread(10_000, 64)[-1] < 10_000
    assert resembles(np.ones((2, 2)), -np.ones((2, 2)))
    assert not resembles(np.eye(2), 1 - np.eye(2))


class Counting(Counter[str]):
    """How often each update of an adapter is read."""

    def of(self, adapter: Adapter) -> Adapter:
        def compute(module: str) -> Any:
            self[module] += 1
            return adapter.updates[module]

        return replace(adapter, updates=Lazy(adapter.layout, compute))


def test_another_adapter_is_read_a_few_times(tmp_path: Path) -> None:
    """However many modules have the shape of each, of which every update may be in every module."""
    before, reads = base(1, torch.bfloat16), Counting()
    merged = Merge(before, [lora(1, 8, size=0.05)], CONVENTIONS["once"]).made()
    model, opened = (open_checkpoint(write(tmp_path / n, t)) for n, t in (("m", merged), ("b", before)))
    adapter = open_adapter(lora(2, 8, size=0.05).save(tmp_path / "a"))
    found = diagnose(model, opened, {"a": reads.of(adapter)}, how=Execution(workers=1))
    assert len(found.findings) == len(MODULES)
    assert max(reads.values()) <= 16, reads


@pytest.mark.parametrize("count", [2, 5])
def test_products_of_factors_of_many(count: int, tmp_path: Path) -> None:
    """A's and B's combined separately, of more than two adapters and with unlike weights."""
    before = base(1, torch.bfloat16)
    adapters = [lora(k, 4, size=0.05) for k in range(count)]
    weights = [0.3 + 0.2 * k for k in range(count)]

    def combined(side: int, module: str) -> Any:
        return sum(weight**0.5 * each.factors[module][side] for weight, each in zip(weights, adapters, strict=True))

    mean = replace(adapters[0], factors={module: (combined(0, module), combined(1, module)) for module in MODULES})
    of = subject(tmp_path, Merge(before, [mean], CONVENTIONS["once"]).made(), before, *adapters)
    unit = next(each for each in of.units if each.module == Q)
    sample = of.sample(unit)
    assert sample is not None
    found = form(of, unit, sample, np.ones(count), None, 0.0)
    assert found
    assert found[0] == "separate"


def fused(of: Subject, turned: bool) -> Subject:
    """The same, where q, k and v of layer 0 get a third each of one update, of its rows or, transposed, its columns."""
    (witnessed,) = of.witnesses
    adapter, names = witnessed.adapter, [Q.replace("q_proj", f"{name}_proj") for name in "qkv"]
    one, *others = (adapter.updates[name] for name in names)
    B = np.concatenate([one.B, *(each.B for each in others)])
    joined = replace(one, B=one.A.T, A=B.T) if turned else replace(one, B=B)
    shape = (64, 192) if turned else (192, 64)
    layout = {**adapter.layout, Q: replace(adapter.layout[Q], shape=shape)}
    updates = Lazy(layout, lambda name: joined if name == Q else adapter.updates[name])
    wanted = dict(witnessed.wanted)
    for index, name in enumerate(names):
        tensor = f"{name}.weight"
        places = [replace(each, source=Q, first=index * 64, transposed=turned) for each in wanted[tensor].places]
        wanted[tensor] = replace(wanted[tensor], places=places)
    own = replace(adapter, layout=layout, updates=updates)
    return replace(of, witnesses=[replace(witnessed, adapter=own, wanted=wanted)])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("module", "what"),
    [
        ("k_proj", f"holds {{}} 128 to 191 of the update of {Q}"),
        ("k_proj", "holds its update transposed"),
        ("o_proj", f"holds the update of {Q}"),
        ("o_proj", f"holds its A and the B of {Q}"),
        ("o_proj", f"holds its B and the A of {Q}"),
    ],
)
def test_parts_of_a_fused_update(module: str, what: str, turned: bool, tmp_path: Path) -> None:
    """Every third is tried by itself, and what has other sizes is passed over."""
    before, adapter, of_layer = base(1, torch.float32), lora(1, 8, size=0.05), "model.layers.0.self_attn."
    of = fused(subject(tmp_path, before, before, adapter), turned)
    unit = next(each for each in of.units if each.tensor == f"{of_layer}{module}.weight")
    rows, updates = np.arange(64), of.adapters[0].updates
    joined = updates[Q].A.T @ updates[Q].B.T if turned else updates[Q].B @ updates[Q].A
    own = updates[of_layer + "o_proj"]
    factor = (updates[Q].A.T if turned else updates[Q].B)[128:]
    if module == "k_proj":
        D = joined[64:128].T if "transposed" in what else joined[128:]
    else:
        D = {"u": joined[128:], "A": factor @ own.A, "B": own.B @ (updates[Q].B.T if turned else updates[Q].A)}[
            "u" if "the update" in what else what[10]
        ]
    found = list(Likeness(of).candidates(unit, 0, rows, D.astype(np.float64)))
    if turned and module == "o_proj" and "the update" not in what:
        return  # these factors are the other way round: that they are passed over without an error is what counts
    whole = what.format("columns" if turned else "rows")
    sample = of.sample(unit)
    assert sample is not None
    near = []
    for each in found:
        if each.what == whole:
            update = each.update(updates)
            near.append(of.other(unit, sample, each.begins(update), update, each.transposed).values / update.scale)
    assert any(np.allclose(each, D, atol=1e-6) for each in near)
