"""Names that a model of another class has: a bare encoder calls `encoder.layer.0` what its classifier has as
`bert.encoder.layer.0`.

The modules of one root (the first part of their names) move together, to where all of them are: by putting one prefix
before their names, or by taking one away. Where the base has modules of that root itself, nothing moves: what is
missing among them is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

DROPPED = 2
"""Parts of a prefix that may be taken away."""


class Move(NamedTuple):
    """The first `drop` parts of a name taken away, and `prefix` put before the rest."""

    drop: int = 0
    prefix: str = ""

    def of(self, name: str) -> str:
        """
        >>> Move(prefix="bert.").of("encoder.layer.0"), Move(drop=1).of("bert.encoder.layer.0")
        ('bert.encoder.layer.0', 'encoder.layer.0')
        """
        return self.prefix + ".".join(name.split(".")[self.drop :])


def moved(
    names: Collection[str],
    base: Mapping[str, object],
    known: Callable[[str], bool],
    fits: Callable[[str, str], bool],
    tower: str = "",
) -> dict[str, str]:
    """What some names are in a base, for those that are there by another prefix. A unique one decides.

    Args:
        names: canonical names.
        base: canonical names of the base.
        known: whether the base has a name, or what holds it.
        fits: whether a name of the base (the second) has the shape of one of `names`; asked where several prefixes do.
        tower: the prefix that is meant, where several fit all the same.
    """
    found: list[tuple[list[str], list[Move]]] = []
    for group in roots(names, base, known).values():
        full = [move for move, there in moves(group, base, known).items() if len(there) == len(group)]
        if len(full) > 1:
            full = [move for move in full if all(fits(name, move.of(name)) for name in group)]
        found.append((group, [move for move in full if move.prefix == f"{tower}."] or full))
    chosen = {full[0] for _, full in found if len(full) == 1}
    result = {name: full[0].of(name) for group, full in found if len(full) == 1 for name in group}
    if len(chosen) == 1:  # what may be in several places, or has no other part, as `final_layer_norm`, follows the rest
        (move,) = chosen
        result |= {name: move.of(name) for group, full in found if move in full for name in group}
        alone = [name for name in names if name not in result and "." not in name and not known(name)]
        result |= {name: move.of(name) for name in alone if not move.drop and known(move.of(name))}
    return result


def roots(names: Collection[str], base: Collection[str], known: Callable[[str], bool]) -> dict[str, list[str]]:
    """The names of every root that the base does not have."""
    there = {name.partition(".")[0] for name in base}
    groups: dict[str, list[str]] = {}
    for name in names:
        if "." in name:
            groups.setdefault(name.partition(".")[0], []).append(name)
    return {
        root: group for root, group in groups.items() if root not in there and not any(known(name) for name in group)
    }


def moves(group: Collection[str], base: Collection[str], known: Callable[[str], bool]) -> dict[Move, list[str]]:
    """The moves after which the base has names of a group, and which it has then."""
    first = next(iter(group))
    stem = f".{first.rpartition('.')[0]}." if first.count(".") > 1 else f".{first}."
    found = {Move(prefix=name[:end]) for name in base if (end := f"{name}.".find(stem) + 1) > 0}
    found |= {Move(drop=drop) for drop in range(1, DROPPED + 1) if first.count(".") > drop}
    there = {move: [name for name in group if known(move.of(name))] for move in sorted(found)}
    return {move: names for move, names in there.items() if names}
