"""What a merge would hold of each adapter, in words: facts about the updates, and no forecast of a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from adapterops.errors import count
from adapterops.methods.settings import usual
from adapterops.operations.comparing.comparison import Comparison
from adapterops.operations.comparing.opposed import Opposed
from adapterops.operations.comparing.outlook import Outlook, condition
from adapterops.reports.figures import brief, percent
from adapterops.reports.rows import Table

EVEN = (
    "advice: merge without options. For 3 to 8 adapters that is --even, which was 4 to 13 points ahead of --linear on tasks of an "
    "encoder, and makes the same where updates are large; the table is of --linear (docs/decisions/merging.md)"
)


def outlook_rows(comparison: Comparison, merges: Sequence[Outlook]) -> Table:
    """A row for each scale: the factors of the sum, and of each adapter what is kept and what the others add."""
    header = ["scale", "times the sum", *(profile.name for profile in comparison.profiles)]
    return header, [
        [
            merge.scale,
            _range(sorted(merge.factors.values())),
            *("-" if held is None else f"{percent(held.kept)} + {percent(held.added)}" for held in merge.held),
        ]
        for merge in merges
    ]


def outlook_sentences(comparison: Comparison, merges: Sequence[Outlook]) -> list[str]:
    """How to read the table, how far apart the adapters are, and which scale is taken, with the reason."""
    chosen = merges[0]
    smaller = sum(factor < 1 for factor in chosen.factors.values())
    separate = condition(comparison)
    separation = "infinite: one is a combination of the others" if math.isinf(separate) else f"{separate:.3g}"
    reason = (
        f"which makes {smaller} of {len(chosen.factors)} modules of the sum smaller: their updates are large"
        if smaller
        else "which is the sum here: no module of it is large"
    )
    return [
        "what is kept of an adapter + what the others add to it, relative to its norm; no forecast of accuracy",
        f"condition number of their cosines: {separation} (1: all are orthogonal)",
        EVEN if _method(comparison) == "even" else f"advice: --scale {chosen.scale}, {reason}",
    ]


def reasons(opposed: Opposed, names: Sequence[str]) -> dict[str, str]:
    """Of every module in which a merge is against adapters, what it has of these.

    >>> reasons({"q": [None, -0.12, -0.5]}, "abc")
    {'q': 'the merge has -12% of b and -50% of c'}
    """
    parts = {module: zip(kept, names, strict=True) for module, kept in opposed.items()}
    return {
        module: f"the merge has {' and '.join(f'{percent(part)} of {name}' for part, name in kept if part is not None)}"
        for module, kept in parts.items()
    }


def opposed_sentences(opposed: Opposed, names: Sequence[str], dropped: bool) -> list[str]:
    """Which modules of a plan are against adapters, and what became of them."""
    each = [f"{module}: {reason}" for module, reason in reasons(opposed, names).items()]
    if not dropped:
        more = f", and {count(len(each) - 1, 'other')}" if len(each) > 1 else ""
        return [f"against an adapter is {each[0]}{more}; --drop-opposed leaves such out of the plan"] if each else []
    if not each:
        return ["no module of the merge is against an adapter"]
    facts = "by the inner products of updates alone; what a module is worth to a task was not measured"
    return [*(f"left out {line}" for line in each), facts]


def _method(comparison: Comparison) -> str:
    """What a merge of the adapters is made by, where no option says it."""
    return usual(len(comparison.profiles), False)


def outlook_numbers(comparison: Comparison, merges: Sequence[Outlook]) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "condition": condition(comparison),
        "method": _method(comparison),
        "merges": [
            {
                "scale": merge.scale,
                "factors": dict(merge.factors),
                "held": [None if held is None else asdict(held) for held in merge.held],
            }
            for merge in merges
        ],
    }


def _range(factors: Sequence[float]) -> str:
    low, high = brief(factors[0]), brief(factors[-1])
    return low if low == high else f"{low} to {high}"
