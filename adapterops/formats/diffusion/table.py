"""What a row of the table of models is, and what many of them have in common.

All names are flat (see `flat`), with `#` for the number of a block.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple


class Joined(NamedTuple):
    """A weight that is `parts` in another model, from the first row to the last.

    `equal`: two of them that have as many rows. `square` have as many rows as columns, where nothing else says how many.
    `swapped` has two halves, and the other model has them the other way round. Where `times` is given, only a weight of so
    many rows for each of its columns, or for each of those of `against`, is like that, and any other is the same in both.
    `against` is what the weight is called in the one model, and in the other, whose columns are counted.
    """

    whole: str
    parts: tuple[str, ...]
    equal: tuple[int, int] = (0, 0)
    square: tuple[int, ...] = ()
    swapped: bool = False
    times: int = 0
    against: tuple[str, ...] = ()


class ModelNames(NamedTuple):
    """The name by the authors → the one in diffusers, what is joined in one of the two, and names that both have, each for
    what the other calls by another of them.
    """

    renamed: Mapping[str, str]
    joined: Sequence[Joined] = ()
    exchanged: Collection[str] = ()

    @property
    def names(self) -> dict[str, set[str]]:
        """Those that only its authors have, and those that only diffusers has."""
        return {
            AUTHORS: {*self.renamed, *(each.whole for each in self.joined)},
            DIFFUSERS: {*self.renamed.values(), *(part for each in self.joined for part in each.parts)},
        }


AUTHORS, DIFFUSERS = "its authors", "diffusers"
"""Who gave the names of a model."""


QKV = ("to_q", "to_k", "to_v")
ADDED = ("add_q_proj", "add_k_proj", "add_v_proj")


def parts(whole: str, above: str, names: Sequence[str] = QKV) -> Joined:
    return Joined(whole, tuple(f"{above}{each}" for each in names), (1, 2))


def below(one: str, other: str, names: Mapping[str, str]) -> dict[str, str]:
    return {f"{one}_{mine}": f"{other}_{its}" for mine, its in names.items()}


def embedder(name: str) -> dict[str, str]:
    """The two layers of an embedding."""
    return {"in_layer": f"{name}_linear_1", "out_layer": f"{name}_linear_2"}


def embedders(above: str, names: Mapping[str, str]) -> dict[str, str]:
    """The two layers of each of several embeddings, that have an activation between them."""
    return {
        f"{mine}_mlp_{place}": f"{above}_{its}_linear_{layer}"
        for mine, its in names.items()
        for place, layer in ((0, 1), (2, 2))
    }


BLOCK, SINGLE_BLOCK = "transformer_blocks_#", "single_transformer_blocks_#"
"""How diffusers begins the names of blocks."""
