"""A comparison in short: what it is about, three sentences, and the command that may come next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from adapterops.errors import count
from adapterops.methods.settings import usual
from adapterops.operations.comparing.analysis import ENERGY, LITTLE, kept_energy, rank_of
from adapterops.operations.comparing.comparison import Comparison
from adapterops.operations.comparing.profile import Profile
from adapterops.operations.comparing.sizes import cut, sizes
from adapterops.operations.strangers import strangers
from adapterops.reports.figures import brief, percent, signed, size
from adapterops.reports.findings import Finding, shares, span

STOP = {"never-trained", "dwarfs", "bases", "same"}
"""Warnings after which neither a merge nor a smaller copy is what to do next."""


@dataclass(frozen=True)
class Summary:
    """Three sentences, each with its numbers; the words of `command`, or none; why to try it; facts as value and name."""

    sentences: Sequence[str]
    command: Sequence[str]
    why: str
    facts: Sequence[tuple[str, str]]


def summary(comparison: Comparison, findings: Sequence[Finding]) -> Summary:
    """What follows from the numbers: facts, and one command to try."""
    many = len(comparison.profiles) > 1
    command, why = _next(comparison, findings)
    sentences = [_what(comparison), _ranks(comparison), _pairs(comparison) if many else _where(comparison)]
    return Summary(sentences, command, why, _facts(comparison))


def _what(comparison: Comparison) -> str:
    found, profiles = sizes(comparison), comparison.profiles
    models = list(dict.fromkeys(profile.base_model or "an unknown base" for profile in profiles))
    kind = "DoRA" if profiles[0].dora else "LoRA"
    what, each = f"One {kind}", "{} times fewer"
    if len(profiles) > 1:
        what, each = f"{len(profiles)} LoRAs", "each with {} times fewer parameters"
    ranks = span([profile.rank for profile in profiles], lambda rank: f"{rank:.0f}")
    parameters = size(sum(found.parameters)).removesuffix("B").strip()
    return (
        f"{what} of rank {ranks} on {count(len(comparison.kinds), 'module')} of {', '.join(models)}: {parameters} parameters "
        f"in {size(sum(found.bytes))}, {each.format(_fewer(comparison))} than the weights it changes."
    )


def _fewer(comparison: Comparison) -> str:
    """How many times fewer parameters an adapter has than the weights that it changes."""
    layouts = [profile.layout.values() for profile in comparison.profiles]
    ratios = [sum(each.entries for each in found) / max(sum(each.parameters for each in found), 1) for found in layouts]
    return span(ratios, brief)


def _ranks(comparison: Comparison) -> str:
    """What lower ranks keep: of one adapter, or of the sum of all."""
    if len(comparison.profiles) == 1:
        (profile,) = comparison.profiles
        what = "B·A" if profile.dora else "update"
        if not profile.norm:
            return f"Its {what} is zero in every module."
        few, most = profile.bracket
        if few == most:
            return f"Rank {most} keeps at least {ENERGY:.0%} of the energy of its {what}."
        return f"Rank {few} keeps at least {LITTLE:.0%} of the energy of its {what}, rank {most} at least {ENERGY:.0%}."
    spectra = list(comparison.sum.values())
    if not any(each.norm for each in spectra):
        return "Their sum is zero."
    rank, full = comparison.rank, rank_of(spectra, ENERGY)
    kept = percent(kept_energy(spectra, rank))
    more = f", and {ENERGY:.0%} takes rank {full}" if full > rank else ""
    return f"One adapter of rank {rank} holds {kept} of the energy of their sum{more}."


def _where(comparison: Comparison) -> str:
    (profile,), relative = comparison.profiles, comparison.relative(0)
    kinds = shares(comparison, 0, comparison.kinds.__getitem__)
    if not kinds:
        if profile.dora:
            return "Only its magnitudes can change something."
        full = f"Only its {count(profile.full, 'full tensor')} may change something, and no figure here is of those."
        return full if profile.full else "As it is stored, it changes nothing."
    most = max(kinds, key=kinds.__getitem__)
    norm = "The norm of its B·A" if profile.dora else "Its norm"
    most_in = f"{percent(kinds[most])} of its energy is in {most}, the most of any kind of module"
    if len(kinds) == 1:
        most_in = f"all of its energy is in {most}, the only kind of module that it changes"
    return (
        f"{norm} is {percent(relative)} of that of the weights; {most_in}."
        if relative is not None
        else f"{most_in[0].upper()}{most_in[1:]}."
    )


def _pairs(comparison: Comparison) -> str:
    pairs = [pair for pair in comparison.pairs if pair.modules and min(pair.norms)]
    if not pairs:
        return "No two of them change the same module."
    cosines = span([pair.cosine for pair in pairs], signed)
    opposed = [pair.conflict[0] for pair in pairs if pair.conflict]
    signs = f", and {span(opposed, percent)} of their entries have opposite signs" if opposed else ""
    between = "The cosine of their updates is" if len(pairs) == 1 else "Cosines between their updates are"
    return f"{between} {cosines}{signs}; unrelated updates have 0.00 and 50%."


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    found, profiles = sizes(comparison), comparison.profiles
    ranks = span([profile.rank for profile in profiles], lambda rank: f"{rank:.0f}")
    facts = [
        (f"{_fewer(comparison)}x", "fewer parameters than ΔW as a matrix"),
        (size(sum(found.bytes)), "stored"),
        (ranks, "rank"),
    ]
    if comparison.changed:
        return [*facts, (percent(comparison.change), "change of the weights, ‖W' - W0‖ / ‖W0‖")]
    if comparison.weights:
        relative = [comparison.relative(index) or 0.0 for index in range(len(profiles))]
        return [*facts, (span(relative, percent), "of the norm of the weights")]
    effective = [profile.effective_rank for profile in profiles]
    return [*facts, (span(effective, lambda rank: f"{rank:.1f}"), "effective rank")]


def _next(comparison: Comparison, findings: Sequence[Finding]) -> tuple[list[str], str]:
    """The command to try, and the sentence before it; no command where nothing could read an adapter."""
    profiles = comparison.profiles
    trained = [profile for profile in profiles if profile.norm]
    stop = next((finding for finding in findings if finding.rule in STOP), None)
    chosen = [profiles[index] for index in stop.adapters] if stop else trained
    sources = [profile.source for profile in chosen if profile.source]
    if len(sources) < len(chosen):
        return [], ""
    if stop:
        return _stopped(stop, sources)
    if len(trained) == 1:
        return _single(comparison, trained[0], sources[0], any(finding.rule == "empty-tail" for finding in findings))
    if strangers([profile.layout for profile in trained]):  # which `merge` refuses without a base
        terms = "abcdefgh"[: len(sources)] if len(sources) <= 8 else [f"a{place + 1}" for place in range(len(sources))]
        given = [f"{term}={source}" for term, source in zip(terms, sources, strict=True)]
        why = "If they are for one model, add them, for they share no module:"
        return ["adapterops", "calc", " + ".join(terms), *given, "-o", "merged"], why
    rank, most = rank_of(comparison.sum.values(), ENERGY), sum(profile.rank for profile in trained)
    added = usual(len(trained), False) == "linear"  # the rank is that of the sum
    smaller = ["--rank", str(rank)] if added and rank < most else []
    why = "Try a merge, and measure it on every task next to the single adapters:"
    return ["adapterops", "merge", *sources, *smaller, "-o", "merged"], why


def _stopped(stop: Finding, sources: Sequence[str]) -> tuple[list[str], str]:
    """What a warning has to be followed by, before a merge or a cut."""
    if stop.rule == "bases":
        why = "Only if these names mean one model, or models that were made from one another:"
        return ["adapterops", "merge", *sources, "--allow-base-mismatch", "-o", "merged"], why
    if stop.rule == "same":
        first, second = sources[:2]
        return ["adapterops", "calc", "a - b", f"a={first}", f"b={second}", "-o", "difference"], "What they differ by:"
    return ["adapterops", "show", sources[0], "--spectrum"], "Look at this adapter before anything else:"


def _single(comparison: Comparison, profile: Profile, source: str, tail: bool) -> tuple[list[str], str]:
    few, name = profile.bracket[0], PurePosixPath(source.replace(":", "/")).name.removesuffix(".safetensors")
    if tail and not profile.dora:
        before, after = (cut(profile.layout, profile.spectra, rank).bytes for rank in (profile.rank, few))
        why = f"Try a smaller copy, {size(after)} instead of {size(before)}, and measure it next to the original:"
        return ["adapterops", "truncate", source, "--rank", str(few), "-o", f"{name}-r{few}"], why
    files = comparison.base.files if comparison.base else None
    model = files.path.resolve().name if files else profile.base_model
    if not model:
        return ["adapterops", "show", source, "--spectrum"], "Its numbers, module by module:"
    why = "To run it without PEFT, fuse it into its base; how much of it rounding leaves is printed:"
    return ["adapterops", "fuse", model, source, "-o", f"{name}-fused"], why
