"""Layers whose B has numbers in one of several equal shares of its rows alone, and zeros elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapterops.arrays.dtypes import BITS
from adapterops.errors import count, listed
from adapterops.formats.adapter_files import AdapterFiles
from adapterops.formats.models.divisions import ATTENTION, JOINED
from adapterops.formats.models.naming import last

SHARES = (16, 8, 4, 2)
"""Into how many shares the rows of a layer are looked at."""

DIVIDED = {*ATTENTION, "Wi", "in_proj_qkvz", "in_proj_ba", *(last(name) for name in JOINED)}
"""Layers that consist of several: of these a part may be trained alone."""

LEAST = 2
"""Modules of a kind that have to have the same share."""


@dataclass(frozen=True)
class SharedRows:
    """Modules of one kind whose B has numbers in rows `begin` to `end` of `height` alone."""

    modules: tuple[str, ...]
    begin: int
    end: int
    height: int

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "modules": list(self.modules)}

    def __str__(self) -> str:
        """
        >>> str(SharedRows(("layers.0.q_proj", "layers.1.q_proj"), 0, 8, 64))
        'rows 0 to 7 of 64 in all 2 q_proj'
        """
        return (
            f"rows {self.begin} to {self.end - 1} of {self.height} in all {len(self.modules)} {last(self.modules[0])}"
        )


def shares(files: AdapterFiles) -> tuple[SharedRows, ...]:
    """The kinds of modules all of which have the same share of the rows of B, and zeros in the others.

    A layer that one of several processes held in part is saved so where the parts were not gathered. What trains B one row at
    a time by chance, such as units that never answer, leaves no equal share.

    Cost: two rows of each B; all of those that have zeros there.
    """
    kinds: dict[tuple[str, int], list[str]] = {}
    for module, parts in files.modules.items():
        name = parts.tensors.get("lora_B", "")
        shape = files.file.entries[name].shape if name in files.file.entries else ()
        plain = parts.kind.name == "LoRA" and parts.experts == 1 and last(module) not in DIVIDED
        if plain and len(shape) == 2 and shape[0] == parts.shape[0]:
            kinds.setdefault((last(module), shape[0]), []).append(module)
    found = []
    for (_, height), modules in kinds.items():
        places = {_share(files, files.modules[module].tensors["lora_B"]) for module in modules}
        if len(modules) >= LEAST and len(places) == 1 and (place := places.pop()):
            found.append(SharedRows(tuple(modules), *place, height))
    return tuple(found)


def _share(files: AdapterFiles, name: str) -> tuple[int, int] | None:
    """The rows of B that are not zero, where these fill one of several equal shares."""
    entry = files.file.entries[name]
    height, width = entry.shape[0], entry.shape[1] * BITS[entry.dtype] // 8

    def zeros(begin: int, end: int) -> bool:
        return not any(files.file.read(name, begin * width, end * width))

    if not zeros(height - 1, height) and not (height > 1 and zeros(height // 2 - 1, height // 2)):
        return None
    data = memoryview(files.file.read(name))
    rows = [number for number in range(height) if any(data[number * width : (number + 1) * width])]
    if not rows or rows[-1] - rows[0] + 1 != len(rows):
        return None
    whole = height % len(rows) == 0 and height // len(rows) in SHARES and rows[0] % len(rows) == 0
    return (rows[0], rows[-1] + 1) if whole else None


def shares_of(found: Sequence[SharedRows]) -> str:
    """What is said of them."""
    modules = count(sum(len(each.modules) for each in found), "module")
    return (
        f"of {modules} B has numbers in an equal share of its rows alone, and zeros in the others: {listed([*map(str, found)], 3)}; "
        "so a layer is saved of which one process held a part, where the parts were not gathered: compare with another "
        "checkpoint of the training"
    )
