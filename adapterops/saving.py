"""How a checkpoint becomes files, tensor by tensor: whole or absent, in memory for a few tiles, and resumable."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops import engine
from adapterops.checkpoint import Checkpoint, blocks_of
from adapterops.errors import ResourceError, VerificationError, at
from adapterops.formats.model_files import INDEX
from adapterops.history import Source, Step, sources
from adapterops.manifest import described, write_manifest
from adapterops.storage.checksums import crc32
from adapterops.storage.staging import Journal, check_output, staged
from adapterops.storage.strict import read_all
from adapterops.storage.writer import SafetensorsWriter, as_bytes

if TYPE_CHECKING:
    from adapterops.checkpoint import Facts
    from adapterops.updates.application import Survival

SYNC_BYTES = 1 << 28
"""Written bytes after which a file is synced, so that the disk works while the processors do."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """What `save_checkpoint` did: what became of each module's update, and how large the files are."""

    path: Path
    modules: Facts
    tensors: int
    bytes: int

    @property
    def total(self) -> Survival:
        """Over all modules."""
        from adapterops.updates.application import Survival

        return sum(self.modules.values(), Survival())


def save_checkpoint(
    checkpoint: Checkpoint,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    sync: bool = True,
    force: bool = False,
    command: Sequence[str] = (),
    workers: int | None = None,
    progress: engine.Progress | None = None,
) -> SavedCheckpoint:
    """Write a checkpoint as a folder that transformers loads. It appears whole, or not at all.

    Tensors that did not change are copied byte for byte. The bytes depend on the inputs and the operation alone.

    Args:
        resume: go on where an interrupted run of the same work stopped; its finished files are verified first.
        sync: wait until everything is on the disk. Without, a power failure can leave a damaged output.
        force: replace an output of adapterops that is there.
        command: the command line to note in the manifest.

    Raises:
        OutputExistsError, OptionError, ResourceError: as `staged` and `check_output` do.
        InputError: an input changed, or has numbers that are NaN or infinite.
        IncompatibleError: a number does not fit its dtype.
        VerificationError: an update was to be applied, and no entry of any tensor changed.

    Cost: memory for one tile per worker, and whatever the edits hold.
    """
    out = Path(out)
    inputs = sources(checkpoint.history)
    check_output(out, [path for source in inputs for path in source.paths], force)
    plan = _plan(checkpoint, inputs)
    with staged(out, force=force, plan=plan, resume=resume, sync=sync) as folder:
        journal = Journal(folder, plan, sync)
        with engine.background() as hashing, engine.background() as copying:
            hashes = hashing.submit(lambda: [source.as_json() for source in inputs])
            files = _write_shards(checkpoint, folder, journal, copying, sync, workers, progress)
            for name, data in small_files(checkpoint):
                _write_small(folder / name, data, sync)
            modules = {module: facts for file in files.values() for module, facts in file.modules.items()}
            _check_changed(modules, out)
            _check_inputs(inputs)
            outputs = {name: {"size": file.size, "crc32": file.crc32} for name, file in files.items()}
            outputs |= {name: described(folder / name) for name, _ in small_files(checkpoint)}
            write_manifest(folder, checkpoint.history, hashes.result(), command, _kept(modules), outputs, sync)
    return SavedCheckpoint(out, dict(sorted(modules.items())), len(checkpoint.layout), sum(file.size for file in files.values()))


def _plan(checkpoint: Checkpoint, inputs: Sequence[Source]) -> str:
    """What must be the same for a run to go on where another stopped: inputs, operation, layout."""
    identities = [
        [
            source.alpha,
            [[file.path.name, *file.origin] for file in source.tensors],
            [hashlib.sha256(read_all(path)).hexdigest() for path in source.others],
        ]
        for source in inputs
    ]
    operation = checkpoint.history.as_json(list(inputs)) if isinstance(checkpoint.history, Step) else {}
    text = json.dumps([identities, operation, checkpoint.layout, {name: list(names) for name, names in checkpoint.shards.items()}])
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class _File:
    """A finished file."""

    size: int
    crc32: str
    modules: dict[str, Survival]


def _write_shards(
    checkpoint: Checkpoint,
    folder: Path,
    journal: Journal,
    background: ThreadPoolExecutor,
    sync: bool,
    workers: int | None,
    progress: engine.Progress | None,
) -> dict[str, _File]:
    """All files of tensors. Unchanged tensors are copied in the background, which needs no torch, while the others are computed."""
    done = _finished(folder, journal, set(checkpoint.shards), sync)
    open_shards = {name: names for name, names in checkpoint.shards.items() if name not in done}
    _check_space(folder, sum(checkpoint.layout[tensor].bytes for names in open_shards.values() for tensor in names))
    writers: dict[str, SafetensorsWriter] = {}
    owner = {tensor: name for name, names in open_shards.items() for tensor in names}
    edited = [tensor for tensor in owner if tensor in checkpoint.edits]
    waiting = {name: sum(tensor in checkpoint.edits for tensor in names) for name, names in open_shards.items()}
    facts: dict[str, dict[str, Survival]] = {name: {} for name in open_shards}
    finished: dict[str, Future[_File]] = {}

    def copy(tensor: str) -> None:
        offset = 0
        for chunk in checkpoint.stored[tensor].chunks(tensor):
            writers[owner[tensor]].write(tensor, chunk, offset)
            offset += len(chunk)

    def compute(tensor: str) -> tuple[str, dict[str, Survival]]:
        with at(tensor=tensor):
            return tensor, _compute(checkpoint, tensor, writers[owner[tensor]])

    def finish(name: str) -> _File:
        if sync:
            writers[name].sync()
        file = _File(writers[name].size, writers[name].crc32(), facts[name])
        modules = {module: list(vars(each).values()) for module, each in file.modules.items()}
        journal.add({"file": name, "size": file.size, "crc32": file.crc32, "modules": modules})
        return file

    try:
        writers |= ((name, _writer(checkpoint, folder, name)) for name in open_shards)
        pending: deque[Future[Any]] = deque(background.submit(copy, tensor) for tensor in owner if tensor not in checkpoint.edits)
        finished |= {name: background.submit(finish, name) for name, count in waiting.items() if count == 0}
        unsynced = 0
        for tensor, found in engine.run(compute, edited, workers=workers, progress=progress):
            name = owner[tensor]
            facts[name] |= found
            waiting[name] -= 1
            unsynced += checkpoint.layout[tensor].bytes
            if waiting[name] == 0:
                finished[name] = background.submit(finish, name)
                pending.append(finished[name])
            elif sync and unsynced > SYNC_BYTES:
                pending.append(background.submit(writers[name].sync))
                unsynced = 0
            while pending and pending[0].done():  # what failed in the background ends the work at once
                pending.popleft().result()
        for future in pending:
            future.result()
        done |= {name: future.result() for name, future in finished.items()}
    finally:
        if not engine.STOPPING.is_set():
            background.shutdown(wait=True, cancel_futures=True)  # nothing may write to what is closed now
            for writer in writers.values():
                writer.close()
    return {name: done[name] for name in checkpoint.shards}


