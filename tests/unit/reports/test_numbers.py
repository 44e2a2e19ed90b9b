"""The numbers of a report: what was measured, and JSON throughout."""

from __future__ import annotations

import json

import pytest
from known_spectra import FALLING, MODULES, SLOW, adapter

from adapterops.operations.comparing.comparison import compare
from adapterops.reports.diagnosis import diagnose
from adapterops.reports.numbers import numbers
from adapterops.reports.summary import summary


def test_they_are_those_of_the_comparison() -> None:
    comparison = compare([adapter(1, SLOW), adapter(2, FALLING)])
    findings = diagnose(comparison)
    found = numbers(comparison, summary(comparison, findings), findings)
    assert json.loads(json.dumps(found, allow_nan=False))["adapters"][1]["bracket"] == [2, 4]
    assert [each["rule"] for each in found["findings"]] == [finding.rule for finding in findings]
    assert list(found["adapters"][0]["modules"]) == list(comparison.profiles[0].spectra)
    assert found["adapters"][0]["modules"][MODULES[0]]["values"] == pytest.approx(SLOW)
    assert found["pairs"][0]["cosine"] == comparison.pairs[0].cosine
    assert found["pairs"][0]["overlap_by_chance"]["columns"] == pytest.approx(8 / 96)
    assert found["sum"]["at_rank"] == 8
    assert len(found["summary"]["sentences"]) == 3
    assert found["adapters"][0]["modules"][MODULES[0]]["weight"] is None


def test_one_adapter_has_no_sum() -> None:
    comparison = compare([adapter(1, SLOW)])
    found = numbers(comparison, summary(comparison, []), [])
    assert found["sum"] is None
    assert found["pairs"] == []


def test_pairs_without_common_modules_have_no_overlaps() -> None:
    one, other = adapter(1, SLOW), adapter(2, SLOW)
    halves = [
        type(one).of({m: each.updates[m] for m in part}) for each, part in ((one, MODULES[:3]), (other, MODULES[3:]))
    ]
    comparison = compare(halves)
    (pair,) = numbers(comparison, summary(comparison, []), [])["pairs"]
    assert pair["overlap"] == {"columns": None, "rows": None}
    assert pair["overlap_by_chance"] is None
    assert pair["sign_conflict"] is None
    assert pair["cosine_of_A"] is None
