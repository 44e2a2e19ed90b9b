"""The files of a checkpoint's tensors:
read, computed and written by all workers, tensor by tensor, in memory for a few tiles.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from adapterops.arrays.dtypes import BITS
from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.finished import Shard
from adapterops.checkpoints.gguf import like
from adapterops.engine import local
from adapterops.engine.execution import Execution
from adapterops.engine.plan import Job, room
from adapterops.engine.records import Records
from adapterops.errors import at
from adapterops.quant.comfy import without
from adapterops.quant.transposed import Transposed
from adapterops.storage.gguf_copy import GgufCopy
from adapterops.storage.tensors import Spec, Stored, TensorFile, as_bytes
from adapterops.storage.writer import SafetensorsWriter

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array
    from adapterops.quant.scheme import Encoder
    from adapterops.updates.survival import Block, Survival

SYNC_BYTES = 1 << 26
"""Written bytes of a file after which it is synced, so that the disk works while the processors do: no more than that of
each file is left to wait for at its end.
"""

USED = "what the codes stand for"
"""Next to the parts of a tensor, which have other roles."""

Item: TypeAlias = "str | TensorFile"
"""A tensor to write, or a file to hash."""

Found: TypeAlias = "tuple[dict[str, Survival], dict[str, Survival]]"
"""What became of each module's update, and of the tensors that were quantized without one."""


def write_shards(
    checkpoint: Checkpoint, jobs: Sequence[Job], folder: Path, records: Records, how: Execution
) -> dict[str, Shard]:
    """The file of each job, and the hashes of its input files, most of which are taken as they are read.

    Raises:
        ResourceError: there is no room for them.
    """
    sync = how.sync
    room(folder, sum(job.bytes for job in jobs))
    work, finished = _Files(checkpoint, jobs, how.device), dict[str, Future[Shard]]()
    with local.background() as background:  # where the disk is waited for
        try:
            work.open(folder)
            pending: deque[Future[Any]] = deque()
            unsynced: Counter[str] = Counter()
            items = work.items()
            doing = local.run(work.do, items, needs_torch=work.needs_torch, lane=work.lane, to_the_bit=True, how=how)
            with closing(doing) as results:
                for item, found in results:
                    name = work.owner(item)
                    unsynced[name] += checkpoint.bytes(item) if isinstance(item, str) else 0
                    if work.completes(item, found):
                        finished[name] = background.submit(work.finish, name, records, sync)
                        pending.append(finished[name])
                    elif sync and unsynced[name] > SYNC_BYTES:
                        pending.append(background.submit(work.writers[name].sync))
                        unsynced[name] = 0
                    while pending and pending[0].done():  # what failed in the background ends the work at once
                        pending.popleft().result()
            for name, future in finished.items():
                if not future.done():  # nothing else is left to do while the disk is waited for
                    work.writers[name].blake3()
            for future in pending:
                future.result()
        finally:
            if not local.STOPPING.is_set():
                background.shutdown(wait=True, cancel_futures=True)  # nothing may write to what is closed now
                work.close()
    return {name: future.result() for name, future in finished.items()}


class _Files:
    """Files on their way: what each waits for, and what is known of the tensors that are there.

    Attributes:
        source: tensor → the file that holds it, or its first part.
    """

    def __init__(self, checkpoint: Checkpoint, jobs: Sequence[Job], device: str) -> None:
        self.checkpoint, self.jobs, self.device = checkpoint, jobs, device
        self.writers: dict[str, SafetensorsWriter | GgufCopy] = {}
        self._tensors = {tensor: job.file for job in jobs for tensor in job.tensors}
        self._inputs = {file.path: job.file for job in jobs for file in job.inputs}
        self.source = {tensor: next(iter(checkpoint.stored[tensor].parts.values())).file for tensor in self._tensors}
        self._computed = {tensor for tensor in self._tensors if checkpoint.computed(tensor)}
        self._torch = checkpoint.needs_torch
        self._waiting = {job.file: len(job.tensors) + len(job.inputs) for job in jobs}
        self._facts: dict[str, Found] = {job.file: ({}, {}) for job in jobs}
        self._hashes: dict[Path, Mapping[str, str]] = {}

    def open(self, folder: Path) -> None:
        """Create them; what is read from now on of their input files is hashed."""
        for file in self.source.values():
            if file.path in self._inputs:
                file.identity.hash_as_read()
        self.writers |= ((job.file, _writer(self.checkpoint, folder, job)) for job in self.jobs)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()

    def items(self) -> list[Item]:
        """The tensors in the order of their files, and the files that hold them, to be hashed as they are read; first
        all other files.
        """
        along = {file.path: file for file in self.source.values() if file.path in self._inputs}
        others = [file for job in self.jobs for file in job.inputs if file.path not in along]
        return [*others, *self._tensors, *along.values()]

    def owner(self, item: Item) -> str:
        """The file that waits for it."""
        return self._tensors[item] if isinstance(item, str) else self._inputs[item.path]

    def needs_torch(self, item: Item) -> bool:
        """Whether computing it does."""
        return self._torch and item in self._computed

    def lane(self, item: Item) -> Path:
        """The file that it reads."""
        return (self.source[item] if isinstance(item, str) else item).path

    def do(self, item: Item) -> tuple[Item, Found | Mapping[str, str]]:
        if not isinstance(item, str):
            return item, item.identity.hashes()
        writer = self.writers[self._tensors[item]]
        if item in self._computed:
            with at(path=self.source[item].path, tensor=item):
                return item, _compute(self.checkpoint, item, writer, self.device)
        put = _Put(writer, self.checkpoint.parts(item))
        for role, part in self.checkpoint.stored[item].parts.items():
            put.copy(role, part)
        return item, ({}, {})

    def completes(self, item: Item, found: Found | Mapping[str, str]) -> bool:
        """Note that a tensor is written, or a file hashed; whether that was the last thing that its file waited for."""
        name = self.owner(item)
        if isinstance(found, tuple):
            for known, new in zip(self._facts[name], found, strict=True):
                known |= new
        elif not isinstance(item, str):
            self._hashes[item.path] = found
        self._waiting[name] -= 1
        return self._waiting[name] == 0

    def finish(self, name: str, records: Records, sync: bool) -> Shard:
        writer, (job,) = self.writers[name], [job for job in self.jobs if job.file == name]
        if sync:
            writer.sync()
        writer.check()
        inputs = [self._hashes[file.path] for file in job.inputs]
        shard = Shard(writer.size, writer.blake3(), *self._facts[name], inputs)
        records.add({"file": name, **shard.as_json()})
        return shard


