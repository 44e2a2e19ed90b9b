"""Tables, for the page and for the terminal: a header, and rows of text."""

from __future__ import annotations

import math
from typing import TypeAlias

from adapterops.operations.comparing.analysis import ENERGY, rank_of
from adapterops.operations.comparing.comparison import Comparison
from adapterops.operations.comparing.sizes import cuts, sizes
from adapterops.reports.figures import percent, signed, size, three
from adapterops.reports.findings import shares

Table: TypeAlias = tuple[list[str], list[list[str]]]


def summary_rows(comparison: Comparison) -> Table:
    """One row for each adapter."""
    relative_to = ["of W0"] if comparison.weights else []
    header = [
        "adapter",
        "modules",
        "rank",
        "parameters",
        "bytes",
        "norm",
        *relative_to,
        "effective rank",
        f"rank for {ENERGY:.0%}",
        "mostly in",
    ]
    found, rows = sizes(comparison), []
    for index, profile in enumerate(comparison.profiles):
        relative = comparison.relative(index)
        kinds = shares(comparison, index, comparison.kinds.__getitem__)
        most = sorted(kinds, key=lambda kind: -kinds[kind])[:2]
        rows.append(
            [
                profile.name if len(comparison.profiles) == 1 else f"{index + 1} {profile.name}",
                str(len(profile.layout)),
                str(profile.rank),
                size(found.parameters[index]).removesuffix("B").strip(),
                size(found.bytes[index]),
                three(profile.norm),
                *([] if relative is None else [percent(relative)]),
                f"{profile.effective_rank:.1f}",
                str(profile.bracket[1]),
                ", ".join(f"{kind} {percent(kinds[kind])}" for kind in most) or "-",
            ]
        )
    return header, rows


def pair_rows(comparison: Comparison) -> Table:
    """One row for each pair."""
    header = [
        "pair",
        "cosine",
        "sign conflict",
        "columns shared",
        "rows shared",
        "random spaces",
        "cosine of A's",
        "cosine of B's",
    ]
    rows = []
    for pair in comparison.pairs:
        conflict, chance, factors = pair.conflict, pair.chance, pair.factors
        rows.append(
            [
                " and ".join(comparison.profiles[index].name for index in (pair.first, pair.second)),
                signed(pair.cosine),
                f"{100 * conflict[0]:.2f} ± {100 * conflict[1]:.2f}%" if conflict else "-",
                "-" if pair.columns is None else percent(pair.columns),
                "-" if pair.rows is None else percent(pair.rows),
                f"{percent(chance[0])}, {percent(chance[1])}" if chance else "-",
                *((signed(factors[0]), signed(factors[1])) if factors else ("-", "-")),
            ]
        )
    return header, rows


def share_rows(comparison: Comparison) -> Table:
    """One row for each kind of module: its share of the energy of each adapter."""
    names = [profile.name for profile in comparison.profiles]
    found = [shares(comparison, index, comparison.kinds.__getitem__) for index in range(len(names))]
    header = ["kind of module", *([f"of {name}" for name in names] if len(names) > 1 else ["of the energy"])]
    kinds = dict.fromkeys(comparison.kinds.values())
    return header, [[kind, *(percent(each[kind]) if kind in each else "-" for each in found)] for kind in kinds]


def size_rows(comparison: Comparison) -> Table:
    """The arithmetic of parameters and memory."""
    found = sizes(comparison)
    parameters = found.model or found.adapted
    header = ["what", "parameters", "bytes", "of the 16-bit model" if found.model else "of the 16-bit weights"]
    rows = [
        (profile.name, found.parameters[index], found.bytes[index]) for index, profile in enumerate(comparison.profiles)
    ]
    model = "base" if found.model else "weights"
    rows += [
        ("update as a dense matrix, 16 bits", found.adapted, found.dense_16bit),
        (f"{model}, 16 bits", parameters, found.model_16bit),
        (f"{model}, 4 bits (NF4)", parameters, found.model_4bit),
        (
            f"{model}, 16 bits, and all adapters",
            parameters + sum(found.parameters),
            found.model_16bit + sum(found.bytes),
        ),
        (f"{model}, 4 bits, and all adapters", parameters + sum(found.parameters), found.model_4bit + sum(found.bytes)),
    ]
    return header, [
        [name, f"{count:,}", size(bytes_), percent(bytes_ / found.model_16bit)] for name, count, bytes_ in rows
    ]


def cut_rows(comparison: Comparison) -> Table:
    """Rank against error and size."""
    named = [(profile.name, profile.layout, profile.spectra) for profile in comparison.profiles]
    named += [("sum of all", comparison.sum_layout, comparison.sum)] if comparison.pairs else []
    header = ["rank", "energy kept", "error", "parameters", "bytes"]
    rows = [
        [name, str(cut.rank), percent(cut.energy), percent(cut.error), f"{cut.parameters:,}", size(cut.bytes)]
        for name, layout, spectra in named
        for cut in cuts(layout, spectra)
    ]
    return (["adapter", *header], rows) if comparison.pairs else (header, [row[1:] for row in rows])


def module_rows(comparison: Comparison, index: int) -> Table:
    """One row for each module of an adapter."""
    profile = comparison.profiles[index]
    relative_to = ["‖W0‖", "of W0"] if comparison.weights else []
    header = ["module", "shape", "rank", "norm", *relative_to, "effective rank", f"rank for {ENERGY:.0%}"]
    rows = []
    for module, each in profile.spectra.items():
        layout, relative = profile.layout[module], comparison.relative(index, [module])
        shape = f"{layout.shape[0]} x {layout.shape[1]}"
        ratio = [] if relative is None else [three(comparison.weights[module]), percent(relative)]
        ranks = [f"{each.effective_rank:.1f}", str(rank_of([each], ENERGY))]
        rows.append([module, shape, str(layout.rank), three(each.norm), *ratio, *ranks])
    return header, rows


def kind_rows(comparison: Comparison, index: int) -> Table:
    """One row for each kind of module of an adapter."""
    profile = comparison.profiles[index]
    relative_to = ["of W0"] if comparison.weights else []
    header = ["kind of module", "modules", "norm", *relative_to, "of the energy", f"rank for {ENERGY:.0%}"]
    energy = shares(comparison, index, comparison.kinds.__getitem__)
    rows = []
    for kind in dict.fromkeys(comparison.kinds[module] for module in profile.spectra):
        modules = [module for module in profile.spectra if comparison.kinds[module] == kind]
        spectra, relative = [profile.spectra[module] for module in modules], comparison.relative(index, modules)
        norm = math.hypot(*(each.norm for each in spectra))
        ratio = [] if relative is None else [percent(relative)]
        share = percent(energy.get(kind, 0.0))
        rows.append([kind, str(len(modules)), three(norm), *ratio, share, str(rank_of(spectra, ENERGY))])
    return header, rows
