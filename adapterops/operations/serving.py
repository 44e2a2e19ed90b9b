"""Whether programs that serve adapters apply one as it was trained: by rules, from its headers and config alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import OptionError
from adapterops.formats.adapter_files import AdapterFiles
from adapterops.formats.further import check_whole
from adapterops.formats.peft.scaling import Scaling, alpha_field
from adapterops.formats.registry import FORMATS, format_of
from adapterops.formats.runtimes.rules import (
    BAD,
    ELSEWHERE,
    FINE,
    FUSE,
    NAMED_BY_BASE,
    REFUSED,
    SEVERITIES,
    STOPS,
    UNKNOWN,
    WRONG,
    Rule,
    Runtime,
)
from adapterops.formats.runtimes.table import RUNTIMES
from adapterops.operations.facts import Fact, config_of, facts_of
from adapterops.storage.place import Place

LOST = ("config_scale", "header_scale", "header_entries", "mlx_scale")
"""Facts of a scale that a program which does not read it takes for 1."""

SCALES = (*LOST, "rslora", "rslora_experts", "alpha_pattern", "rank_pattern")
"""Facts that, where they are not read, change a scale."""


@dataclass(frozen=True)
class Judgement:
    """What a program does with a fact. `factor`: the least and the largest, over the modules, of the scale that is applied
    over the one that was trained; None where no scale is concerned.
    """

    fact: Fact
    rule: Rule
    remedy: str
    factor: tuple[float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "fact": self.fact.name,
            "found": self.fact.found,
            "modules": list(self.fact.modules),
            "severity": self.rule.severity,
            "rule": self.rule.says,
            "remedy": self.remedy,
            "factor": None if self.factor is None else list(self.factor),
        }


@dataclass(frozen=True)
class Verdict:
    """What one program does with an adapter, the worst first. `strength`: for each module the scale that is applied over
    the one that was trained, where they differ.
    """

    runtime: Runtime
    findings: tuple[Judgement, ...]
    strength: Mapping[str, float]

    @property
    def severity(self) -> str:
        """The worst of all."""
        return self.findings[0].rule.severity if self.findings else FINE

    @property
    def ok(self) -> bool:
        """Whether nothing is refused, and nothing silently wrong."""
        return self.severity not in BAD

    @property
    def judged(self) -> bool:
        """Whether the rules say what the program does: something is refused or wrong, or nothing is not established."""
        return not self.ok or all(each.rule.severity != UNKNOWN for each in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "judged": self.judged,
            "severity": self.severity,
            "as_of": self.runtime.source,
            "findings": [each.as_json() for each in self.findings],
            "strength": dict(self.strength),
        }


def check(
    source: str | os.PathLike[str],
    runtimes: Sequence[str] = tuple(RUNTIMES),
    *,
    base: Checkpoint | None = None,
    max_rank: int | None = None,
    alpha: float | None = None,
    allow_pickle: bool = False,
) -> dict[str, Verdict]:
    """What each of several programs does with the adapter at `source`: by the rules of `formats.runtimes`.

    Args:
        base: the model that it will be served on: its names, its type, and whether it ties its head.
        max_rank: the largest rank that the program is started with; by default its own.

    Raises:
        NotFoundError, InputError, UnsupportedError: as `read_adapter` does.

    Cost: headers.
    """
    for each in runtimes:
        if each not in RUNTIMES:
            raise OptionError(f"there is no program {each!r}", hint=f"list some of {', '.join(RUNTIMES)}")
    place = replace(Place.of(source), allow_pickle=allow_pickle).once()
    check_whole(place)
    kind = format_of(place)
    files = FORMATS[kind].read(place, alpha)
    facts = list(facts_of(place, files, kind, base, alpha))
    return {name: _verdict(RUNTIMES[name], facts, files, place, kind, max_rank) for name in runtimes}


def _verdict(
    runtime: Runtime, facts: Sequence[Fact], files: AdapterFiles, place: Place, kind: str, max_rank: int | None
) -> Verdict:
    limit, config, names = max_rank or runtime.limit, config_of(place, files, kind), {fact.name for fact in facts}
    read = kind in runtime.formats
    other = [fact for fact in facts if fact.name in ELSEWHERE and fact.name in runtime.rules]
    concern = other or [fact for fact in facts if read or fact.name not in (*SCALES, "no_config")]
    found = [(fact, rule) for fact in concern if (rule := _rule(runtime, fact, limit))]
    unread = {fact.name: fact.modules for fact, rule in found if rule.severity == WRONG and fact.name in SCALES}
    named = " --base BASE" if kind in NAMED_BY_BASE else ""

    def strength(module: str, lost: Mapping[str, Sequence[str]]) -> float:
        known = files.scalings[module]
        return _applied(known, {name for name, those in lost.items() if module in those}, config) / known.scale

    def finding(fact: Fact, rule: Rule) -> Judgement:
        factors = [strength(module, {fact.name: fact.modules}) for module in fact.modules if fact.name in unread]
        way = FUSE if STOPS.get(rule.remedy, set()) & names else rule.remedy
        remedy = way.format(source=quote(str(place)), names=named, limit=limit)
        return Judgement(fact, rule, remedy, (min(factors), max(factors)) if factors else None)

    findings = sorted((finding(*each) for each in found), key=lambda each: SEVERITIES.index(each.rule.severity))
    every = {module: strength(module, unread) for module in files.scalings}
    return Verdict(runtime, tuple(findings), {module: each for module, each in every.items() if each != 1})


def _rule(runtime: Runtime, fact: Fact, limit: int | None) -> Rule | None:
    """What a program does with a fact; None where that does not concern it."""
    if fact.name == "format":
        reads = " or ".join(runtime.reads)
        return runtime.formats.get(fact.found) or Rule(REFUSED, f"reads {reads}", runtime.into)
    rule = runtime.rules.get(fact.name)
    if fact.name == "rank" and (limit is None or int(fact.found) <= limit):
        return Rule(FINE, f"at most {limit}") if limit and rule else None
    if rule and fact.name == "architecture" and not fact.found:
        return Rule(UNKNOWN, f"{rule.says}; of llama, q and k come out wrong", "name it with --base")
    return rule


def _applied(known: Scaling, unread: set[str], config: Mapping[str, Any]) -> float:
    """The scale of a module in a program that does not read some of the facts about it."""
    if unread & set(LOST):
        return 1.0
    alpha = float(config[alpha_field(config) or ""]) if "alpha_pattern" in unread else known.alpha
    rank = int(config.get("r", known.rank)) if "rank_pattern" in unread else known.rank
    return Scaling(alpha, rank, known.rslora and not unread & {"rslora", "rslora_experts"}).scale
