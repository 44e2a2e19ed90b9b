"""What a merged model is: one guess that most of it agrees with, and all that does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.engine import local
from adapterops.engine.execution import Execution
from adapterops.errors import count
from adapterops.verification.diagnosis.conventions import Convention
from adapterops.verification.diagnosis.finite import not_finite
from adapterops.verification.diagnosis.fitting import joint
from adapterops.verification.diagnosis.grounds import THROUGH, of_checkpoint, only_rounded, through
from adapterops.verification.diagnosis.judging import Judged, Look, best, judge, look, looks
from adapterops.verification.diagnosis.likeness import Likeness
from adapterops.verification.diagnosis.others import CHANGED, name_findings, other_findings, renamed, unlike
from adapterops.verification.diagnosis.samples import Ground, Sample, Unit
from adapterops.verification.diagnosis.spectrum import RANK, Spectrum, spectrum, working_memory
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.diagnosis.suspects import NOT_FINITE, Symptom, suspect
from adapterops.verification.diagnosis.verdicts import (
    ADAPTED,
    BASE,
    DIFFERENT,
    ELSE,
    HALF,
    HEALTHY,
    LOST,
    ORIGINAL,
    PARTLY,
    SICK,
    UNJUDGED,
    UNKNOWN,
    verdict_of,
)
from adapterops.verification.unloaded import lacking
from adapterops.verification.witness import witness

FAR = 0.02
"""Of the entries that may be in codes beyond the next ones."""

TRIED = 8
"""Units that other grounds are tried on."""


@dataclass(frozen=True)
class Diagnosis:
    """What a model is.

    Attributes:
        verdict: in a word; `sentence` says it.
        code: 0 where all is as it should be, 8 where not, 9 where nothing can be told.
        weights: of each adapter, and the standard deviation of it; infinite where it cannot be told from the others.
        roundings: the conventions that explain most of what was looked at equally well, the plainest first.
        under: what the updates were added to: a key of `UNDER`.
        units: that updates were looked for in; `right` of them are as the weights say, `exact` of those in every
            entry as a convention rounds, `seen` of them large enough to show it.
        looked_at: the part of their entries that was compared.
        kept: ⟨M - W, ΔW⟩ / ‖ΔW‖²: how much of the updates is left after rounding.
        quantized: the weights are in codes, whose rounding is judged by what is left of the update only.
        findings: what is not as it should be.
        spectra: of the difference, where no adapter was given.
        left: tensors of the base that transformers does not load, and the model has not.
    """

    verdict: str
    sentence: str
    code: int
    weights: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    roundings: Sequence[Convention] = ()
    under: str = "base"
    units: int = 0
    looked_at: float = 0.0
    right: int = 0
    exact: int = 0
    seen: int = 0
    kept: float | None = None
    quantized: bool = False
    findings: Sequence[Symptom] = ()
    spectra: Sequence[Spectrum] = ()
    left: Sequence[str] = ()

    @property
    def healthy(self) -> bool:
        return self.code == HEALTHY

    @property
    def rank(self) -> int | None:
        """The smallest rank that holds 99 % of every weight's difference beyond rounding; None where one needs more."""
        ranks = [each.rank(0.99) for each in self.spectra]
        return max((rank for rank in ranks if rank), default=None) if all(ranks) else None

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "healthy": self.healthy,
            "judged": self.code != UNJUDGED,
            "weights": {
                name: {"weight": weight, "error": error if np.isfinite(error) else None}
                for name, (weight, error) in self.weights.items()
            },
            "roundings": [each.name for each in self.roundings],
            "under": self.under,
            "looked_at": self.looked_at,
            "modules": {"compared": self.units, "right": self.right, "exact": self.exact, "showing": self.seen},
            "kept": self.kept,
            "quantized": self.quantized,
            "rank": self.rank,
            "findings": [vars(each) for each in self.findings],
            "spectra": {each.tensor: each.as_json() for each in self.spectra},
            "left_out": list(self.left),
        }


