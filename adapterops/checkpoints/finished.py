"""Files that are finished, and what is noted of each: nobody does its work again, and its figures are in the manifest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops.engine.plan import Job
from adapterops.errors import AdapterOpsError
from adapterops.storage.checksums import BLAKE3, file_digests

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Facts
    from adapterops.updates.survival import Survival


@dataclass(frozen=True)
class Shard:
    """A finished file.

    Attributes:
        modules: what became of each module's update.
        quantized: what became of the tensors that were quantized without one.
        inputs: the hashes of the input files of its `Job`, by algorithm, in their order.
    """

    size: int
    blake3: str
    modules: Facts
    quantized: Facts
    inputs: Sequence[Mapping[str, str]]

    def as_json(self) -> dict[str, Any]:
        """What `read` reads."""
        numbers = {name: list(vars(each).values()) for name, each in self.modules.items()}
        codes = {name: list(vars(each).values()) for name, each in self.quantized.items()}
        return {
            "size": self.size,
            "blake3": self.blake3,
            "modules": numbers,
            "quantized": codes,
            "inputs": list(self.inputs),
        }


def read(record: Mapping[str, Any]) -> Shard:
    """The shard of a record.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: it is not one that was written by `as_json`.
    """
    inputs = [{str(name): str(value) for name, value in hashes.items()} for hashes in record["inputs"]]
    modules, quantized = _survivals(record["modules"]), _survivals(record["quantized"])
    return Shard(int(record["size"]), str(record["blake3"]), modules, quantized, inputs)


def _survivals(values: Mapping[str, Sequence[Any]]) -> dict[str, Survival]:
    from adapterops.updates.survival import Survival

    return {module: Survival(*each) for module, each in values.items()}


def noted(records: Iterable[Mapping[str, Any]], jobs: Sequence[Job]) -> dict[str, Shard]:
    """What was noted of the files of these jobs, by name; a damaged record is none. Nothing is said of the files."""
    inputs, found = {job.file: len(job.inputs) for job in jobs}, {}
    for record in records:
        with suppress(KeyError, TypeError, AttributeError, ValueError):
            name, shard = record["file"], read(record)
            if inputs.get(name) == len(shard.inputs):
                found[name] = shard
    return found


def whole(folder: Path, name: str, shard: Shard, sync: bool) -> bool:
    """Whether a file is there and still what was noted; then it is on the disk, too, which whoever wrote it may not
    have waited for.
    """
    with suppress(OSError, AdapterOpsError):
        if file_digests(folder / name, BLAKE3)[BLAKE3] == shard.blake3:
            if sync:
                with open(folder / name, "rb") as file:
                    os.fsync(file.fileno())
            return True
    return False
