"""One adapter of a collection, as a file of its factors: these are computed from codes when they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from adapterops.arrays.scratch import Scratch
from adapterops.formats.collections.contents import NONE, Collection, StoredModule
from adapterops.storage.safetensors import CHUNK
from adapterops.storage.tensors import Entry, Spec

Array = NDArray[Any]

HELD = 8
"""How many pairs of factors stay in memory: B is asked for after A."""

A, B = ".lora_A", ".lora_B"


class MemberFile:
    """The factors of one adapter, MODULE.lora_A (r, in) and MODULE.lora_B (out, r) in float32. Its identity is that of the
    whole collection.
    """

    def __init__(self, collection: Collection, member: str) -> None:
        number = collection.number(member)
        self.path: Path = collection.file.path
        self.identity = collection.file.identity
        self.metadata: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}
        self.shapes: dict[str, tuple[int, int]] = {}
        stored: dict[str, StoredModule] = {}
        for module in collection.modules:
            each = collection.stored(module)
            if each.numbers[number] != NONE:
                stored[module] = each
                self.shapes[module] = each.shared.shape
                self._add(module, each, int(each.numbers[number]))

        def pair(module: str) -> Mapping[str, Array]:
            left, right = collection.factors(module, stored[module], int(stored[module].numbers[number]))
            return {A: right, B: left}

        self._pair = lru_cache(HELD)(pair)

    def _add(self, module: str, stored: StoredModule, number: int) -> None:
        sides = [len(each) for each in (stored.shared.left, stored.shared.right) if each is not None]
        rank = max(1, min(sides, default=0) + int(stored.tables.own[number].sum()))
        height, width = stored.shared.shape
        for role, shape in ((A, (rank, width)), (B, (height, rank))):
            begin = max((entry.end for entry in self.entries.values()), default=0)
            self.entries[module + role] = Entry("F32", shape, begin, begin + Spec("F32", shape).bytes)

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        module, _, role = name.rpartition(".")
        found = self._pair(module)[f".{role}"]
        return (found if rows is None else found[rows[0] : rows[1]]).copy()

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        return bytearray(self.array(name).tobytes()[begin:end])

    def chunks(self, name: str) -> Iterator[bytearray]:
        data = self.read(name)
        return (data[begin : begin + CHUNK] for begin in range(0, len(data), CHUNK))
