"""The files of a checkpoint's tensors:
read, computed and written by all workers, tensor by tensor, in memory for a few tiles.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from adapterops.arrays.dtypes import BITS
from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.engine import local
from adapterops.engine.execution import Execution
from adapterops.engine.plan import Job
from adapterops.errors import AdapterOpsError, ResourceError, at
from adapterops.provenance.history import Source
from adapterops.storage.checksums import BLAKE3, file_digests
from adapterops.storage.journal import Journal
from adapterops.storage.safetensors import Spec, Stored, TensorFile, as_bytes
from adapterops.storage.writer import SafetensorsWriter

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array
    from adapterops.quant.scheme import Encoder
    from adapterops.updates.survival import Block, Survival

SYNC_BYTES = 1 << 28
"""Written bytes after which a file is synced, so that the disk works while the processors do."""

Item: TypeAlias = "str | TensorFile"
"""A tensor to write, or a file to hash."""

Found: TypeAlias = "tuple[dict[str, Survival], dict[str, Survival]]"
"""What became of each module's update, and of the tensors that were quantized without one."""


@dataclass
class Shard:
    """A finished file, and the `Found` of its tensors."""

    size: int
    blake3: str
    modules: dict[str, Survival]
    quantized: dict[str, Survival]


def write_shards(
    checkpoint: Checkpoint,
    jobs: Sequence[Job],
    inputs: Sequence[Source],
    folder: Path,
    journal: Journal,
    how: Execution,
) -> dict[str, Shard]:
    """The file of each job; those that an earlier run finished are kept. The inputs are hashed, most of them as they
    are read.

    Raises:
        ResourceError: there is no room for them.
    """
    sync = how.sync
    done = _finished(folder, journal, {job.file for job in jobs}, sync)
    left = [job for job in jobs if job.file not in done]
    _check_space(folder, sum(job.bytes for job in left))
    work, finished = _Files(checkpoint, left, how.device), dict[str, Future[Shard]]()
    with local.background() as background:  # where the disk is waited for
        try:
            work.open(folder)
            pending: deque[Future[Any]] = deque()
            unsynced = 0
            items = work.items(inputs)
            with closing(local.run(work.do, items, needs_torch=work.needs_torch, lane=work.lane, how=how)) as results:
                for tensor, facts in filter(None, results):
                    name = work.owner[tensor]
                    unsynced += checkpoint.bytes(tensor)
                    if work.completes(tensor, facts):
                        finished[name] = background.submit(work.finish, name, journal, sync)
                        pending.append(finished[name])
                    elif sync and unsynced > SYNC_BYTES:
                        pending.append(background.submit(work.writers[name].sync))
                        unsynced = 0
                    while pending and pending[0].done():  # what failed in the background ends the work at once
                        pending.popleft().result()
            for future in pending:
                future.result()
        finally:
            if not local.STOPPING.is_set():
                background.shutdown(wait=True, cancel_futures=True)  # nothing may write to what is closed now
                work.close()
    done |= {name: future.result() for name, future in finished.items()}
    return {job.file: done[job.file] for job in jobs}


