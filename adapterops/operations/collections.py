"""What is inside a collection: its adapters, and how far each is from the one that was compressed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adapterops.formats.collections.contents import NONE, listed, open_collection
from adapterops.formats.peft.config import read_config
from adapterops.formats.registry import FORMATS
from adapterops.storage.place import Place

COLLECTION = "collection"
"""The format."""


@dataclass(frozen=True)
class Member:
    """One adapter: ‖ΔW - ΔW'‖_F / ‖ΔW‖_F over all its modules, and of each, as they were measured when it was compressed."""

    base_model: str | None
    error: float
    modules: Mapping[str, float]


@dataclass(frozen=True)
class CollectionInspection:
    """What `inspect_collection` found.

    Attributes:
        error: the relative error that was asked for.
        modules: for each how many different updates are stored.
        shared: for each how many directions of its outputs and of its inputs are, 0 for none.
    """

    path: Place
    size: int
    error: float
    members: Mapping[str, Member]
    modules: Mapping[str, int]
    shared: Mapping[str, tuple[int, int]]

    def as_json(self) -> dict[str, Any]:
        members = {name: {**each.__dict__, "modules": dict(each.modules)} for name, each in self.members.items()}
        shared = {name: list(each) for name, each in self.shared.items()}
        return {
            **self.__dict__,
            "path": str(self.path),
            "members": members,
            "modules": dict(self.modules),
            "shared": shared,
        }


def holds_collection(place: Place) -> bool:
    """Whether a collection is at a place, and none of its adapters is meant."""
    return not place.member and place.exists and FORMATS[COLLECTION].claims(place)


def inspect_collection(source: str | os.PathLike[str]) -> CollectionInspection:
    """The adapters of a collection and their errors. Computes no update.

    Raises:
        InputError: it is damaged.

    Cost: the header, and what is shared of every module.
    """
    place = Place.of(source)
    collection = open_collection(place)
    names, stored = list(collection.members), dict(listed(collection))
    norms, errors = (
        np.stack([getattr(each, what) for each in stored.values()], axis=1) for what in ("norms", "errors")
    )
    members = {}
    for number, name in enumerate(names):
        mine = {
            module: float(each.errors[number] / each.norms[number]) if each.norms[number] else 0.0
            for module, each in stored.items()
            if each.numbers[number] != NONE
        }
        total = float(np.linalg.norm(norms[number]))
        error = float(np.linalg.norm(errors[number])) / total if total else 0.0
        members[name] = Member(read_config(collection.members[name]).base_model, error, mine)
    sides = {
        module: tuple(0 if side is None else len(side) for side in (each.shared.left, each.shared.right))
        for module, each in stored.items()
    }
    return CollectionInspection(
        place,
        collection.file.identity.size,
        collection.error,
        members,
        {module: len(each.tables.own) for module, each in stored.items()},
        {module: (left, right) for module, (left, right) in sides.items()},
    )


def adapters_in(place: Place) -> list[Place]:
    """All adapters of a collection, each a place of its own; any other place is one already."""
    return [replace(place, member=name) for name in member_names(place)] if holds_collection(place) else [place]


def member_names(place: Place) -> list[str]:
    """The names of the adapters of a collection."""
    return list(open_collection(place).members)
