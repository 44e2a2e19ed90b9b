"""Which figures a comparison has: of each adapter, and of all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from adapterops.operations.analysis import ENERGY, LITTLE, ModuleSpectrum, kept_energy, rank_of
from adapterops.operations.comparison import Comparison, Profile, Shared, cosine
from adapterops.operations.kinds import located
from adapterops.operations.sizes import Cut, cuts, sizes
from adapterops.reports.figures import Bars, Figure, Heatmap, Lines, Series, brief, percent, signed, size
from adapterops.reports.findings import shares

POINTS = 24
"""Of the line of one module; that of a higher rank is thinned out."""

PAIRS_SHOWN = 8
"""So many pairs have room for their numbers per layer."""


def of_one(comparison: Comparison, index: int) -> list[Figure]:
    """Spectra, cumulative energy, norms and ranks of one adapter."""
    profile = comparison.profiles[index]
    places = _places(profile, comparison.kinds)
    ranks = {place: rank_of([profile.spectra[m] for m in modules], ENERGY) for place, modules in places.items()}
    return [
        _spectra(profile, index),
        _energy(profile, index),
        _norms(comparison, index, places),
        _grid(
            f"ranks-{index + 1}",
            f"Ranks of {ENERGY:.0%} energy of {profile.name}",
            f"The smallest rank that keeps {ENERGY:.0%} of the energy there.",
            {place: float(rank) for place, rank in ranks.items()},
            (0, profile.rank),
            brief,
        ),
    ]


def of_all(comparison: Comparison) -> list[Figure]:
    """Which kinds and layers carry the updates, error against rank and bytes, memory; and how the adapters relate."""
    return [*_carried(comparison), *_errors(comparison), _memory(comparison), *_matrices(comparison)]


def _spectra(profile: Profile, index: int) -> Figure:
    each = [Series(m, _thin(enumerate(s.values, 1)), index, faint=True) for m, s in profile.spectra.items() if s.norm]
    most = max((len(series.values) for series in profile.spectra.values()), default=0)
    middle = []
    for place in range(most):
        values = sorted(s.values[place] if place < len(s.values) else 0.0 for s in profile.spectra.values())
        middle.append((place + 1.0, values[len(values) // 2]))
    top = max((value for s in profile.spectra.values() for value in s.values), default=0.0)
    drawn = [Series(s.label, [p for p in s.points if p[1] > 1e-9 * top], s.style, s.faint) for s in each]
    return Lines(
        f"spectrum-{index + 1}",
        f"Singular values of {profile.name}",
        "One faint line for each module, the strong one is their median. Values under a billionth of the largest are not drawn.",
        "dimension",
        "singular value of ΔW",
        [*drawn, Series("median of the modules", [p for p in middle if p[1] > 1e-9 * top], index)],
        _marks(profile),
        _whole_ticks(most),
        log_y=True,
        y_form=brief,
    )


def _marks(profile: Profile) -> list[tuple[float, str]]:
    """Where the ranks are that are worth trying."""
    few, most = profile.bracket
    marks = [(float(few), f"{LITTLE:.0%}: rank {few}"), (float(most), f"{ENERGY:.0%}: rank {most}")]
    return marks[few == most :] if profile.norm else []


def _energy(profile: Profile, index: int) -> Figure:
    def line(modules: Sequence[ModuleSpectrum]) -> list[tuple[float, float]]:
        return _thin(
            (rank, kept_energy(modules, rank)) for rank in range(max((len(s.values) for s in modules), default=0) + 1)
        )

    trained = {m: s for m, s in profile.spectra.items() if s.norm}
    each = []
    for module, s in trained.items():
        total = s.norm**2
        kept = accumulate((value**2 / total for value in s.values), initial=0.0)
        each.append(
            Series(module, _thin((rank, min(share, 1.0)) for rank, share in enumerate(kept)), index, faint=True)
        )
    return Lines(
        f"energy-{index + 1}",
        f"Cumulative energy of {profile.name}",
        "Fraction of ‖ΔW‖² in the first dimensions; over all modules the strong line.",
        "rank",
        "energy kept",
        [*each, Series("all modules", line(list(trained.values())), index)],
        _marks(profile),
        _whole_ticks(profile.rank),
        y_form=percent,
    )


def _norms(comparison: Comparison, index: int, places: dict[tuple[str, str], list[str]]) -> Figure:
    profile = comparison.profiles[index]
    relative = bool(comparison.weights)

    def value(modules: list[str]) -> float:
        ratio = comparison.relative(index, modules)
        return math.hypot(*(profile.spectra[m].norm for m in modules)) if ratio is None else ratio

    values = {place: value(modules) for place, modules in places.items()}
    finite = [v for v in values.values() if math.isfinite(v)]
    what = "‖ΔW‖ / ‖W0‖" if relative else "‖ΔW‖"
    more = "" if relative else "; --base makes it relative to W0"
    return _grid(
        f"norms-{index + 1}",
        f"Norms of {profile.name}",
        f"{what} of each layer and kind of module{more}.",
        values,
        (0.0, max(finite, default=1.0) or 1.0),
        percent if relative else brief,
    )


def _carried(comparison: Comparison) -> Iterator[Figure]:
    names = [profile.name for profile in comparison.profiles]
    kinds = [shares(comparison, i, comparison.kinds.__getitem__) for i in range(len(names))]
    present = list(dict.fromkeys(comparison.kinds.values()))
    total = {kind: sum(each.get(kind, 0.0) for each in kinds) for kind in present}
    ordered = sorted(present, key=lambda kind: (-total[kind], kind))
    rows = [[each.get(kind) for each in kinds] for kind in ordered]
    yield Bars(
        "kinds",
        "Which modules carry the update",
        "Share of each kind of module in ‖ΔW‖².",
        ordered,
        names,
        rows,
        percent,
    )
    layers = []
    for index, name in enumerate(names):
        found: dict[int, float] = {}
        for (_, number), share in shares(comparison, index, lambda module: located(module)[:2]).items():
            if number is not None:
                found[number] = found.get(number, 0.0) + share
        layers.append(Series(name, [(float(number), share) for number, share in sorted(found.items())], index))
    if any(len(series.points) > 1 for series in layers):
        yield Lines(
            "layers",
            "Which layers carry the update",
            "Share of each layer in ‖ΔW‖².",
            "layer",
            "share",
            layers,
            y_form=percent,
        )


def _errors(comparison: Comparison) -> Iterator[Figure]:
    found = [(profile.name, cuts(profile.layout, profile.spectra)) for profile in comparison.profiles if profile.norm]
    if any(each.norm for each in comparison.sum.values()):
        found.append(("sum of all", cuts(comparison.sum_layout, comparison.sum)))
    numbers = [i for i, profile in enumerate(comparison.profiles) if profile.norm] + [len(comparison.profiles)]
    ranks = sorted({cut.rank for _, each in found for cut in each})

    def lines(x: Callable[[Cut], float]) -> list[Series]:
        return [
            Series(name, [(x(cut), cut.error) for cut in each], style)
            for (name, each), style in zip(found, numbers, strict=False)
        ]

    y = "‖ΔW - cut‖ / ‖ΔW‖"
    yield Lines(
        "error-rank",
        "Error against rank",
        "What truncating every module to one rank loses."
        + (" The sum of all is what a merge of them has to hold." if comparison.pairs else ""),
        "rank",
        y,
        lines(lambda cut: float(cut.rank)),
        (),
        ranks,
        log_x=True,
        y_form=percent,
    )
    yield Lines(
        "error-bytes",
        "Error against bytes",
        "The same ranks, by the size of the file.",
        "size",
        y,
        lines(lambda cut: float(cut.bytes)),
        (),
        sorted({float(cut.bytes) for _, each in found for cut in each}),
        log_x=True,
        x_form=size,
        y_form=percent,
    )


def _memory(comparison: Comparison) -> Figure:
    found = sizes(comparison)
    model = "base" if found.model else "weights"
    rows = [(profile.name, float(bytes_)) for profile, bytes_ in zip(comparison.profiles, found.bytes, strict=True)]
    rows += [
        ("update, dense, 16 bits", found.dense_16bit),
        (f"{model}, 16 bits", found.model_16bit),
        (f"{model}, 4 bits (NF4)", found.model_4bit),
    ]
    return Bars(
        "memory",
        "Memory",
        "An adapter as it is stored, the same update as a matrix, and what it is served with.",
        [row[0] for row in rows],
        ["bytes"],
        [[row[1]] for row in rows],
        size,
    )


def _matrices(comparison: Comparison) -> Iterator[Figure]:
    pairs, count = comparison.pairs, len(comparison.profiles)
    if not pairs:
        return

    def matrix(name: str, title: str, caption: str, numbers: list[float | None], own: float, signs: bool) -> Figure:
        values: list[list[float | None]] = [[None] * count for _ in range(count)]
        for i, profile in enumerate(comparison.profiles):
            values[i][i] = own if profile.norm else None
        for pair, number in zip(pairs, numbers, strict=True):
            values[pair.first][pair.second] = values[pair.second][pair.first] = number
        names = [f"{i + 1} {profile.name}" for i, profile in enumerate(comparison.profiles)]
        short = [str(i + 1) for i in range(count)]
        return Heatmap(
            name,
            title,
            caption,
            names,
            short,
            values,
            (-1.0, 1.0) if signs else (0.0, 1.0),
            signs,
            signed if signs else percent,
        )

    yield matrix(
        "cosine",
        "Cosine of the updates",
        "1: the same direction, 0: nothing in common, -1: opposite.",
        [p.cosine for p in pairs],
        1.0,
        True,
    )
    opposed = [pair.conflict[0] if pair.conflict else None for pair in pairs]
    worst = max((pair.conflict[1] for pair in pairs if pair.conflict), default=0.0)
    text = f"Fraction of entries with opposite signs, where 50% is chance; from sampled rows, standard error at most {percent(worst)}."
    yield matrix("conflict", "Sign conflict", text, opposed, 0.0, False)
    chances = [pair.chance for pair in pairs if pair.chance]
    for side, (name, what) in enumerate((("columns", "what they write"), ("rows", "what they read"))):
        chance = percent(max((each[side] for each in chances), default=0.0))
        text = f"‖Q1ᵀQ2‖² / min(r1, r2) of the {name} of ΔW ({what}): 100% if one space holds the other, {chance} by chance."
        yield matrix(f"overlap-{name}", f"Overlap of {name}", text, [getattr(pair, name) for pair in pairs], 1.0, False)
    if len(pairs) <= PAIRS_SHOWN:
        yield from _cosines(comparison)


def _cosines(comparison: Comparison) -> Iterator[Figure]:
    """Cosine per layer, for every pair."""
    series = []
    for style, pair in enumerate(comparison.pairs):
        groups: dict[int, list[Shared]] = {}
        for module, shared in pair.modules.items():
            if (layer := located(module).layer) is not None:
                groups.setdefault(layer, []).append(shared)
        points = [(float(layer), cosine(members)) for layer, members in sorted(groups.items())]
        series.append(Series(f"{pair.first + 1} and {pair.second + 1}", points, style))
    if any(len(each.points) > 1 for each in series):
        text = "Of every pair of adapters, over the modules of a layer."
        yield Lines(
            "cosine-layers", "Cosine per layer", text, "layer", "cosine", series, reach=(-1.0, 1.0), y_form=signed
        )


def _grid(
    name: str,
    title: str,
    caption: str,
    cells: dict[tuple[str, str], float],
    limits: tuple[float, float],
    form: Callable[[float], str],
) -> Heatmap:
    rows, columns = (list(dict.fromkeys(place[side] for place in cells)) for side in (0, 1))
    values = [[cells.get((row, column)) for column in columns] for row in rows]
    return Heatmap(name, title, caption, rows, columns, values, limits, form=form)


def _places(profile: Profile, kinds: Mapping[str, str]) -> dict[tuple[str, str], list[str]]:
    """Layer and kind → the modules there, in the order of the layers."""
    found: dict[tuple[str, str], list[str]] = {}
    rows = _rows(list(profile.layout))
    for module in sorted(profile.layout, key=_order):
        found.setdefault((rows[module], kinds[module]), []).append(module)
    return found


def _order(module: str) -> tuple[bool, str, int, str]:
    """By layer; what is in none comes last."""
    stack, number, kind = located(module)
    return number is None, stack, number or 0, kind


def _rows(modules: Sequence[str]) -> dict[str, str]:
    """Module → what its row is called:
    the number of its layer, with what comes before it where there are several kinds of layers.
    """
    stacks = {located(module).stack for module in modules if located(module).layer is not None}
    found = {}
    for module in sorted(modules, key=_order):
        stack, number, _ = located(module)
        found[module] = "-" if number is None else f"{stack}.{number}" if len(stacks) > 1 else str(number)
    return found


def _thin(
    points: Iterator[tuple[float, float]] | Sequence[tuple[float, float]] | enumerate[float],
) -> list[tuple[float, float]]:
    """At most `POINTS` of them, both ends among them."""
    every = [(float(x), y) for x, y in points]
    if len(every) <= POINTS:
        return every
    return [every[round(k * (len(every) - 1) / (POINTS - 1))] for k in range(POINTS)]


def _whole_ticks(most: int) -> list[float]:
    """Whole numbers for an axis of ranks."""
    step = max(1, most // 8) if most < 16 else 2 ** max(0, math.ceil(math.log2(most / 8)))
    return [1.0, *(float(k) for k in range(step, most + 1, step) if k > 1)]