class _Files:
    """Files on their way: what each waits for, and what is known of the tensors that are there.

    Attributes:
        owner: tensor → the file it is written to.
        source: tensor → the file that holds it, or its first part.
    """

    def __init__(self, checkpoint: Checkpoint, jobs: Sequence[Job], device: str) -> None:
        self.checkpoint, self.jobs, self.device = checkpoint, jobs, device
        self.owner = {tensor: job.file for job in jobs for tensor in job.tensors}
        self.source = {tensor: next(iter(checkpoint.stored[tensor].parts.values())).file for tensor in self.owner}
        self.writers: dict[str, SafetensorsWriter] = {}
        self._computed = {tensor for tensor in self.owner if checkpoint.computed(tensor)}
        self._torch = checkpoint.needs_torch
        self._waiting = {job.file: len(job.tensors) for job in jobs}
        self._facts: dict[str, Found] = {job.file: ({}, {}) for job in jobs}

    def open(self, folder: Path) -> None:
        """Create them; what is read from now on is hashed."""
        for file in self.source.values():
            file.hash_as_read()
        self.writers |= ((job.file, _writer(self.checkpoint, folder, job)) for job in self.jobs)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()

    def items(self, inputs: Sequence[Source]) -> list[Item]:
        """The tensors in the order of their files, and the files that hold them,
        to be hashed as they are read; first all other files.
        """
        along = {file.path: file for file in self.source.values()}
        others = [file for source in inputs for file in source.tensors if file.path not in along]
        return [*others, *self.owner, *along.values()]

    def needs_torch(self, item: Item) -> bool:
        """Whether computing it does."""
        return self._torch and item in self._computed

    def lane(self, item: Item) -> Path:
        """The file that it reads."""
        return (self.source[item] if isinstance(item, str) else item).path

    def do(self, item: Item) -> tuple[str, Found] | None:
        if not isinstance(item, str):
            item.hashes()
            return None
        writer = self.writers[self.owner[item]]
        if item in self._computed:
            with at(path=self.source[item].path, tensor=item):
                return item, _compute(self.checkpoint, item, writer, self.device)
        put = _Put(writer, self.checkpoint.parts(item))
        for role, part in self.checkpoint.stored[item].parts.items():
            put.copy(role, part)
        return item, ({}, {})

    def completes(self, tensor: str, facts: Found) -> bool:
        """Note that a tensor is written; whether its file is, now."""
        name = self.owner[tensor]
        for known, new in zip(self._facts[name], facts, strict=True):
            known |= new
        self._waiting[name] -= 1
        return self._waiting[name] == 0

    def finish(self, name: str, journal: Journal, sync: bool) -> Shard:
        writer = self.writers[name]
        if sync:
            writer.sync()
        writer.check()
        shard = Shard(writer.size, writer.blake3(), *self._facts[name])
        modules, quantized = (
            {name: list(vars(each).values()) for name, each in found.items()}
            for found in (shard.modules, shard.quantized)
        )
        journal.add(
            {"file": name, "size": shard.size, "blake3": shard.blake3, "modules": modules, "quantized": quantized}
        )
        return shard


class _Put:
    """Writes the parts of one tensor, each from its start on, a piece at a time."""

    def __init__(self, writer: SafetensorsWriter, parts: Mapping[str, tuple[str, Spec]]) -> None:
        self._writer, self._parts = writer, parts
        self._offsets = dict.fromkeys(parts, 0)

    @property
    def missing(self) -> list[str]:
        """Parts of which nothing is written yet."""
        return [role for role, offset in self._offsets.items() if offset == 0 and self._parts[role][1].bytes]

    def __call__(self, role: str, data: bytes | bytearray | memoryview) -> None:
        self._writer.write(self._parts[role][0], data, self._offsets[role])
        self._offsets[role] += len(data)

    def copy(self, role: str, part: Stored) -> None:
        """All of a part as another file has it."""
        for chunk in part.file.chunks(part.name):
            self(role, chunk)


def _compute(checkpoint: Checkpoint, tensor: str, writer: SafetensorsWriter, device: str) -> Found:
    """Write a tensor; what survived of the updates in it, and how far its codes are from it where there are none."""
    from adapterops.updates.survival import Survival, quantized, rounded, survival

    stored, dtype, encoder = checkpoint.stored[tensor], checkpoint.layout[tensor].dtype, checkpoint.encoder(tensor)
    rows, put, memory = checkpoint.rows(tensor), _Put(writer, checkpoint.parts(tensor)), Scratch()
    survived: dict[str, Survival] = {}
    plain: dict[str, Survival] = {}
    for begin, end in checkpoint.blocks(tensor):
        block = rows(begin, end)
        if encoder is None:
            stored_rows = rounded(block, dtype, memory)
            put("", stored_rows.data.cast("B") if stored_rows.size else b"")
            found = survival(block, block.values, dtype)
        else:
            values, kept, changed_codes = _encode(checkpoint, tensor, encoder, block, begin, device, put, memory)
            if not block.changes:
                plain[tensor] = plain.get(tensor, Survival()) + quantized(values, kept)
            found = survival(block, kept, "F32", quantized=True, changed_codes=changed_codes)
        for module, each in found.items():
            survived[module] = survived.get(module, Survival()) + each
    for role, piece in encoder.rest().items() if encoder else ():
        put(role, as_bytes(piece))
    for role in put.missing:  # of a grid that stays as it is
        put.copy(role, stored.parts[role])
    return survived, plain


