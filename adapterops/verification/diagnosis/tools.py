"""How the programs that merge adapters round, as far as their source says, and whether a model is what one of them makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.verification.diagnosis.conventions import CONVENTIONS, Convention, loosely
from adapterops.verification.diagnosis.judging import Guess, Judged, Trial, look
from adapterops.verification.diagnosis.likeness import Likeness
from adapterops.verification.diagnosis.others import name_findings, other_findings, renamed
from adapterops.verification.diagnosis.samples import TILE, Unit
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.diagnosis.suspects import CODES, Symptom, suspect
from adapterops.verification.unloaded import lacking
from adapterops.verification.witness import witness

PEFT = ("once", "update-in-adapter-dtype", "all-in-base-dtype", "products-in-base-dtype")
SAFE = ("update-in-base-dtype", "update-in-both-dtypes")


@dataclass(frozen=True)
class Tool:
    """A program that merges.

    Attributes:
        roundings: the conventions that it follows, by what it is asked for; after each adapter, too, where `in_steps`.
        source: where that was read.
    """

    title: str
    roundings: Sequence[str]
    source: str
    in_steps: bool = False

    @property
    def conventions(self) -> list[Convention]:
        return [
            each
            for each in CONVENTIONS
            if each.name in self.roundings
            or (self.in_steps and each.in_steps and each.name.removesuffix("-in-steps") in self.roundings)
        ]


TOOLS = {
    "peft": Tool("PEFT", (*PEFT, *SAFE), "peft 0.21 tuners/lora/layer.py, merge and get_delta_weight", in_steps=True),
    "mergekit": Tool(
        "mergekit",
        (*PEFT, "through-float16", "through-bfloat16"),
        "mergekit 0.1.5 common.py, ModelReference.merged: PEFT in --lora-merge-dtype",
    ),
    "unsloth": Tool("Unsloth", ("once",), "unsloth save.py, _merge_lora: addmm in float32, then one cast"),
    "llama-factory": Tool(
        "LLaMA-Factory",
        PEFT,
        "LLaMA-Factory model/adapter.py, _setup_lora_tuning: PEFT's merge_and_unload for one adapter after another",
        in_steps=True,
    ),
    "axolotl": Tool(
        "axolotl",
        PEFT,
        "axolotl cli/utils/lora_merge.py, _merge_tensor_with_lora: PEFT's get_delta_weight, the sum in float32, one cast; "
        "cli/merge_lora.py with merge_method legacy: PEFT's merge_and_unload",
    ),
}
"""Whose source was read. After QLoRA axolotl adds to the base through NF4 and back, which is not the base."""


@dataclass(frozen=True)
class Recognition:
    """Whether a model is what a program makes of base and adapters.

    Attributes:
        roundings: convention → how many modules are exactly that.
        findings: what is not so.
        left: tensors of the base that transformers does not load, and the model has not.
    """

    tool: str
    modules: int
    roundings: Mapping[str, int]
    findings: Sequence[Symptom]
    left: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        return {
            "verified": self.ok,
            "made_by": self.tool,
            "modules": self.modules,
            "roundings": dict(self.roundings),
            "problems": [{"place": each.place, "what": each.what} for each in self.findings],
            "left_out": list(self.left),
        }


def recognised(
    model: Checkpoint, base: Checkpoint, adapters: Sequence[Adapter], tool: str, *, how: Execution = DEFAULT
) -> Recognition:
    """Whether every entry of `model` is what a program of `TOOLS` makes of the base and adapters, each with weight 1.

    Cost: both checkpoints are read once and ΔW is formed, in float64, tile by tile; once more with rounded
        factors, where a convention rounds them.
    """
    model = renamed(model, base)
    base, left = lacking(base, model)
    pairs = [witness(model, base, adapter) for adapter in adapters]
    subject = Subject(model, [each for each, _ in pairs], TILE)
    judge = Trial(subject, Guess(np.ones(len(adapters))), None, 0.0, TOOLS[tool].conventions)
    how = how.within(subject.working_memory)
    units = list(local.run(lambda unit: _convention(judge, unit), subject.units, how=how))
    wrong = [unit for unit, name in zip(subject.units, units, strict=True) if name is None]
    findings = list(name_findings(subject, [doubts for _, doubts in pairs]))
    alike = Likeness(subject)
    findings += local.run(lambda unit: _why(judge, alike, unit), wrong, how=how)
    others = local.run(
        lambda name: list(other_findings(subject, name, None, every=True)), sorted(model.layout), how=how
    )
    findings += [finding for some in others for finding in some]
    return Recognition(tool, len(units), Counter(name for name in units if name), findings, left)


def _convention(judge: Trial, unit: Unit) -> str | None:
    """The first convention that all tiles of a unit follow.

    Cost: every tile is read once, and once more with rounded factors, until no convention is left.
    """
    left = list(judge.conventions)
    for tile in unit.tiles():
        sample, rounded = judge.subject.sample(tile), judge.rounded(tile)
        if sample.dtype is None:
            return None
        left = [each for each in left if judge.explains(each, tile, sample, rounded)]
        if not left:
            return None
    return left[0].name if left else None


def _why(judge: Trial, alike: Likeness, unit: Unit) -> Symptom:
    found, sample = look(judge.subject, unit), judge.subject.sample(unit)
    if sample.dtype is None:
        return Symptom(CODES, unit.module, "is in codes: how the program rounds to them is not known here")
    if not loosely(sample, judge.guess.weights).any():
        return Symptom("rounding", unit.module, "is W + ΔW, rounded otherwise than the program does")
    return suspect(alike, Judged(found, 1, 1, True, None), judge.guess, None, 0.0, sample)
