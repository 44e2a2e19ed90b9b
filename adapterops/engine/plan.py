"""What saving will do, known from headers alone: files, bytes, memory, downloads, and what has to be measured first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops.engine import local
from adapterops.engine.execution import Execution, device_name
from adapterops.errors import DiskError, at
from adapterops.methods import METHODS
from adapterops.provenance.history import Source, Step, sources
from adapterops.provenance.manifest import versions
from adapterops.storage.checksums import BLAKE3, digest, file_digests
from adapterops.storage.shapes import Shape

if TYPE_CHECKING:
    from adapterops.storage.tensors import TensorFile

OF_METHOD = "what the method needs of the whole model"
"""See `Method.whole_model`: TIES as in its paper keeps the largest entries of all modules together, and counts first where they begin."""

DIFFERENCES = "which tensors of the two models differ"

SPECTRA = "spectra of every module"
"""A budget is spent where singular values are largest: all are computed first."""


@dataclass(frozen=True)
class Job:
    """One file to write: its tensors in their order, with the bytes of each; and which input files are hashed by the way,
    so that all of them are once, whoever does which jobs.
    """

    file: str
    tensors: Mapping[str, int]
    inputs: tuple[TensorFile, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(self.tensors.values())


@dataclass(frozen=True)
class Plan:
    """What saving will do.

    Attributes:
        jobs: the files of tensors, one job for each. Where a rank depends on numbers that are not read, bytes are at
            most these.
        memory: about the bytes that the work takes beyond what libraries take.
        download: files that are not here yet, with their sizes.
        statistics: what has to be measured before the first tensor can be written.
        hash: equal for equal work, whoever does it: a run may go on where another of the same hash stopped.
    """

    jobs: tuple[Job, ...]
    memory: int
    download: Mapping[Path, int]
    statistics: tuple[str, ...]
    hash: str

    @property
    def bytes(self) -> int:
        return sum(job.bytes for job in self.jobs)

    def free(self, out: Path) -> int:
        """Free bytes of the disk that `out` is to be on.

        Raises:
            ResourceError: the files do not fit.
        """
        with at(path=out):
            return room(out.resolve().parent, self.bytes)

    def as_json(self) -> dict[str, Any]:
        return {
            "bytes": self.bytes,
            "memory": self.memory,
            "download": {"files": len(self.download), "bytes": sum(self.download.values())},
            "statistics": list(self.statistics),
            "hash": self.hash,
            "shards": {job.file: {"tensors": len(job.tensors), "bytes": job.bytes} for job in self.jobs},
        }


def room(folder: Path, needed: int) -> int:
    """Free bytes of the disk that a folder is on.

    Raises:
        DiskError: they are fewer than needed.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        hint = "free some space, or write to another disk"
        raise DiskError(f"needs {needed} bytes, {free} bytes are free", hint=hint)
    return free


def missing(history: Step | Source) -> dict[Path, int]:
    """The files of all inputs that are not here yet, with their sizes."""
    return {path: size for source in sources(history) for path, size in source.missing().items()}


def statistics(history: Step | Source) -> tuple[str, ...]:
    """What operations have to measure over the whole model before they can compute a tensor of it."""
    found = {need: None for step in steps(history) for need in _needs(step)}
    return tuple(found)


def steps(history: Step | Source) -> Iterator[Step]:
    """All operations, the last one first."""
    if isinstance(history, Step):
        yield history
        for inner in history.inputs:
            yield from steps(inner)


def _needs(step: Step) -> Iterator[str]:
    if step.operation == "merge" and METHODS[step.parameters["method"]].whole_model(step.parameters):
        yield OF_METHOD
    if step.operation == "extract":
        yield DIFFERENCES
    if "budget" in step.parameters:
        yield SPECTRA


def rounding_device(history: Step | Source, how: Execution) -> str:
    """The device, where bytes of the output may depend on it: "" on a processor, and where nothing is merged but by sums, or
    cut.
    """
    return device_name(how.device) if any(map(_rounds, steps(history))) else ""


def _rounds(step: Step) -> bool:
    if step.operation != "merge":
        return step.operation in ("truncate", "extract")
    return METHODS[step.parameters["method"]].acts != "updates" or step.parameters["space"] != "delta"


def dealt(
    history: Step | Source, files: Iterable[str], readers: Mapping[Path, Mapping[str, int]]
) -> dict[str, tuple[TensorFile, ...]]:
    """Which input files are hashed with which file that is made: with the one that reads most of it; the others in turn.

    Args:
        readers: input file → the files that read it, with how many bytes.
    """
    found: dict[str, list[TensorFile]] = {file: [] for file in files}
    turns = cycle(found)
    inputs = {file.path: file for source in sources(history) for file in source.tensors}
    for path, file in inputs.items():
        by = readers.get(path, {})
        found[max(by, key=lambda name: by[name]) if by else next(turns)].append(file)
    return {file: tuple(each) for file, each in found.items()}


def hashed(history: Step | Source, *details: Any) -> str:
    """A hash of the inputs, the operations on them, and whatever else the bytes of the output depend on."""
    inputs = sources(history)
    operation = history.as_json(inputs) if isinstance(history, Step) else {}
    text = json.dumps([list(map(identity, inputs)), operation, *details])
    return digest(text.encode())


def once(shape: Shape, measure: Callable[[], Any], step: Step, *details: Any, how: Execution) -> Any:
    """What `measure` finds, a value of JSON, over all inputs of a step: by one process for all that work on one output.

    Args:
        shape: of the value.
        details: what else it depends on, besides versions and kernels: what inputs are called, and of which shape, where
            a base decides that.
    """
    if how.once is None:
        return measure()
    here = versions(torch=False), local.kernels(torch=False), *filter(None, [device_name(how.device)])
    return how.once(hashed(step, *details, *here), shape, measure)


def identity(source: Source) -> dict[str, Any]:
    """What tells an input from any other: its commit on the Hub, or its files here, the small ones by their content.
    It is the same on all machines that share the disk.
    """
    of: dict[str, Any] = {} if source.alpha is None else {"alpha": source.alpha}
    if source.member:
        of["member"] = source.member
    if source.remote is not None:
        return {**of, "reference": source.remote.reference, "revision": source.remote.revision}
    files = {source.named(file.path): list(file.identity.origin) for file in source.tensors}
    return {**of, **files, **{source.named(path): file_digests(path, BLAKE3)[BLAKE3] for path in source.others}}
