"""Figures of how adapters relate: one number for each kind of module, and layer or pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from adapterops.operations.comparing.comparison import Comparison
from adapterops.operations.comparing.kinds import located
from adapterops.operations.comparing.pairs import Pair
from adapterops.reports.figures import Figure, Lines, Series, percent, signed, whole_ticks
from adapterops.reports.grids import grid, places

PAIRS_SHOWN = 28
"""So many pairs, those of eight adapters, have a row each; more are a square of adapters."""

LINES_SHOWN = 6
"""So many pairs have a line each."""

STEPS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Where colours may end: at the first that holds all numbers."""

Cells = Mapping[tuple[str, str], Pair | None]


def relations(comparison: Comparison) -> list[Figure]:
    """Cosine, sign conflict and overlaps, finer than one number for each pair; nothing where no two share a module."""
    if not any(pair.modules for pair in comparison.pairs):
        return []
    cells, of = _cells(comparison)
    return [*_maps(cells, of), *_cosines(comparison)]


def _cells(comparison: Comparison) -> tuple[Cells, str]:
    """Row and column → a pair, or the part of it there; and what the rows are.
    Of one pair the rows are layers, of several they are the pairs; of many, rows and columns are the adapters.
    """
    pairs, kinds = comparison.pairs, comparison.kinds
    names = [f"{index + 1} {profile.name}" for index, profile in enumerate(comparison.profiles)]
    if len(pairs) == 1:
        (pair,) = pairs
        parts = {place: pair.within(modules) for place, modules in places(pair.modules, kinds).items()}
        return parts, f"{comparison.profiles[0].name} and {comparison.profiles[1].name}, by layer and kind of module"
    if len(pairs) <= PAIRS_SHOWN:
        found: dict[tuple[str, str], Pair | None] = {}
        for pair in pairs:
            row = f"{pair.first + 1} and {pair.second + 1}"
            for kind in dict.fromkeys(kinds.values()):
                found[row, kind] = pair.within([module for module in pair.modules if kinds[module] == kind])
        return found, "every pair (numbers as in the summary), by kind of module"
    sides = {(pair.first, pair.second): pair for pair in pairs}
    count = range(len(names))
    return {
        (names[i], str(j + 1)): sides.get((min(i, j), max(i, j))) for i in count for j in count
    }, "every pair of adapters"


def _maps(cells: Cells, of: str) -> Iterator[Figure]:
    def measured(number: Callable[[Pair], float | None]) -> dict[tuple[str, str], float | None]:
        return {place: number(pair) if pair and pair.modules else None for place, pair in cells.items()}

    cosines = measured(lambda pair: pair.cosine)
    most = _reach(cosines.values(), 0.0)
    text = f"Of {of}."
    yield grid("cosine", "Cosine of the updates", text, cosines, (-most, most), signed, signed=True)
    opposed = measured(lambda pair: pair.conflict[0] if pair.conflict else None)
    most = min(_reach(opposed.values(), 0.5), 0.5)
    text = f"Fraction of entries with opposite signs, of {of}."
    yield grid("conflict", "Sign conflict", text, opposed, (0.5 - most, 0.5 + most), percent, signed=True)
    for side, name in enumerate(("columns", "rows")):
        shared = measured(lambda pair, name=name: getattr(pair, name))  # type: ignore[misc]  # no type is inferred for a default
        random = max((pair.chance[side] for pair in cells.values() if pair and pair.chance), default=0.0)
        text = f"Of {of}; random spaces share up to {percent(random)}."
        yield grid(f"overlap-{name}", f"Overlap of {name}", text, shared, (0.0, _reach(shared.values(), 0.0)), percent)


def _reach(values: Iterable[float | None], middle: float) -> float:
    """How far colours and axes go from `middle`."""
    most = max((abs(value - middle) for value in values if value is not None), default=0.0)
    return next((step for step in STEPS if most <= step), 1.0)


def _cosines(comparison: Comparison) -> Iterator[Figure]:
    """Cosine per layer, for every pair where they are few."""
    if len(comparison.pairs) > LINES_SHOWN:
        return
    series = []
    for style, pair in enumerate(comparison.pairs):
        groups: dict[int, list[str]] = {}
        for module in pair.modules:
            if (layer := located(module).layer) is not None:
                groups.setdefault(layer, []).append(module)
        points = [(float(layer), pair.within(modules).cosine) for layer, modules in sorted(groups.items())]
        series.append(Series(f"{pair.first + 1} and {pair.second + 1}", points, style))
    layers = [int(layer) for each in series for layer, _ in each.points]
    if len(set(layers)) > 1:
        text = "Of every pair of adapters, over the modules of a layer."
        most = _reach([cosine for each in series for _, cosine in each.points], 0.0)
        yield Lines(
            "cosine-layers",
            "Cosine per layer",
            text,
            "layer",
            "cosine",
            series,
            ticks=whole_ticks(min(layers), max(layers)),
            reach=(-most, most),
            y_form=signed,
        )