def _compute(checkpoint: Checkpoint, tensor: str, writer: SafetensorsWriter) -> dict[str, Survival]:
    from adapterops.updates.application import Survival

    rows, offset = checkpoint.rows(tensor), 0
    survived: dict[str, Survival] = {}
    for begin, end in blocks_of(checkpoint.layout[tensor]):
        block, facts = rows(begin, end)
        data = as_bytes(block)
        writer.write(tensor, data, offset)
        offset += len(data)
        for module, each in facts.items():
            survived[module] = survived.get(module, Survival()) + each
    return survived


def _writer(checkpoint: Checkpoint, folder: Path, name: str) -> SafetensorsWriter:
    tensors = checkpoint.shards[name]
    metadata = checkpoint.stored[tensors[0]].metadata or {"format": "pt"}
    return SafetensorsWriter(folder / name, {tensor: checkpoint.layout[tensor] for tensor in tensors}, metadata)


def _finished(folder: Path, journal: Journal, names: set[str], sync: bool) -> dict[str, _File]:
    """The files that an earlier run finished and that are still what they were; anything else is removed."""
    done: dict[str, _File] = {}
    for entry in journal.entries():
        with suppress(KeyError, TypeError, AttributeError, OSError):  # an entry that was damaged is none
            name, sum_, modules = entry["file"], entry["crc32"], _survivals(entry["modules"])
            if name in names:
                with open(folder / name, "rb") as file:
                    if crc32(file.fileno()) == sum_:
                        done[name] = _File(os.fstat(file.fileno()).st_size, sum_, modules)
                        if sync:  # the run that wrote it may not have waited for the disk
                            os.fsync(file.fileno())
    for path in folder.iterdir():
        if path.name not in done and path != journal.path:
            path.unlink()
    return done


def _survivals(values: Mapping[str, Sequence[Any]]) -> dict[str, Survival]:
    from adapterops.updates.application import Survival

    return {module: Survival(*each) for module, each in values.items()}


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(f"needs {needed} bytes, {free} bytes are free", hint="free some space, or write to another disk with -o")


def _check_changed(modules: Facts, out: Path) -> None:
    if modules and not any(each.changed for each in modules.values()):
        zero = all(each.delta == 0 for each in modules.values())
        raise VerificationError(
            "the result would be the base, byte for byte: " + ("every update is zero" if zero else "rounding erased every update"),
            path=out,
            hint="B was never trained, or the weights are 0" if zero else "store it wider: --dtype float32",
            code="E-UNCHANGED",
        )


def _check_inputs(inputs: Sequence[Source]) -> None:
    for source in inputs:
        for file in source.tensors:
            file.check_unchanged()


def small_files(checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
    """Name and content of everything but the tensors and the manifest."""
    others = checkpoint.files.others if checkpoint.files else ()
    for path in others:
        if path.name != "config.json":
            yield path.name, read_all(path)
    if checkpoint.config is not None:
        unchanged = checkpoint.files is not None and checkpoint.config == checkpoint.files.config
        original = checkpoint.files.path / "config.json" if checkpoint.files else None
        text = json.dumps(checkpoint.config, indent=2, ensure_ascii=False) + "\n"
        yield "config.json", read_all(original) if unchanged and original and original.is_file() else text.encode()
    if len(checkpoint.shards) > 1:
        where = {tensor: name for name, tensors in checkpoint.shards.items() for tensor in tensors}
        total = sum(spec.bytes for spec in checkpoint.layout.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        yield INDEX, (json.dumps(index, indent=2) + "\n").encode()


def _write_small(path: Path, data: bytes, sync: bool) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _kept(modules: Facts) -> dict[str, Any]:
    """What the manifest says of the updates: how large they are beside the weights, and how much rounding left of them."""
    if not modules:
        return {}
    from adapterops.updates.application import Survival

    def told(each: Survival) -> dict[str, Any]:
        return {"relative": each.relative if each.base else None, "gain": each.gain, "changed": each.changed, "entries": each.entries}

    total = sum(modules.values(), Survival())
    return {"survival": told(total), "modules": {module: told(each) for module, each in sorted(modules.items())}}