def _encode(
    checkpoint: Checkpoint,
    tensor: str,
    encoder: Encoder,
    block: Block,
    begin: int,
    device: str,
    put: _Put,
    memory: Scratch,
) -> tuple[Array, Array, Array | None]:
    """Write the codes of some rows:
    the rows, what the codes stand for when they are used, and which codes are not the ones before.
    """
    from adapterops.arrays.floats import narrowed
    from adapterops.quant.registry import kept
    from adapterops.quant.scheme import torch_dtype
    from adapterops.quant.transfer import transfer
    from adapterops.quant.used import decoded_to

    scheme, before, spec = checkpoint.schemes[tensor], checkpoint.stored[tensor], checkpoint.layout[tensor]
    values, way = narrowed(block.values, "F32", memory), transfer(device)
    with way.working():
        pieces, decoded = encoder.rows(way.there(values), begin)
        stored = decoded()
        if block.changes:
            stored = stored.to(torch_dtype(decoded_to(scheme))).float()
        pieces = way.back({**pieces, "": stored})
    stored = pieces.pop("")
    for role, piece in pieces.items():
        put(role, as_bytes(piece))
    same = block.changes and scheme == before.scheme
    return (
        values,
        stored.numpy(),
        kept(scheme).changed(spec.shape, before.read, begin, pieces).numpy() if same else None,
    )


def _writer(checkpoint: Checkpoint, folder: Path, job: Job) -> SafetensorsWriter:
    tensors = list(job.tensors)
    metadata = next(iter(checkpoint.stored[tensors[0]].parts.values())).file.metadata or {"format": "pt"}
    parts = [part for tensor in tensors for part in checkpoint.parts(tensor).values()]
    if not (inner := (folder / job.file).parent).is_dir():  # a component's
        inner.mkdir()
    if any(
        tensor in checkpoint.schemes for tensor in tensors
    ):  # readers map files: wide numbers must begin at multiples of their size
        parts.sort(key=lambda part: -BITS[part[1].dtype])
    return SafetensorsWriter(folder / job.file, dict(parts), metadata)


def _finished(folder: Path, journal: Journal, names: set[str], sync: bool) -> dict[str, Shard]:
    """The files that an earlier run finished and that are still what they were; anything else is removed."""
    done: dict[str, Shard] = {}
    for entry in journal.entries():
        with suppress(
            KeyError, TypeError, AttributeError, OSError, AdapterOpsError
        ):  # an entry that was damaged is none
            name, hash_, modules, quantized = (
                entry["file"],
                entry["blake3"],
                _survivals(entry["modules"]),
                _survivals(entry["quantized"]),
            )
            if name in names and file_digests(folder / name, BLAKE3)[BLAKE3] == hash_:
                with open(folder / name, "rb") as file:
                    done[name] = Shard(os.fstat(file.fileno()).st_size, hash_, modules, quantized)
                    if sync:  # the run that wrote it may not have waited for the disk
                        os.fsync(file.fileno())
    for path in folder.rglob("*"):
        if not path.is_dir() and path.relative_to(folder).as_posix() not in done and path != journal.path:
            path.unlink()
    return done


def _survivals(values: Mapping[str, Sequence[Any]]) -> dict[str, Survival]:
    from adapterops.updates.survival import Survival

    return {module: Survival(*each) for module, each in values.items()}


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            f"needs {needed} bytes, {free} bytes are free", hint="free some space, or write to another disk with -o"
        )
