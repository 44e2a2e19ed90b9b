"""What the numbers mean, in plain language: every rule, and what they all find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from adapterops.operations.comparison import Comparison
from adapterops.reports import alone, together
from adapterops.reports.findings import Finding

RULES: Sequence[Callable[[Comparison], Iterator[Finding]]] = (
    alone.untrained,
    alone.flat,
    alone.tail,
    alone.norm,
    alone.layers,
    alone.kinds,
    together.bases,
    together.disjoint,
    together.same,
    together.alike,
    together.opposed,
    together.colliding,
    together.separate,
    together.room,
    together.start,
    together.coin,
    together.uneven,
)


def diagnose(comparison: Comparison) -> list[Finding]:
    """Everything that the rules find, warnings first."""
    found = [finding for rule in RULES for finding in rule(comparison)]
    return sorted(found, key=lambda finding: finding.level != "warning")
