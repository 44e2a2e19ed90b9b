"""Kinds of update, as files hold them. Each registers itself in the file that has its mathematics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterops.registry import Registry

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Update

Shape = tuple[int, ...]


class Measure(NamedTuple):
    """Shape of the weight as a matrix, the rank that alpha is divided by, and an upper bound on the rank of the update.

    What only the weight says of the shape is 0, there and in the update, of which `shape` is a field then: it is replaced.

    The rank is None where the shapes do not say it, and only the config does. `kernel` are the dimensions of a
    convolution's weight after the first, where the arrays show them.
    """

    shape: tuple[int, int]
    rank: int | None
    bound: int
    kernel: Shape = ()


@dataclass(frozen=True)
class Kind:
    """How one kind of update is stored. One that is stored in several ways is registered once for each, under one name.

    Attributes:
        name: what people call it.
        roles: its arrays, by the names that files have for them → what follows these in PEFT's names.
        measure: what the shapes of the arrays say, by their roles; raises ShapeError where they do not fit.
        build: the update, from the arrays by their roles, in float32 or float64, and the scale.
        untrained: the role whose array is zero before training, where there is one.
        reads: what of the weight the update depends on. Nothing; the `entries` that it changes, the `rows` that these
            are in, or their `columns`: all rows are given then. All of the `weight`: `on(W)` is LoRA. The `shape`, of which
            the arrays say the outputs: it is an `Unfitted`, and on so many inputs LoRA.
        peft_type: the type that PEFT's config says; None where PEFT has no such kind.
        dense: it has no factors.
        alpha: what that calls the numerator of the scale; None where there is no scale.
        flag: the field that is set for this kind and not for others of its type.
        fields: fields of the config that do not change the update.
        refused: fields under which it is not handled when they are set, and why.
        stated: the kind that it is by the fields of the config, where its arrays do not say how they are meant.
        embedding: it is that of an embedding, which PEFT stores in another way than that of a Linear layer.
    """

    name: str
    roles: Mapping[str, str]
    measure: Callable[[Mapping[str, Shape]], Measure]
    build: Callable[[Mapping[str, Array], float], Update]
    untrained: str | None = None
    reads: str = ""
    peft_type: str | None = "LORA"
    alpha: str | None = "lora_alpha"
    flag: str | None = None
    dense: bool = False
    fields: Collection[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    embedding: bool = False
    stated: Callable[[Mapping[str, Any]], Kind] | None = None


KINDS: Registry[Kind] = Registry("kind of update", "adapterops.updates", "adapterops.updates")


def kind_of(roles: Collection[str]) -> Kind:
    """The kind that has these roles, or the one that is nearest to having them, and has one of them; of two that have, the
    linear one.
    """
    given = set(roles)

    def distance(kind: Kind) -> tuple[bool, int, bool]:
        return given.isdisjoint(kind.roles), len(given ^ kind.roles.keys()), bool(kind.reads)

    having = [kind for kind in KINDS.values() if kind.roles.keys() == given]
    return min(having or KINDS.values(), key=distance)
