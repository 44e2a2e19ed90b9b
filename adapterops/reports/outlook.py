"""What a merge would hold of each adapter, in words: facts about the updates, and no forecast of a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from adapterops.methods.registry import BORNE
from adapterops.operations.comparing.comparison import Comparison
from adapterops.operations.comparing.outlook import Outlook, condition
from adapterops.reports.comparison_rules import ALIKE
from adapterops.reports.figures import brief, percent
from adapterops.reports.rows import Table

EVEN = (
    "also try merge --even: where no two adapters began with the same A, as here, it was within a point of the sum on two suites "
    "of tasks, and 3 to 7 points ahead on two others (docs/merging.md)"
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
    apart = "infinite: one is a combination of the others" if math.isinf(separate) else f"{separate:.3g}"
    reason = (
        f"which makes {smaller} of {len(chosen.factors)} modules of the sum smaller: their updates are large"
        if smaller
        else "which is the sum here: no module of it is large"
    )
    return [
        "what is kept of an adapter + what the others add to it, relative to its norm; no forecast of accuracy",
        f"condition number of their cosines: {apart} (1: all are orthogonal)",
        f"advice: --scale {chosen.scale}, {reason}",
        *([EVEN] if even_may_help(comparison) else []),
    ]


def even_may_help(comparison: Comparison) -> bool:
    """Whether the adapters are of the kind on which `even` was measured ahead of the sum: different updates, no two of which
    began with one A, too large for the sum. Elsewhere it was level with the sum, or has not been measured.
    """
    layouts = comparison.sum_layout
    large = any(each.norm > BORNE * math.sqrt(layouts[module].shape[0]) for module, each in comparison.sum.items())
    factored = not any(layout.dense for layout in layouts.values())
    unlike = (pair.rows is not None and abs(pair.cosine) < ALIKE and not pair.shared_start for pair in comparison.pairs)
    return large and factored and all(unlike)


def outlook_numbers(comparison: Comparison, merges: Sequence[Outlook]) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "condition": condition(comparison),
        "also": ["even"] if even_may_help(comparison) else [],
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
