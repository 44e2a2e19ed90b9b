"""What a diagnosis says of models with a planted fault, and of sound ones, by the arithmetic of several programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from merged_models import CONVENTIONS, DTYPES, FAULTS, MODULES, LoRA, Merge, base, lora, write
from safetensors.torch import save_file
from torch import Tensor
from turns import ALL, some

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli.main import run
from adapterops.engine.execution import Execution
from adapterops.operations.diagnosing import diagnose
from adapterops.verification.diagnosis.diagnosing import Diagnosis
from adapterops.verification.diagnosis.grounds import nf4
from adapterops.verification.diagnosis.verdicts import ADAPTED, HEALTHY, SICK, UNJUDGED

SIXTEEN = {"cast", "scaled-after", "through-float16"}
"""Which are something else only on 16-bit weights."""

ONE = Execution(workers=1)


def diagnosed(
    model: Mapping[str, Tensor], before: Mapping[str, Tensor], adapters: Sequence[LoRA] = (), tied: bool = False
) -> Diagnosis:
    with TemporaryDirectory() as folder:
        place = Path(folder)
        opened = {f"a{i}": open_adapter(each.save(place / f"a{i}")) for i, each in enumerate(adapters)}
        models = [open_checkpoint(write(place / name, t, tied)) for name, t in (("model", model), ("base", before))]
        return diagnose(*models, opened, how=ONE)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str) -> None:
    fault = FAULTS[name]
    assert len(FAULTS) >= 60
    assert len(CONVENTIONS) >= 5
    turn = list(FAULTS).index(name)
    for index in range(turn, turn + (len(CONVENTIONS) if ALL else 1)):
        convention, arithmetic = list(CONVENTIONS.items())[index % len(CONVENTIONS)]
        dtypes = list(DTYPES.values())
        before = base(index, torch.bfloat16 if convention in SIXTEEN else dtypes[index % 3])
        adapters = [lora(index + 100 * k, 8, 4.0, 0.05, dtypes[(index + 1) % 3]) for k in range(len(fault.weights))]
        found = diagnosed(fault.plant(Merge(before, adapters, arithmetic, fault.weights)), before, adapters)
        words = " ".join([found.sentence, *(each.what for each in found.findings)])
        assert found.code == SICK, convention
        assert fault.says in words, (convention, words)
        if fault.places:
            places = {each.place.removesuffix(".weight") for each in found.findings}
            assert places == {place.removesuffix(".weight") for place in fault.places}, convention


SOUND = [*product(DTYPES, DTYPES, CONVENTIONS)]
SMALL = [name for name in MODULES if "layers.1" in name and ("q_proj" in name or "down" in name)]


@pytest.mark.parametrize(("stored", "trained", "convention"), some(SOUND, 2), ids=str)
def test_no_false_alarm(stored: str, trained: str, convention: str) -> None:
    """63 kinds of merges, of which every other here, each at five ranks, scales and sizes."""
    shapes = [(4, 6, 0.02), (8, 8, 0.002), (2, 1, 0.2), (4, 4, 0.0005), (1, 32, 0.05)]
    for seed, (rank, alpha, size) in enumerate(shapes):
        before = base(seed, DTYPES[stored])
        adapter = lora(seed, rank, alpha, size, DTYPES[trained], SMALL, rslora=seed % 2 == 1)
        found = diagnosed(Merge(before, [adapter], CONVENTIONS[convention]).made(), before, [adapter])
        assert found.code == HEALTHY, (seed, found.sentence, found.findings)
        assert found.roundings, seed


@pytest.mark.parametrize("convention", ["once", "peft", "cast"])
@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.5, 0.5), (1.0, 1.0), (-0.5, 1.2)], ids=str)
def test_weights_of_several(weights: tuple[float, float], convention: str) -> None:
    before = base(3, torch.bfloat16)
    adapters = [lora(5, 8, 4.0, 0.03, torch.bfloat16), lora(6, 4, 6.0, 0.01, modules=list(MODULES)[:9])]
    found = diagnosed(Merge(before, adapters, CONVENTIONS[convention], weights).made(), before, adapters)
    assert found.code == HEALTHY, found
    assert [weight for weight, _ in found.weights.values()] == pytest.approx(weights)
    assert all(0 < error < 1e-3 for _, error in found.weights.values())


def test_one_of_several_is_not_in_it() -> None:
    before, adapters = base(3, torch.float16), [lora(seed) for seed in (1, 2, 3)]
    found = diagnosed(Merge(before, adapters, CONVENTIONS["once"], (1, 0, 0.5)).made(), before, adapters)
    assert found.code == SICK
    assert "not in it" in found.sentence
    assert [weight for weight, _ in found.weights.values()] == [1.0, 0.0, 0.5]


def test_what_cannot_be_told_apart() -> None:
    before, adapter = base(3, torch.bfloat16), lora(1)
    found = diagnosed(Merge(before, [adapter], CONVENTIONS["once"]).made(), before, [adapter, adapter])
    assert found.code == HEALTHY
    assert "cannot be told apart" in found.sentence
    assert sum(weight for weight, _ in found.weights.values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("stored", DTYPES)
def test_another_adapter_and_another_base(stored: str) -> None:
    before, adapter = base(3, DTYPES[stored]), lora(1)
    model = Merge(before, [adapter], CONVENTIONS["once"]).made()
    for found in (diagnosed(model, before, [lora(2)]), diagnosed(model, base(4, DTYPES[stored]), [adapter])):
        assert found.code == SICK
        assert "not the base and a weighted sum" in found.sentence
    assert "tensors that no adapter changes differ" in found.sentence


def test_an_update_below_a_step() -> None:
    before, adapter = base(3, torch.bfloat16), lora(1, size=1e-9)
    found = diagnosed(before, before, [adapter])
    assert (found.code, found.verdict) == (UNJUDGED, "unknown")


def test_the_base_through_nf4() -> None:
    before, adapter = base(3, torch.bfloat16), lora(1)
    names = [f"{module}.weight" for module in MODULES]
    under = {name: torch.from_numpy(nf4(before[name].double().numpy())).bfloat16() for name in names}
    merge = Merge(before, [adapter], CONVENTIONS["once"], under=under)
    found = diagnosed(merge.made(), before, [adapter])
    assert (found.code, found.verdict, found.under) == (SICK, ADAPTED, "nf4")
    every = [name for name, each in before.items() if each.ndim == 2 and name not in under]
    more = {name: torch.from_numpy(nf4(before[name].double().numpy())).bfloat16() for name in every}
    found = diagnosed(merge.made() | more, before, [adapter])
    assert (found.code, found.under, found.findings) == (SICK, "nf4", [])
    found = diagnosed(merge.made() | {name: each * 1.1 for name, each in more.items()}, before, [adapter])
    assert {each.place for each in found.findings} == set(every)
    found = diagnosed(before | under, before, [adapter])
    assert (found.code, found.under) == (SICK, "nf4")
    assert "no update is in it" in found.sentence


def test_a_tied_head() -> None:
    """A second copy of the embedding changes nothing, another output embedding does."""
    before, adapter = base(3, torch.bfloat16), lora(1)
    del before["lm_head.weight"]
    merge = Merge(before, [adapter], CONVENTIONS["once"])
    copied = merge.made() | {"lm_head.weight": before["model.embed_tokens.weight"]}
    assert diagnosed(merge.made(), before, [adapter], tied=True).code == HEALTHY
    assert diagnosed(copied, before, [adapter], tied=True).code == HEALTHY
    found = diagnosed(copied | {"lm_head.weight": copied["lm_head.weight"] * 2}, before, [adapter], tied=True)
    assert found.code == SICK
    assert {each.kind for each in found.findings} == {"tied"}
    untied = before | {"lm_head.weight": before["model.embed_tokens.weight"] * 2}
    found = diagnosed(merge.made(), untied, [adapter], tied=True)
    assert found.code == SICK
    assert [each.what for each in found.findings] == ["is missing, and config.json ties it to the input embedding"]


@pytest.mark.parametrize("stored", DTYPES)
def test_without_an_adapter(stored: str) -> None:
    before, adapter = base(3, DTYPES[stored]), lora(1, rank=4, size=0.05)
    found = diagnosed(Merge(before, [adapter], CONVENTIONS["once"]).made(), before)
    assert (found.code, found.verdict, found.rank) == (HEALTHY, "different", 4)
    assert len(found.spectra) == len(MODULES)
    assert diagnosed(before, before).verdict == "base"
    generator = torch.Generator().manual_seed(1)
    wide = {
        name: (w.float() + 0.01 * torch.randn(w.shape, generator=generator)).to(w.dtype) for name, w in before.items()
    }
    tuned = diagnosed(wide, before)
    assert tuned.rank is None or tuned.rank > 40


def test_other_wrappers_in_the_names() -> None:
    before, adapter = base(3, torch.bfloat16), lora(1)
    made = Merge(before, [adapter], CONVENTIONS["once"]).made()
    wrapped = {name.replace("model.", "model.language_model.", 1): tensor for name, tensor in made.items()}
    assert diagnosed(wrapped, before, [adapter]).code == HEALTHY


@pytest.mark.parametrize(
    ("number", "code", "what"),
    [
        (float("nan"), 8, "is NaN in 1 of 64 entries"),
        (float("inf"), 8, "is infinite in 1 of 64 entries"),
        (3e38, 0, "rank 1 or less"),
        (1e-30, 0, "rank 1 or less"),
    ],
)
def test_a_difference_in_numbers_that_are_none_or_hardly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: float, code: int, what: str
) -> None:
    for name, value in (("base", 0.0), ("model", number)):
        (tmp_path / name).mkdir()
        weight = torch.zeros(8, 8)
        weight[2, 3] = value
        save_file({"model.layers.0.q_proj.weight": weight}, tmp_path / name / "model.safetensors")
    assert run(["diagnose", str(tmp_path / "model"), "--base", str(tmp_path / "base")]) == code
    assert what in capsys.readouterr().out
    if code:
        assert run(["diagnose", str(tmp_path / "base"), "--base", str(tmp_path / "model")]) == code
        assert f"cannot be compared: that of the base {what}" in capsys.readouterr().out
