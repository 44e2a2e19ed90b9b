"""The tables of `models`, looked up: where a weight of one name may be in a model of other names.

All names are flat (see `flat`), with `#` for a number in the tables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

from adapterops.formats.diffusion import unet
from adapterops.formats.diffusion.models import FIRST_ROWS, HELD, MODELS, XLABS
from adapterops.formats.diffusion.table import AUTHORS, Joined
from adapterops.regex import Regex

JOINED = [each for model in MODELS.values() for each in model.joined]
RENAMED = list(dict.fromkeys(pair for model in MODELS.values() for pair in model.renamed.items()))
"""Name by the authors and name in diffusers; several models have some of them."""

BIAS = "_bias"

NUMBER = Regex(r"(?<=_)\d+(?=_|$)|(?<=_block)\d+(?=_)")


def forms(key: str) -> list[tuple[str, str]]:
    """A flat name as it is, and with `#` for its first number, that of a block, or for its second, that of a layer of a
    level; and that number.

    >>> forms("double_blocks_11_img_mlp_0")
    [('double_blocks_11_img_mlp_0', ''), ('double_blocks_#_img_mlp_0', '11'), ('double_blocks_11_img_mlp_#', '0')]
    """
    found = islice(NUMBER.finditer(key), 2)
    return [(key, ""), *((f"{key[: each.start()]}#{key[each.end() :]}", each[0]) for each in found)]


def by_authors(key: str) -> str | None:
    """What the authors of a model call a module that XLabs has a name of its own for."""
    return next((XLABS[name].replace("#", number) for name, number in forms(key) if name in XLABS), None)


def authors_prefix(keys: Collection[str]) -> str:
    """What a model begins the names of its weights with, where adapters of its authors have none of it; empty for others."""
    return next((prefix for prefix, own in HELD.items() if own in keys), "")


def weight_of_first_rows(key: str) -> str | None:
    """The weight of which a module is the first rows, where one is."""
    return next((FIRST_ROWS[name].replace("#", number) for name, number in forms(key) if name in FIRST_ROWS), None)


EXCHANGED = {
    model: {
        whose: frozenset(
            names.difference(*(set().union(*other.names.values()) for other in MODELS.values() if other != each))
        )
        for whose, names in each.names.items()
    }
    for model, each in MODELS.items()
    if each.exchanged
}
"""Models with names that mean another weight in the one than in the other → the names by which each is known from all others."""


def exchanged(key: str) -> Iterator[tuple[str, list[str]]]:
    """The models in which a weight, or a bias, of this name is another one by their authors than in diffusers; and those that
    have such names in its block.

    >>> list(exchanged("blocks_3_norm2"))
    [('HunyuanDiT', ['blocks_3_norm2', 'blocks_3_norm3'])]
    """
    for name, number in forms(key.removesuffix(BIAS)):
        for model in EXCHANGED:
            if name in (names := MODELS[model].exchanged):
                yield model, [each.replace("#", number) for each in names]


def whose(model: str, keys: Iterable[str], *, only_exchanged: bool = False) -> set[str]:
    """Who has given names such as these to weights of a model: its authors, diffusers, both or neither.

    Args:
        only_exchanged: by those that no other model has.
    """
    found = {name for key in keys for name, _ in forms(key.removesuffix(BIAS))}
    names = EXCHANGED[model] if only_exchanged else MODELS[model].names
    return {each for each, known in names.items() if not found.isdisjoint(known)}


BY_AUTHORS = set().union(*(each.names[AUTHORS] for model, each in MODELS.items() if ", by " not in model))


def is_of_authors(key: str) -> bool:
    """Whether the authors of some model call a weight so, and diffusers another way or not at all.

    >>> is_of_authors("joint_blocks_3_x_block_attn_qkv"), is_of_authors("transformer_blocks_3_attn_to_q")
    (True, False)
    """
    return any(name in BY_AUTHORS for name, _ in forms(key))


OTHERS = unet.either_way(RENAMED)


def renamed(key: str) -> Iterator[str]:
    """What a weight, or a bias, is called elsewhere, all of it; those of several models may be in no base.

    >>> list(renamed("blocks_3_self_attn_q_bias"))
    ['blocks_3_attn1_to_q_bias']
    """
    end = BIAS if key.endswith(BIAS) else ""
    for name, number in forms(key.removesuffix(end)):
        yield from (f"{each.replace('#', number)}{end}" for each in OTHERS.get(name, ()))
    yield from unet.renamed(key)


def wholes(key: str) -> Iterator[tuple[Joined, int, str]]:
    """The joined weights that one may be a part of: with the number of the part, and that of the block."""
    for name, number in forms(key):
        yield from ((each, each.parts.index(name), number) for each in JOINED if name in each.parts)


def divided(key: str) -> Iterator[tuple[Joined, str]]:
    """What a joined weight may be in parts."""
    for name, number in forms(key):
        yield from ((each, number) for each in JOINED if each.whole == name)


def first_rows(joined: Joined, known: Mapping[int, int], height: int, width: int) -> list[int] | None:
    """The first row of every part, and the row after the last; None where the parts cannot fill it.

    Args:
        known: rows of some parts.
        height, width: of the joined weight.

    >>> first_rows(JOINED[0], {0: 4}, 12, 4), first_rows(JOINED[3], {3: 16}, 28, 4)
    ([0, 4, 8, 12], [0, 4, 8, 12, 28])
    """
    rows = dict(known)
    one, other = joined.equal
    for mine, its in ((one, other), (other, one)):
        if its in rows:
            rows.setdefault(mine, rows[its])
    rows |= {part: width for part in joined.square if part not in rows}
    missing = [part for part in range(len(joined.parts)) if part not in rows]
    left = height - sum(rows.values())
    if left < 0 or (missing and (left == 0 or left % len(missing))):
        return None
    rows |= dict.fromkeys(missing, left // len(missing) if missing else 0)
    grouped = joined.equal == (1, 2) and missing  # of q, k and v: each k serves a whole number of q
    if sum(rows.values()) != height or rows.get(one) != rows.get(other) or (grouped and rows[0] % rows[1]):
        return None
    firsts = [0]
    for part in range(len(joined.parts)):
        firsts.append(firsts[-1] + rows[part])
    return firsts
