"""Part of a pair is what the same two adapters would be without their other modules."""

from __future__ import annotations

import pytest
from known_spectra import MODULES, SLOW, adapter

from adapterops import Adapter
from adapterops.operations.comparing.comparison import compare


def test_part_of_a_pair() -> None:
    a, b = adapter(1, SLOW), adapter(1, SLOW) + adapter(2, SLOW)
    (pair,) = compare([a, b]).pairs
    some = MODULES[3:7]
    (alone,) = compare([Adapter.of({m: each.updates[m] for m in some}) for each in (a, b)]).pairs
    part = pair.within(some)
    assert part.cosine == pytest.approx(alone.cosine)
    assert (part.columns, part.rows) == pytest.approx((alone.columns, alone.rows))
    assert part.chance == pytest.approx(alone.chance)
    assert part.conflict == pytest.approx(alone.conflict)
    assert pair.within(pair.modules).cosine == pytest.approx(pair.cosine)


def test_no_modules_have_nothing_in_common() -> None:
    (pair,) = compare([adapter(1, SLOW), adapter(2, SLOW)]).pairs
    none = pair.within([])
    assert (none.cosine, none.columns, none.conflict) == (0.0, None, None)
