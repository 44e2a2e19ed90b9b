"""How sentences count and name things."""

from __future__ import annotations

import pytest
from known_spectra import MODULES, SLOW, adapter

from adapterops.operations.comparing.comparison import compare
from adapterops.reports.findings import SHOWN, shares, some


def test_shares_of_groups_add_up_and_follow_the_energy() -> None:
    comparison = compare([adapter(1, SLOW, {module: 2.0 for module in MODULES if "q_proj" in module})])
    found = shares(comparison, 0, lambda module: module.rpartition(".")[2])
    assert found == pytest.approx({"down_proj": 1 / 6, "q_proj": 4 / 6, "up_proj": 1 / 6})
    assert list(found) == sorted(found)


def test_an_update_that_is_zero_has_no_shares() -> None:
    assert shares(compare([adapter(1, [0.0] * 8)]), 0, len) == {}


def test_long_lists_are_counted() -> None:
    names = [f"m{number}" for number in range(SHOWN + 2)]
    assert some(names[:SHOWN]) == ", ".join(names[:SHOWN])
    assert some(names).endswith(f"m{SHOWN - 1} and 2 more")
