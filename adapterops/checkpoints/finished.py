"""What is noted of a finished file of a checkpoint: its figures are in the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterops.storage.shapes import counted, fits, number

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Facts
    from adapterops.updates.survival import Survival


@dataclass(frozen=True)
class Shard:
    """A finished file; see `Noted`.

    Attributes:
        modules: what became of each module's update.
        quantized: what became of the tensors that were quantized without one.
    """

    size: int
    blake3: str
    modules: Facts
    quantized: Facts
    inputs: Sequence[Mapping[str, str]]

    def as_json(self) -> dict[str, Any]:
        """What `read` reads."""
        modules, quantized = (
            {name: list(vars(each).values()) for name, each in found.items()}
            for found in (self.modules, self.quantized)
        )
        return {**vars(self), "modules": modules, "quantized": quantized, "inputs": list(self.inputs)}


def read(record: Mapping[str, Any]) -> Shard:
    """The shard of a record.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: it is not one that was written by `as_json`.
    """
    inputs = [{str(name): str(value) for name, value in hashes.items()} for hashes in record["inputs"]]
    modules, quantized = _survivals(record["modules"]), _survivals(record["quantized"])
    if not counted(record["size"]):
        raise ValueError("expected a size")
    return Shard(record["size"], str(record["blake3"]), modules, quantized, inputs)


def _survivals(values: Mapping[str, Sequence[Any]]) -> dict[str, Survival]:
    from adapterops.updates.survival import Survival

    if not fits(values, {str: [number]}):
        raise ValueError("expected numbers")
    found = {module: Survival(*each) for module, each in values.items()}
    if any(each.negative for each in found.values()):
        raise ValueError("expected sums of squares")
    return found