def diagnosed(
    model: Checkpoint,
    base: Checkpoint,
    adapters: Mapping[str, Adapter],
    original: Checkpoint | None,
    how: Execution,
) -> Diagnosis:
    """What `model` is, of adapters with all that the base settles of them: see `operations.diagnosing`, which it is for.

    Rows spread over every weight that an adapter changes are compared with W + Σ w ΔW in float64, w by least squares that
    know how coarse the stored numbers are; the weights that most modules agree with are those of the model. What is
    exactly as some convention of rounding makes it is right; a module that none explains is looked at for what it is.
    Tensors without updates are compared by their bytes. Without adapters the difference is measured: its rank, its size.
    """
    model = renamed(model, base)
    base, left = lacking(base, model)
    found = _diagnosed(model, base, adapters, original, how)
    return replace(found, left=left)


def _diagnosed(
    model: Checkpoint,
    base: Checkpoint,
    adapters: Mapping[str, Adapter],
    original: Checkpoint | None,
    how: Execution,
) -> Diagnosis:
    common = [name for name in model.layout if name in base.layout]
    if not common:
        return Diagnosis(UNKNOWN, "the model and the base have no tensor in common, by their names", UNJUDGED)
    if not adapters:
        return _difference(model, base, common, how)
    pairs = [witness(model, base, adapter) for adapter in adapters.values()]
    subject = Subject(model, [each for each, _ in pairs])
    how = how.within(subject.working_memory)
    found = looks(subject, how)
    names = list(name_findings(subject, [doubts for _, doubts in pairs]))
    if not found:
        return _replaced(subject, names, how)
    under, ground, found = _ground(subject, base, original, found, how)
    return _judged(subject, list(adapters), found, under, ground, names, how)


def _replaced(subject: Subject, names: list[Symptom], how: Execution) -> Diagnosis:
    """Of adapters without an update of a weight that is in both: whether their full tensors are there."""
    model, base = subject.model, subject.witnesses[0].base
    wanted = {tensor for each in subject.witnesses for tensor, its in each.wanted.items() if its.full or its.rows}
    full = sorted(wanted & model.layout.keys())
    if not full:
        return Diagnosis(UNKNOWN, "no weight that the adapters change is in both", UNJUDGED, findings=names)
    found = local.run(lambda name: _others(subject, name, "base", None), sorted(model.layout), how=how)
    symptoms = [each for some in found for each in some]
    findings, wrong = list(dict.fromkeys([*names, *symptoms])), {each.place for each in symptoms}
    there = [name for name in full if name not in wrong]
    absent = [name for name in full if name in base.stored and base.stored[name].same_bytes(model.stored[name])]
    others = "; other tensors differ" if wrong - wanted or names else ""
    if not there:
        none = "no full tensor of the adapters is in it"
        if absent == full:
            return Diagnosis(BASE, f"this is the base: {none}{others}", SICK, findings=findings)
        return Diagnosis(ELSE, f"this is not the base and the adapters: {none}{others}", SICK, findings=findings)
    sum_ = "this is the base and full tensors of the adapters, which have no updates of weights"
    if not findings:
        return Diagnosis(ADAPTED, f"{sum_}, complete", HEALTHY)
    some = f", {len(there)} of {len(full)}" if len(there) < len(full) else ""
    return Diagnosis(PARTLY, f"{sum_}{some}{others}", SICK, findings=findings)


