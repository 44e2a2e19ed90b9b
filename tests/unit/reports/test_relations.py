"""Maps of how adapters relate: finer than a number for each pair, and what was measured."""

from __future__ import annotations

import pytest
from known_spectra import MODULES, SLOW, adapter

from adapterops.operations.comparing.comparison import Comparison, compare
from adapterops.reports.figures import Heatmap, Lines
from adapterops.reports.relations import PAIRS_SHOWN, relations

MAPS = ("cosine", "conflict", "overlap-columns", "overlap-rows")


def drawn(comparison: Comparison) -> dict[str, Heatmap | Lines]:
    return {figure.name: figure for figure in relations(comparison)}


def test_one_adapter_has_none() -> None:
    assert relations(compare([adapter(1, SLOW)])) == []


def test_a_pair_is_shown_by_layer_and_kind() -> None:
    a, b = adapter(1, SLOW), adapter(2, SLOW)
    comparison = compare([a, a + b])
    found = drawn(comparison)
    for name in MAPS:
        assert found[name].rows == [str(layer) for layer in range(8)]
        assert set(found[name].columns) == {"q_proj", "up_proj", "down_proj"}
    cosine = found["cosine"]
    assert cosine.limits == (-1.0, 1.0)
    shared = comparison.pairs[0].modules["model.layers.3.up_proj"]
    assert cosine.values[3][cosine.columns.index("up_proj")] == pytest.approx(shared.cosine)
    overlap = found["overlap-rows"]
    assert overlap.values[3][overlap.columns.index("up_proj")] == pytest.approx(shared.rows / shared.smaller)


def test_some_pairs_have_a_row_each() -> None:
    found = drawn(compare([adapter(1, SLOW), adapter(2, SLOW), adapter(3, SLOW)]))
    assert found["overlap-columns"].rows == ["1 and 2", "1 and 3", "2 and 3"]
    most = found["cosine"].limits[1]
    assert found["cosine"].limits == (-most, most)
    assert max(abs(value) for row in found["cosine"].values for value in row) <= most <= 0.2
    assert found["conflict"].limits[0] + found["conflict"].limits[1] == pytest.approx(1.0)


def test_many_pairs_are_a_square_without_its_diagonal() -> None:
    adapters = [adapter(seed, SLOW) for seed in range(1, 10)]
    assert len(adapters) * (len(adapters) - 1) / 2 > PAIRS_SHOWN
    found = drawn(compare(adapters))
    square = found["cosine"]
    assert len(square.rows) == 9
    assert square.columns == [str(number) for number in range(1, 10)]
    for row, name in enumerate(square.rows):
        assert square.values[row][square.columns.index(name.partition(" ")[0])] is None
    assert "cosine-layers" not in found


def test_what_one_of_a_pair_lacks_is_left_out() -> None:
    whole = adapter(1, SLOW)
    part = type(whole).of({m: u for m, u in adapter(2, SLOW).updates.items() if m in MODULES[:6]})
    found = drawn(compare([whole, part, adapter(3, SLOW)]))
    assert all(len(row) == len(found["cosine"].columns) for row in found["cosine"].values)
    assert len(drawn(compare([whole, part]))["cosine"].rows) == 2


def test_layers_are_whole_numbers() -> None:
    lines = drawn(compare([adapter(1, SLOW), adapter(2, SLOW)]))["cosine-layers"]
    assert isinstance(lines, Lines)
    assert all(tick == int(tick) for tick in lines.ticks)


def test_adapters_of_different_modules_have_none() -> None:
    whole = adapter(1, SLOW)
    halves = [type(whole).of({m: whole.updates[m] for m in part}) for part in (MODULES[:3], MODULES[3:])]
    assert relations(compare(halves)) == []
