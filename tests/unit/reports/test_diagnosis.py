"""Findings: what acts first comes first, and the numbers that made each true go along."""

from __future__ import annotations

import pytest
from known_spectra import FALLING, FLAT, SLOW, adapter, rules

from adapterops.operations.comparing.comparison import compare
from adapterops.reports.diagnosis import RULES, diagnose


@pytest.mark.parametrize("count", [1, 2, 9])
def test_adapters_that_are_zero_break_no_rule(count: int) -> None:
    assert {"never-trained"} == set(rules(*[adapter(1, [0.0] * 8)] * count))


def test_numbers_that_made_it_true_go_along() -> None:
    for finding in diagnose(compare([adapter(1, FLAT), adapter(2, FALLING)])):
        assert finding.numbers
        assert finding.level in ("warning", "note")


def test_warnings_come_first_and_every_rule_is_asked_once() -> None:
    levels = [
        finding.level for finding in diagnose(compare([adapter(1, FLAT), adapter(2, FALLING), 9.0 * adapter(3, SLOW)]))
    ]
    assert levels == sorted(levels, reverse=True)
    assert set(levels) == {"warning", "note"}
    assert len(set(RULES)) == len(RULES)