class _Put:
    """Writes the parts of one tensor, each from its start on, a piece at a time."""

    def __init__(self, writer: SafetensorsWriter | GgufCopy, parts: Mapping[str, tuple[str, Spec]]) -> None:
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


def _compute(checkpoint: Checkpoint, tensor: str, writer: SafetensorsWriter | GgufCopy, device: str) -> Found:
    """Write a tensor; what survived of the updates in it, and how far its codes are from it where there are none."""
    from adapterops.updates.distance import distances
    from adapterops.updates.survival import Survival, by_inputs, quantized, rounded, survival

    stored, dtype, encoder = checkpoint.stored[tensor], checkpoint.layout[tensor].dtype, checkpoint.encoder(tensor)
    rows, put, memory = checkpoint.rows(tensor), _Put(writer, checkpoint.parts(tensor)), Scratch()
    survived: dict[str, Survival] = {}
    plain: dict[str, Survival] = {}
    for begin, end in checkpoint.blocks(tensor):
        block = rows(begin, end)
        if begin == 0 and tensor in checkpoint.views:  # a sample of the rows, for the codes are not read otherwise
            seen = distances(block, stored.rows(begin, end, Scratch()))
            survived |= {module: Survival(original_error=one.inside, sampled=one.delta) for module, one in seen.items()}
        if encoder is None:
            stored_rows = rounded(block, dtype, memory, checkpoint.draws(tensor, begin, end))
            put("", stored_rows.data.cast("B") if stored_rows.size else b"")
            found = survival(block, block.values, dtype)
        else:
            values, kept, changed_codes = _encode(checkpoint, tensor, encoder, block, begin, device, put, memory)
            if not block.changes:
                plain[tensor] = plain.get(tensor, Survival()) + quantized(values, kept)
            if gram := checkpoint.gram(tensor):
                in_columns = isinstance(checkpoint.schemes[tensor], Transposed)
                survived |= by_inputs(block, kept, gram(), in_columns)
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
    from adapterops.arrays.transfer import transfer
    from adapterops.quant.registry import kept
    from adapterops.quant.scheme import torch_dtype
    from adapterops.quant.used import decoded_to

    scheme, before, spec = checkpoint.schemes[tensor], checkpoint.stored[tensor], checkpoint.layout[tensor]
    values, way = narrowed(block.values, "F32", memory), transfer(device)
    with way.working():
        pieces, decoded = encoder.rows(way.there(values), begin)
        stored = decoded()
        if block.changes:
            stored = stored.to(torch_dtype(decoded_to(scheme))).float()
        pieces = way.back({**pieces, USED: stored})
    stored = pieces.pop(USED)
    for role, piece in encoder.written(pieces).items():
        put(role, as_bytes(piece))
    same = block.changes and scheme == before.scheme
    return (
        values,
        stored.numpy(),
        kept(scheme).changed(spec.shape, before.read, begin, pieces).numpy() if same else None,
    )


def _writer(checkpoint: Checkpoint, folder: Path, job: Job) -> SafetensorsWriter | GgufCopy:
    if checkpoint.gguf:
        file = like(checkpoint, job.file)
        there = {span.stored for span in file.spans.values()}
        return GgufCopy(
            folder / job.file, file, {name: kind for name, kind in checkpoint.types.items() if name in there}
        )
    tensors = list(job.tensors)
    metadata = next(iter(checkpoint.stored[tensors[0]].parts.values())).file.metadata or {}
    metadata = without(metadata, frozenset(checkpoint.schemes)) or {"format": "pt"}
    parts = [part for tensor in tensors for part in checkpoint.parts(tensor).values()]
    if not (inner := (folder / job.file).parent).is_dir():  # a component's
        inner.mkdir()
    if any(
        tensor in checkpoint.schemes for tensor in tensors
    ):  # readers map files: wide numbers must begin at multiples of their size
        parts.sort(key=lambda part: -BITS[part[1].dtype])
    return SafetensorsWriter(folder / job.file, dict(parts), metadata)
