"""Names that a model of another class has: a bare encoder calls `encoder.layer.0` what its classifier has as
`bert.encoder.layer.0`.

The modules of one root (the first part of their names) move together, to where all of them are: by putting one prefix
before their names, by taking one away, or by taking away what a program calls the model that it holds, and putting the
prefix of that model before the rest. Where the base has modules of that root itself, nothing moves: what is missing
among them is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import takewhile
from typing import NamedTuple

from adapterops.formats.models.architectures import CODERS, FAMILIES, PREFIXES

OWN = set(FAMILIES.split())


class Move(NamedTuple):
    """The first `drop` parts of a name taken away, and `prefix` put before the rest."""

    drop: int = 0
    prefix: str = ""

    def of(self, name: str) -> str:
        """
        >>> Move(prefix="bert.").of("encoder.layer.0"), Move(drop=1).of("bert.encoder.layer.0")
        ('bert.encoder.layer.0', 'encoder.layer.0')
        >>> Move(drop=1).of("wrapper.model.layers.0"), Move(drop=1).of("wrapper.lm_head")
        ('layers.0', 'lm_head')
        """
        rest = name.split(".")[self.drop :]
        while self.drop and len(rest) > 1 and rest[0] in PREFIXES:
            del rest[0]
        return self.prefix + ".".join(rest)

    def coder(self, name: str) -> str:
        """The one of `CODERS` that layers are in by one of both names, and not by the other; empty where none is.

        >>> Move(drop=1).coder("decoder.layers.0.fc1"), Move(drop=1).coder("encoder.encoder.layer.0")
        ('decoder', '')
        >>> Move(prefix="decoder.").coder("layers.0.fc1"), Move(prefix="bert.").coder("layers.0.fc1")
        ('decoder', '')
        """
        before, after = _coder(name), _coder(self.of(name))
        return (before or after) if before != after else ""


def moved(
    names: Collection[str],
    base: Mapping[str, object],
    known: Callable[[str], bool],
    fits: Callable[[str, str], bool],
    tower: str = "",
    coder: str | None = None,
) -> dict[str, str]:
    """What some names are in a base, for those that are there by another prefix. A unique one decides.

    Args:
        names: canonical names.
        base: canonical names of the base.
        known: whether the base has a name, or what holds it.
        fits: whether a name of the base (the second) has the shape of one of `names`; asked where several prefixes do.
        tower: the prefix that is meant, where several fit all the same.
        coder: the one of `CODERS` that the base is by itself, or "": no other's layers become layers that are in none of them, or
            the other way round. None where that is not asked.
    """
    found: list[tuple[list[str], list[Move]]] = []
    for group in roots(names, base, known).values():
        full = [move for move, there in moves(group, base, known).items() if len(there) == len(group)]
        full = [move for move in full if coder is None or move.coder(group[0]) in ("", coder)]
        if len(full) > 1:
            full = [move for move in full if all(fits(name, move.of(name)) for name in group)]
        found.append((group, [move for move in full if move.prefix == f"{tower}."] or full))
    chosen = {full[0] for _, full in found if len(full) == 1}
    result = {name: full[0].of(name) for group, full in found if len(full) == 1 for name in group}
    if len(chosen) == 1:  # what may be in several places, or has no other part, as `final_layer_norm`, follows the rest
        (move,) = chosen
        result |= {name: move.of(name) for group, full in found if move in full for name in group}
        single = [name for name in names if name not in result and "." not in name and not known(name)]
        result |= {name: move.of(name) for name in single if not move.drop and known(move.of(name))}
    return result


def roots(names: Collection[str], base: Collection[str], known: Callable[[str], bool]) -> dict[str, list[str]]:
    """The names of every root that the base does not have, or not twice in a row."""
    there = {name.partition(".")[0] for name in base}
    groups: dict[str, list[str]] = {}
    for name in names:
        if "." in name:
            groups.setdefault(name.partition(".")[0], []).append(name)
    return {
        root: group
        for root, group in groups.items()
        if (root not in there or all(name.startswith(f"{root}.{root}.") for name in group))
        and not any(known(name) for name in group)
    }


def moves(group: Collection[str], base: Collection[str], known: Callable[[str], bool]) -> dict[Move, list[str]]:
    """The moves after which the base has names of a group, and which it has then; of several that do the same the one that
    takes the least away.
    """
    first = next(iter(group))
    above = in_common(group)
    found = {Move(prefix=prefix) for prefix in _before(first, base)}
    for drop, _ in enumerate(above, 1):
        found.add(Move(drop))
        if OWN.isdisjoint(above[:drop]):
            inner = _before(Move(drop).of(first), base)
            found |= {Move(drop, prefix) for prefix in inner if prefix.removesuffix(".") in OWN}
    result: dict[tuple[str, ...], tuple[Move, list[str]]] = {}
    for move in sorted(found):
        there = [name for name in group if known(move.of(name))]
        if there:
            result.setdefault(tuple(map(move.of, there)), (move, there))
    return dict(result.values())


def in_common(names: Collection[str]) -> list[str]:
    """The parts that all names begin with.

    >>> in_common(["wrapper.model.layers.0.q", "wrapper.model.layers.1.q", "wrapper.lm_head"])
    ['wrapper']
    """
    columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]


def _coder(name: str) -> str:
    """The one of `CODERS` that is around the layers of a name."""
    parts = name.split(".")
    first = next((place for place, part in enumerate(parts) if part.isdecimal()), 0)
    return parts[first - 2] if first > 1 and parts[first - 2] in CODERS else ""


def single_coder(classes: Collection[str]) -> str:
    """The one of `CODERS` that a class of a model is by itself; empty where it is none.

    >>> single_coder(["WhisperEncoder"]), single_coder(["T5EncoderModel"]), single_coder(["VisionEncoderDecoderModel"])
    ('encoder', 'encoder', '')
    """
    names = [name.removesuffix("Model") for name in classes if "EncoderDecoder" not in name]
    return next((coder for coder in CODERS if any(name.endswith(coder.title()) for name in names)), "")


def _before(name: str, base: Collection[str]) -> set[str]:
    """What names of a base have before the stem of a name."""
    stem = f".{name.rpartition('.')[0]}." if name.count(".") > 1 else f".{name}."
    return {other[:end] for other in base if (end := f"{other}.".find(stem) + 1) > 0}
