"""What the figures of a comparison hold."""

from __future__ import annotations

import math

import pytest
from strategies import low_rank

from adapterops import Adapter
from adapterops.operations.comparing.comparison import compare
from adapterops.reports import drawings
from adapterops.reports.figures import Bars, Figure, Heatmap, Lines


def figures(*adapters: Adapter) -> dict[str, Figure]:
    comparison = compare(list(adapters))
    every = drawings.of_all(comparison)
    for index in range(len(adapters)):
        every += drawings.of_one(comparison, index)
    assert len({figure.name for figure in every}) == len(every)
    return {figure.name: figure for figure in every}


def adapter(seed: int, modules: dict[str, tuple[int, int]], rank: int = 3) -> Adapter:
    return Adapter.of(
        {module: low_rank(seed + number, *shape, rank) for number, (module, shape) in enumerate(modules.items())}
    )


DEEP = {
    f"model.layers.{layer}.{kind}": (9, 8)
    for layer in range(12)
    for kind in ("q", "mlp.experts.0.up", "mlp.experts.1.up")
}


def test_layers_are_in_their_order_and_experts_share_a_cell() -> None:
    one = adapter(1, {**DEEP, "lm_head": (9, 8)})
    drawn = figures(one, adapter(50, DEEP))
    norms = drawn["norms-1"]
    assert isinstance(norms, Heatmap)
    assert norms.rows == [*(str(layer) for layer in range(12)), "-"]
    assert set(norms.columns) == {"q", "up", "lm_head"}
    both = math.hypot(*(one.updates[f"model.layers.3.mlp.experts.{k}.up"].norm() for k in (0, 1)))
    assert norms.values[norms.rows.index("3")][norms.columns.index("up")] == pytest.approx(both)
    layers = drawn["cosine-layers"]
    assert isinstance(layers, Lines)
    assert [x for x, _ in layers.series[0].points] == list(range(12))


def test_towers_have_rows_of_their_own() -> None:
    norms = figures(adapter(1, {"vision.layers.0.q": (4, 4), "text.layers.0.q": (4, 4)}))["norms-1"]
    assert isinstance(norms, Heatmap)
    assert norms.rows == ["text.layers.0", "vision.layers.0"]


def test_shares_add_up() -> None:
    kinds = figures(adapter(1, DEEP), adapter(9, DEEP))["kinds"]
    assert isinstance(kinds, Bars)
    for side in (0, 1):
        assert sum(row[side] or 0.0 for row in kinds.values) == pytest.approx(1)


def test_spectra_fall_and_energies_rise_whatever_the_ranks() -> None:
    mixed = Adapter.of(
        {
            "layers.0.q": low_rank(1, 90, 80, 60),
            "layers.1.q": low_rank(2, 90, 80, 2),
            "layers.2.q": low_rank(3, 90, 80, 9),
        }
    )
    drawn = figures(mixed)
    for name, sign in (("spectrum-1", -1), ("energy-1", 1)):
        figure = drawn[name]
        assert isinstance(figure, Lines)
        for series in figure.series:
            assert len(series.points) <= 61
            steps = [sign * (b[1] - a[1]) for a, b in zip(series.points, series.points[1:], strict=False)]
            assert all(step >= -1e-12 for step in steps)


def test_one_adapter_has_nothing_to_be_compared_with() -> None:
    assert not {"cosine", "conflict", "overlap-rows", "overlap-columns"} & set(figures(adapter(1, DEEP)))
