"""What a merge holds of each adapter, in words: facts about the updates, and no forecast of a task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from adapterops.errors import count
from adapterops.methods.holding import ALIKE, RULES, Held, Holding, condition, held, whole
from adapterops.provenance.history import Source, Step
from adapterops.reports.figures import percent

if TYPE_CHECKING:
    from adapterops.reports.rows import Table

SHOWN = 8
"""Adapters with a row of their own; of more, those of which least is kept."""


def held_rows(
    names: Sequence[str],
    holdings: Mapping[str, Holding],
    scales: Mapping[str, float],
    scaled: Mapping[str, Holding] | None = None,
) -> Table:
    """A row for each adapter: what is kept of it, what else is in the merge, the error on its inputs where that is known; and what
    is kept at other scales, of the merge that is `scaled` there where that is another.
    """
    own, others = held(holdings), [held(scaled or holdings, scale) for scale in scales.values()]
    order = sorted(range(len(own)), key=lambda place: math.inf if (each := own[place]) is None else each.kept)
    shown = sorted(order[:SHOWN]) if len(order) > SHOWN else range(len(own))
    columns = {"kept": [_share(each, "kept") for each in own], "rest": [_share(each, "added") for each in own]}
    if any(each is not None and each.error is not None for each in own):
        columns["error"] = [_share(each, "error") for each in own]
    columns |= {
        f"kept at {name}": [_share(each, "kept") for each in found] for name, found in zip(scales, others, strict=True)
    }
    return ["adapter", *columns], [[names[place], *(each[place] for each in columns.values())] for place in shown]


def held_sentences(
    holdings: Mapping[str, Holding], total: int, rules: float | None = None, cut: bool = False
) -> list[str]:
    """How to read the rows, those that are left out, in how many of `total` modules this was measured, how far apart the adapters
    are, and that any of some rules makes nearly the same, where these differ so little.
    """
    there = [each for each in held(holdings) if each is not None]
    kept = sorted(each.kept for each in there)[SHOWN:]
    between = " to ".join(dict.fromkeys([percent(each) for each in (*kept[:1], *kept[-1:])]))
    others = "other" if len(kept) == 1 else f"{len(kept)} others"
    left = [f"of the {others} {between} is kept"] if kept else []
    spread = condition(whole(holdings))
    far = "infinite: one is a combination of the others" if math.isinf(spread) else f"{spread:.3g}"
    columns = ["kept: what the merge has of an adapter", "rest: what else it has, relative to the adapter's norm"]
    columns += ["error: on the inputs that the adapter reads"] if any(each.error is not None for each in there) else []
    return [
        *left,
        f"{'; '.join(columns)}{'; before the merge is cut to its rank' if cut else ''}; no forecast of accuracy",
        *([f"measured in {len(holdings)} of {count(total, 'module')}, spread evenly"] if len(holdings) < total else []),
        f"condition number of their cosines: {far} (1: all are orthogonal)",
        *([same(rules)] if rules is not None and rules <= ALIKE else []),
    ]


def same(rules: float) -> str:
    """How far apart the merges of some rules are, in words."""
    names = ", ".join(f"--{name}" for name in RULES)
    far = f"what {names} make differs by at most {percent(rules)} of the merge here"
    return f"{far}: any of them makes nearly the same adapter" if rules <= ALIKE else far


def called(inputs: Sequence[Step | Source]) -> list[str]:
    """What to call what is merged: the end of its path, all of it where two end alike, with a number where two are one; an
    operation by its name.
    """
    found = [_source(each) for each in inputs]
    short = [PurePath(each).name or each for each in found]
    names = [whole if short.count(end) > 1 else end for whole, end in zip(found, short, strict=True)]
    return [f"{each} ({names[: i + 1].count(each)})" if names.count(each) > 1 else each for i, each in enumerate(names)]


def _source(node: Step | Source) -> str:
    while isinstance(node, Step) and len(node.inputs) == 1:
        node = node.inputs[0]
    return node.name if isinstance(node, Source) else f"({node.operation})"


def _share(each: Held | None, name: str) -> str:
    if each is None:
        return "zero" if name == "kept" else ""
    found = getattr(each, name)
    return "" if found is None else percent(found)