def _ground(
    subject: Subject, base: Checkpoint, original: Checkpoint | None, found: list[Look], how: Execution
) -> tuple[str, Ground | None, list[Look]]:
    """What most of the model is explained with: the base, the original, or the base through codes."""
    changed = [each for each in found if not each.unchanged and not each.quantized]
    if not changed or sum(each.explained for each in changed) * 2 > len(changed):
        return "base", None, found
    others = {} if original is None else {ORIGINAL: of_checkpoint(original, subject.model.layout)}
    others |= {name: through(base, subject.below, name) for name in THROUGH}
    few = changed[:: max(1, len(changed) // TRIED)][:TRIED]
    left = sum(each.left[0] for each in few)
    for name, ground in others.items():
        loose = THROUGH[name].loose if name in THROUGH else 0.0
        if _explains_more(subject, [each.unit for each in few], ground, loose, left / 10):
            return name, ground, looks(subject, how, ground, loose)
    return "base", None, found


def _explains_more(subject: Subject, units: Sequence[Unit], ground: Ground, loose: float, most: float) -> bool:
    """Whether what a ground leaves unexplained of some units is less than `most`."""
    left = 0.0
    for unit in units:
        left += look(subject, unit, ground, loose).left[0]
        if left >= most:
            return False
    return True


def _judged(
    subject: Subject,
    names: Sequence[str],
    found: Sequence[Look],
    under: str,
    ground: Ground | None,
    findings: list[Symptom],
    how: Execution,
) -> Diagnosis:
    guess, loose = best(found), THROUGH[under].loose if under in THROUGH else 0.0
    alike = Likeness(subject)

    def reason(judged: Judged, sample: Sample) -> Symptom | None:
        return None if judged.right else suspect(alike, judged, guess, ground, loose, sample)

    pairs, roundings = judge(subject, found, guess, ground, loose, reason, how)
    judged, why = [each for each, _ in pairs], [each for _, each in pairs if each]
    wrong = [each for each in judged if not each.right]
    others = local.run(lambda name: _others(subject, name, under, ground), sorted(subject.model.layout), how=how)
    reported = {each.place for each in why if each.kind == NOT_FINITE}
    rest = {each.unit.tensor for each in judged} - {
        each.unit.tensor for each in judged if subject.place(each.unit) in reported
    }
    broken = local.run(lambda name: (name, not_finite(subject.model.stored[name])), sorted(rest), how=how)
    endless = [Symptom(NOT_FINITE, name, what) for name, what in broken if what]
    findings = list(dict.fromkeys([*findings, *why, *(each for some in others for each in some), *endless]))
    telling = [each for each in found if not each.unchanged] or found
    fitted = joint([each.fit for each in telling])
    weights = guess.weights if guess.factor is None else fitted.weights
    stated = dict(zip(names, zip(map(float, weights), map(float, fitted.errors), strict=True), strict=True))
    dots, squares = np.sum([each.kept for each in judged if each.right] or [(0.0, 0.0)], axis=0)
    in_codes = _in_codes(subject, found, [weight for weight, _ in stated.values()])
    verdict, sentence, code = verdict_of(guess, found, judged, findings, under, stated, in_codes)
    return Diagnosis(
        verdict,
        sentence,
        code,
        stated if verdict in (ADAPTED, PARTLY) else {},
        roundings if verdict in (ADAPTED, PARTLY) else (),
        under,
        len(judged),
        sum(each.entries for each in judged) / sum(each.unit.entries for each in judged),
        len(judged) - len(wrong) if verdict in (ADAPTED, PARTLY) else 0,
        sum(each.convention is not None for each in judged if each.right),
        sum(each.seen for each in judged),
        float(dots / squares) if squares and verdict in (ADAPTED, PARTLY) else None,
        all(each.quantized for each in found),
        findings,
    )


def _in_codes(subject: Subject, found: Sequence[Look], weights: Sequence[float]) -> str | None:
    """What became of the one update of which a model in codes holds less than half: it is lost where every code is one of
    the two next to the base, and something else is there where it is not even next to what is left of the update. `UNKNOWN` where no
    formula says which codes are next.
    """
    if not all(each.quantized for each in found) or len(weights) != 1 or weights[0] >= HALF:
        return None
    few = [each.unit for each in found[:: max(1, len(found) // TRIED)]][:TRIED]

    def beyond(weight: float) -> float | None:
        parts = [part for unit in few if (part := subject.beyond_codes(unit, [weight])) is not None]
        return float(np.mean(parts)) if parts else None

    far = beyond(0.0)
    if far is None:
        return UNKNOWN
    if far <= FAR:
        return LOST
    return ELSE if (beyond(weights[0]) or 0.0) > FAR else None


def _others(subject: Subject, tensor: str, under: str, ground: Ground | None) -> list[Symptom]:
    """What is wrong with a tensor where no update is added. Where updates were added to the original, or to the base
    through codes, so may the weights be that have none.
    """
    found = list(other_findings(subject, tensor, ground))
    base = subject.witnesses[0].base
    changed = [each.kind for each in found] == [CHANGED] and tensor not in {unit.tensor for unit in subject.units}
    if under == ORIGINAL and changed and ground and (start := ground(tensor)):
        return list(unlike(subject, tensor, start))
    if under in THROUGH and changed and subject.model.layout[tensor].shape == base.layout[tensor].shape:
        return found if only_rounded(subject.model, base, tensor) != under else []
    return found


def _difference(model: Checkpoint, base: Checkpoint, common: Sequence[str], how: Execution) -> Diagnosis:
    """What is known without an adapter: which tensors differ, and of what rank the differences are."""

    def differs(name: str) -> bool:
        one, other = model.stored[name], base.stored[name]
        return one.shape != other.shape or one.dtype != other.dtype or not one.same_bytes(other)

    changed = [name for name, each in zip(common, local.run(differs, common, how=how), strict=True) if each]
    same = [name for name in changed if model.layout[name].shape == base.layout[name].shape]
    numbers = local.run(lambda name: not_finite(model.stored[name]) or _of_base(base, name), same, how=how)
    endless = {name: what for name, what in zip(same, numbers, strict=True) if what}
    same = [name for name in same if name not in endless]
    matrices = [name for name in same if len(model.layout[name].shape) == 2 and min(model.layout[name].shape) > 1]
    how = how.within(partial(working_memory, [model.layout[name].shape for name in matrices]))
    how_rounded = list(local.run(lambda name: only_rounded(model, base, name), matrices, how=how))
    left = [name for name, scheme in zip(matrices, how_rounded, strict=True) if not scheme]
    found = list(local.run(lambda name: spectrum(model, base, name), left, how=how))
    spectra = [each for each in found if each.square]
    gone = [Symptom("name", name, "is missing") for name in sorted(base.layout.keys() - model.layout.keys())]
    new = [Symptom("name", name, "is not in the base") for name in sorted(model.layout.keys() - base.layout.keys())]
    reshaped = [name for name in changed if name not in same and name not in endless]
    shapes = [Symptom("changed", name, "has another shape than in the base") for name in reshaped]
    broken = [Symptom(NOT_FINITE, name, what) for name, what in endless.items()]
    findings = [*gone, *new, *shapes, *broken]
    unlike = [name for name in same if name not in {each.tensor for each in found} and name not in matrices]
    rounded = {name: scheme for name, scheme in zip(matrices, how_rounded, strict=True) if scheme}
    if not spectra and not unlike and not findings:
        return Diagnosis(BASE, f"this is the base: {_rounded(rounded) or 'every number is the same'}", SICK)
    diagnosis = Diagnosis(DIFFERENT, "", SICK if endless else HEALTHY, findings=findings, spectra=spectra)
    weights, others = count(len(spectra), "weight"), len(unlike) + len(findings) - len(broken)
    if not spectra:
        sentence = "the weights are the base's" + (f", and not {count(others, 'other tensor')}" if others else "")
    elif diagnosis.rank:
        sentence = f"this is the base and an update of rank {diagnosis.rank} or less in {weights}: a LoRA holds it"
    else:
        more = count(sum(each.rank(0.99) is None for each in spectra), "weight")
        sentence = f"this is the base changed in {weights}, and in {more} by more than a rank of {RANK}"
    if broken:
        sentence += f"; {count(len(broken), 'tensor')} {'is' if len(broken) == 1 else 'are'} not finite"
    if any(model.stored[each.tensor].scheme for each in spectra):
        sentence += "; that includes what rounding to codes changed"
    return replace(diagnosis, sentence="; ".join(filter(None, (sentence, _rounded(rounded)))))


def _of_base(base: Checkpoint, name: str) -> str | None:
    found = not_finite(base.stored[name])
    return found and f"cannot be compared: that of the base {found}"


def _rounded(rounded: Mapping[str, str]) -> str:
    """What was only rounded: of tensors the schemes."""
    schemes = sorted(set(rounded.values()))
    return " and ".join(
        f"{count(sum(each == scheme for each in rounded.values()), 'weight')} only rounded to {scheme}"
        for scheme in schemes
    )
