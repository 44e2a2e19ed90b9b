"""What the numbers mean, in plain language: every rule, and what they all find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from adapterops.operations.comparing.comparison import Comparison
from adapterops.reports import comparison_rules, profile_rules
from adapterops.reports.findings import Finding

RULES: Sequence[Callable[[Comparison], Iterator[Finding]]] = (
    profile_rules.magnitudes,
    profile_rules.untrained,
    profile_rules.flat,
    profile_rules.tail,
    profile_rules.norm,
    profile_rules.layers,
    profile_rules.kinds,
    comparison_rules.bases,
    comparison_rules.disjoint,
    comparison_rules.same,
    comparison_rules.alike,
    comparison_rules.opposed,
    comparison_rules.shared,
    comparison_rules.separate,
    comparison_rules.room,
    comparison_rules.start,
    comparison_rules.unrelated,
    comparison_rules.uneven,
)


def diagnose(comparison: Comparison) -> list[Finding]:
    """Everything that the rules find, warnings first."""
    found = [finding for rule in RULES for finding in rule(comparison)]
    return sorted(found, key=lambda finding: finding.level != "warning")
