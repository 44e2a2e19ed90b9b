"""Adapters that have nothing in common to merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapterops.formats.spelling import in_other_parts


def strangers(layouts: Sequence[Mapping[str, Any]]) -> list[int]:
    """The places of those that share no module with the first that has any, not even through others; those without modules
    and those of other models of a pipeline are none.

    >>> strangers([{"a": 1, "b": 1}, {"c": 1, "b": 1}, {"c": 1}, {"d": 1}])
    [3]
    """
    first, *left = [place for place, layout in enumerate(layouts) if layout] or [0]
    known = set(layouts[first]) if layouts else set()
    while joined := [place for place in left if known & layouts[place].keys()]:
        left = [place for place in left if place not in joined]
        known = known.union(*(layouts[place] for place in joined))
    return [place for place in left if not in_other_parts(next(iter(layouts[place])), next(iter(layouts[first])))]
