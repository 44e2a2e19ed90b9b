"""What is noted of finished files, so that nobody does their work again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from adapterops.engine.plan import Job
from adapterops.errors import AdapterOpsError
from adapterops.provenance.history import Source
from adapterops.storage.checksums import BLAKE3, file_digests
from adapterops.storage.shapes import fits, hashed


class Records(Protocol):
    """Where finished files are noted, and who takes them over when they are."""

    def add(self, entry: Mapping[str, Any]) -> None: ...


class Noted(Protocol):
    """What is known of a finished file: its hash, its size where others ask for that, and the hashes of the input files of
    its job, in their order.
    """

    @property
    def size(self) -> int | None: ...
    @property
    def blake3(self) -> str: ...
    @property
    def inputs(self) -> Sequence[Mapping[str, str]]: ...


AnyNoted = TypeVar("AnyNoted", bound=Noted)


def noted(
    records: Iterable[Mapping[str, Any]], jobs: Sequence[Job], read: Callable[[Mapping[str, Any]], AnyNoted]
) -> dict[str, AnyNoted]:
    """What was noted of the files of these jobs, by name; a damaged record is none. Nothing is said of the files."""
    inputs, found = {job.file: len(job.inputs) for job in jobs}, {}
    for record in records:
        with suppress(KeyError, TypeError, AttributeError, ValueError, OverflowError):
            name, each = record["file"], read(record)
            whole = hashed(record["blake3"]) and fits(list(each.inputs), [{str: hashed}])
            if whole and inputs.get(name) == len(each.inputs):
                found[name] = each
    return found


def note_hashes(inputs: Iterable[Source], jobs: Sequence[Job], files: Mapping[str, Noted]) -> None:
    """Let the inputs have the hashes that any process took of them along with the files of jobs."""
    pairs = (zip(job.inputs, files[job.file].inputs, strict=True) for job in jobs)
    known = {file.path: hashes for pair in pairs for file, hashes in pair}
    for source in inputs:
        for file in source.tensors:
            file.identity.note(known.get(file.path, {}))


def whole(folder: Path, name: str, noted: Noted, sync: bool) -> bool:
    """Whether a file is there and still what was noted; then it is on the disk, too, which whoever wrote it may not
    have waited for.
    """
    with suppress(OSError, AdapterOpsError):
        size = (folder / name).stat().st_size
        if file_digests(folder / name, BLAKE3)[BLAKE3] == noted.blake3 and noted.size in (None, size):
            if sync:
                with open(folder / name, "rb") as file:
                    os.fsync(file.fileno())
            return True
    return False
