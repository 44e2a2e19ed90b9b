"""Which figures a comparison has: of each adapter, and of all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from adapterops.operations.comparing.analysis import ENERGY, LITTLE, kept_energy, rank_of
from adapterops.operations.comparing.comparison import Comparison
from adapterops.operations.comparing.kinds import located
from adapterops.operations.comparing.profile import Profile
from adapterops.operations.comparing.sizes import SizeAtRank, cut, sizes
from adapterops.reports.figures import Bars, Figure, Lines, Series, brief, percent, size, three, whole_ticks
from adapterops.reports.findings import shares
from adapterops.reports.grids import grid, places
from adapterops.reports.relations import relations

POINTS = 24
"""Of the line of one module, or of cuts; that of a higher rank is thinned out."""


def of_one(comparison: Comparison, index: int) -> list[Figure]:
    """Spectra, cumulative energy, norms and ranks of one adapter."""
    profile = comparison.profiles[index]
    found = places(profile.layout, comparison.kinds)
    ranks = {place: float(rank_of([profile.spectra[m] for m in ms], ENERGY)) for place, ms in found.items()}
    text = f"The smallest rank that keeps {ENERGY:.0%} of the energy there."
    title = f"Ranks for {ENERGY:.0%} of the energy of {profile.name}"
    return [
        _spectra(profile, index),
        _energy(profile, index),
        _norms(comparison, index),
        grid(f"ranks-{index + 1}", title, text, ranks, (0.0, float(profile.rank)), brief),
    ]


def of_all(comparison: Comparison) -> list[Figure]:
    """How the adapters relate, where their updates are, error against rank and bytes, memory."""
    return [*relations(comparison), *carried(comparison), *errors(comparison), *memory(comparison)]


def carried(comparison: Comparison) -> list[Figure]:
    """Which kinds and layers carry the updates, and how large the weights are there."""
    return [_kinds(comparison), *_layers(comparison), *_weights(comparison)]


def errors(comparison: Comparison) -> list[Figure]:
    """What is lost at a lower rank, and at fewer bytes."""
    found: list[tuple[str, int, list[SizeAtRank]]] = [
        (profile.name, style, _cuts(profile.rank, lambda rank, p=profile: cut(p.layout, p.spectra, rank)))  # type: ignore[misc]  # no type is inferred for a default
        for style, profile in enumerate(comparison.profiles)
        if profile.norm
    ]
    if any(each.norm for each in comparison.sum.values()):
        full = max(len(each.values) for each in comparison.sum.values())
        of_sum = _cuts(full, lambda rank: cut(comparison.sum_layout, comparison.sum, rank))
        found.append(("sum of all", len(comparison.profiles), of_sum))
    y = "‖ΔW - cut‖ / ‖ΔW‖"
    by_rank = [Series(name, [(float(each.rank), each.error) for each in every], style) for name, style, every in found]
    by_size = [Series(name, [(float(each.bytes), each.error) for each in every], style) for name, style, every in found]
    text = "What truncating every module to one rank loses."
    more = " The sum of all is what a merge of them has to hold." if comparison.pairs else ""
    ticks = [
        2.0**power for power in range(max((s.points[-1][0] for s in by_rank), default=1.0).__trunc__().bit_length())
    ]
    return [
        Lines(
            "error-rank", "Error against rank", text + more, "rank", y, by_rank, (), ticks, log_x=True, y_form=percent
        ),
        Lines(
            "error-bytes",
            "Error against bytes",
            "The same ranks, by the size of the file.",
            "size",
            y,
            by_size,
            log_x=True,
            x_form=size,
            y_form=percent,
        ),
    ]


def memory(comparison: Comparison) -> list[Figure]:
    """What is stored, and what training takes, by arithmetic."""
    found = sizes(comparison)
    model = "model" if found.model else "weights"
    stored = [(profile.name, float(bytes_)) for profile, bytes_ in zip(comparison.profiles, found.bytes, strict=True)]
    stored += [("ΔW, 16 bits", found.dense_16bit)]
    stored += [(f"{model}, 16 bits", found.model_16bit), (f"{model}, 4 bits (NF4)", found.model_4bit)]
    fewer = found.adapted / max(*found.parameters, 1)
    text = f"ΔW = BA as A and B is {brief(fewer)} times smaller than as a matrix, at the highest rank here."
    most = max(found.parameters)
    training = {
        "all weights, 16 bits": found.training(0, found.model or found.adapted),
        "LoRA, 16-bit weights": found.training(found.model_16bit, most),
        "LoRA, 4-bit weights": found.training(found.model_4bit, most),
    }
    whole = "" if found.model else " Of the weights that are changed: --base counts the whole model."
    return [
        Bars("memory", "What is stored", text, [n for n, _ in stored], ["bytes"], [[b] for _, b in stored], size),
        Bars(
            "training",
            "What training takes",
            "16 bits each for a trained number, its gradient and both of Adam's moments; activations come on top."
            + whole,
            list(training),
            ["weights", "gradients", "Adam's moments"],
            [[float(part) for part in parts] for parts in training.values()],
            size,
            stacked=True,
        ),
    ]


def _spectra(profile: Profile, index: int) -> Figure:
    most = max((len(each.values) for each in profile.spectra.values()), default=0)
    top = max((value for each in profile.spectra.values() for value in each.values), default=0.0)
    middle = []
    for place in range(most):
        values = sorted(each.values[place] if place < len(each.values) else 0.0 for each in profile.spectra.values())
        middle.append((place + 1.0, values[len(values) // 2]))
    each = [Series(m, _thin(enumerate(s.values, 1)), index, faint=True) for m, s in profile.spectra.items() if s.norm]
    each.append(Series("median of the modules", middle, index))
    return Lines(
        f"spectrum-{index + 1}",
        f"Singular values of {profile.name}",
        "A faint line for each module, a strong one for their median; nothing under a billionth of the largest.",
        "dimension",
        "singular value of ΔW",
        [Series(s.label, [p for p in s.points if p[1] > 1e-9 * top], s.style, s.faint) for s in each],
        _marks(profile),
        whole_ticks(1, max(most, 1)),
        log_y=True,
        y_form=brief,
    )


def _marks(profile: Profile) -> list[tuple[float, str]]:
    """Where the ranks are that are worth trying."""
    few, most = profile.bracket
    marks = [(float(few), f"{LITTLE:.0%}: rank {few}"), (float(most), f"{ENERGY:.0%}: rank {most}")]
    return marks[few == most :] if profile.norm else []


def _energy(profile: Profile, index: int) -> Figure:
    trained = {m: s for m, s in profile.spectra.items() if s.norm}
    each = []
    for module, s in trained.items():
        kept = accumulate((value**2 / s.norm**2 for value in s.values), initial=0.0)
        points = _thin((rank, min(share, 1.0)) for rank, share in enumerate(kept))
        each.append(Series(module, points, index, faint=True))
    ranks = range(max((len(s.values) for s in trained.values()), default=0) + 1)
    every = _thin((rank, kept_energy(trained.values(), rank)) for rank in ranks)
    return Lines(
        f"energy-{index + 1}",
        f"Cumulative energy of {profile.name}",
        "Fraction of ‖ΔW‖² in the first dimensions: a faint line for each module, a strong one over all.",
        "rank",
        "energy kept",
        [*each, Series("all modules", every, index)],
        _marks(profile),
        whole_ticks(0, max(profile.rank, 1)),
        y_form=percent,
    )


def _norms(comparison: Comparison, index: int) -> Figure:
    profile = comparison.profiles[index]
    relative = bool(comparison.weights)

    def value(modules: Sequence[str]) -> float:
        ratio = comparison.relative(index, modules)
        return math.hypot(*(profile.spectra[m].norm for m in modules)) if ratio is None else ratio

    values = {place: value(modules) for place, modules in places(profile.layout, comparison.kinds).items()}
    what = "‖ΔW‖ / ‖W0‖" if relative else "‖ΔW‖"
    more = "" if relative else "; --base makes it relative to W0"
    return grid(
        f"norms-{index + 1}",
        f"Norms of {profile.name}",
        f"{what} of each layer and kind of module{more}.",
        values,
        (0.0, max((v for v in values.values() if math.isfinite(v)), default=1.0) or 1.0),
        percent if relative else three,
    )


def _kinds(comparison: Comparison) -> Figure:
    names = [profile.name for profile in comparison.profiles]
    found = [shares(comparison, i, comparison.kinds.__getitem__) for i in range(len(names))]
    total = {kind: sum(each.get(kind, 0.0) for each in found) for kind in comparison.kinds.values()}
    ordered = sorted(total, key=lambda kind: (-total[kind], kind))
    rows = [[each.get(kind) for each in found] for kind in ordered]
    text = "Share of each kind of module in ‖ΔW‖²."
    return Bars("kinds", "Which modules carry the update", text, ordered, names, rows, percent)


def _layers(comparison: Comparison) -> Iterator[Figure]:
    series = []
    for index, profile in enumerate(comparison.profiles):
        found = shares(comparison, index, _layer)
        points = [(float(layer), share) for layer, share in found.items() if layer >= 0]
        series.append(Series(profile.name, points, index))
    layers = [int(layer) for each in series for layer, _ in each.points]
    if len(set(layers)) > 1:
        ticks = whole_ticks(min(layers), max(layers))
        text = "Share of each layer in ‖ΔW‖²."
        yield Lines(
            "layers", "Which layers carry the update", text, "layer", "share", series, ticks=ticks, y_form=percent
        )


def _layer(module: str) -> int:
    """The number of its layer, or -1 where it is in none."""
    layer = located(module).layer
    return -1 if layer is None else layer


def _weights(comparison: Comparison) -> Iterator[Figure]:
    if comparison.weights:
        found = places(comparison.weights, comparison.kinds)
        norms = {place: math.hypot(*(comparison.weights[m] for m in modules)) for place, modules in found.items()}
        text = "‖W0‖ of each layer and kind of module: what the updates are added to."
        yield grid("weights", "Norms of the base", text, norms, (0.0, max(norms.values(), default=1.0) or 1.0), three)


def _cuts(most: int, at: Callable[[int], SizeAtRank]) -> list[SizeAtRank]:
    """What is left at ranks from 1 to the full one: at all of them, or at some in equal ratios."""
    few = most <= POINTS
    ranks = range(1, most + 1) if few else (round(most ** (k / (POINTS - 1))) for k in range(POINTS))
    return [at(rank) for rank in dict.fromkeys(ranks)]


def _thin(points: Iterator[tuple[float, float]] | enumerate[float]) -> list[tuple[float, float]]:
    """At most `POINTS` of them, both ends among them."""
    every = [(float(x), y) for x, y in points]
    if len(every) <= POINTS:
        return every
    return [every[round(k * (len(every) - 1) / (POINTS - 1))] for k in range(POINTS)]
