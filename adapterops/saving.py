"""How a checkpoint becomes files, tensor by tensor: whole or absent, in memory for a few tiles, and resumable."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from adapterops import engine
from adapterops.checkpoint import Checkpoint
from adapterops.dtypes import BITS, FLOATS
from adapterops.errors import ResourceError, VerificationError, at
from adapterops.formats.model_files import INDEX
from adapterops.history import Source, Step, sources
from adapterops.manifest import described, write_bytes, write_manifest
from adapterops.memory import Scratch
from adapterops.storage.checksums import crc32
from adapterops.storage.safetensors import Spec, Stored, TensorFile, as_bytes
from adapterops.storage.staging import Journal, check_output, staged
from adapterops.storage.strict import read_all
from adapterops.storage.writer import SafetensorsWriter

if TYPE_CHECKING:
    from adapterops.checkpoint import Facts
    from adapterops.floats import Array
    from adapterops.quant.scheme import Encoder
    from adapterops.updates.application import Block, Survival

LEAST_GAIN = 0.9
"""What has to survive of an update in codes, ⟨W' - W, ΔW⟩ / ‖ΔW‖², unless told otherwise."""

SIGMAS = 4
"""Standard deviations by which a gain may be low by chance."""

SYNC_BYTES = 1 << 28
"""Written bytes after which a file is synced, so that the disk works while the processors do."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """What `save_checkpoint` did: what became of each module's update, and how large the files are.

    `coded` are the tensors that were quantized without an update in them.
    """

    path: Path
    modules: Facts
    coded: Facts
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
    accept_loss: bool = False,
    device: str = "cpu",
    command: Sequence[str] = (),
    extra: Mapping[str, bytes] | None = None,
    workers: int | None = None,
    progress: engine.Progress | None = None,
) -> SavedCheckpoint:
    """Write a checkpoint as a folder that transformers loads. It appears whole, or not at all.

    Tensors that did not change are copied byte for byte. The bytes depend on the inputs and the operation alone.

    Args:
        resume: go on where an interrupted run of the same work stopped; its finished files are verified first.
        sync: wait until everything is on the disk. Without, a power failure can leave a damaged output.
        force: replace an output of adapterops that is there.
        device: where weights are quantized: `cpu` or `cuda`.
        accept_loss: write even if less than `LEAST_GAIN` of an update survives in codes.
        command: the command line to note in the manifest.
        extra: other files to write, name → content, asked for at the end.

    Raises:
        OutputExistsError, OptionError, ResourceError: as `staged` and `check_output` do.
        InputError: an input changed, or has numbers that are NaN or infinite.
        IncompatibleError: a number does not fit its dtype.
        VerificationError: an update was to be applied, and no entry of any tensor changed, or too little of it survived.
        OptionError: as `Checkpoint.check_rounding` does.

    Cost: memory for one tile per worker, and whatever the edits hold.
    """
    out = Path(out)
    checkpoint.check_rounding()
    check_device(device)
    inputs = sources(checkpoint.history)
    check_output(out, [path for source in inputs for path in source.paths], force)
    for source in inputs:
        source.fetch()
    plan = _plan(checkpoint, inputs)
    with staged(out, force=force, plan=plan, resume=resume, sync=sync) as folder:
        journal = Journal(folder, plan, sync)
        with engine.background() as background:
            files = _write_shards(checkpoint, inputs, folder, journal, background, sync, workers, device, progress)
            for name, data in small_files(checkpoint):
                write_bytes(folder / name, data, sync)
            modules = dict(sorted(each for file in files.values() for each in file.modules.items()))  # sums depend on their order
            coded = dict(sorted(each for file in files.values() for each in file.coded.items()))
            _check_changed(modules, out)
            if not accept_loss:
                _check_survival(modules, out)
            _check_inputs(inputs)
            outputs = {name: {"size": file.size, "crc32": file.crc32} for name, file in files.items()}
            outputs |= {name: described(folder / name) for name, _ in small_files(checkpoint)}
            for name, data in (extra or {}).items():
                write_bytes(folder / name, data, sync)
                outputs[name] = described(folder / name)
            kept = {**_kept(modules), **_quantized(coded)}
            read = [source.as_json() for source in inputs]
            write_manifest(folder, checkpoint.history, read, command, kept, outputs, torch=not checkpoint.light, sync=sync)
    size = sum(file.size for file in files.values())
    return SavedCheckpoint(out, modules, coded, len(checkpoint.layout), size)


def check_device(device: str) -> None:
    """Raise ResourceError for a device that is not there."""
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise ResourceError(f"torch {torch.__version__} finds no GPU", hint="leave --device out, or install a torch for your GPU")


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
    how = [checkpoint.layout, {name: list(names) for name, names in checkpoint.shards.items()}, checkpoint.rounding, checkpoint.seed]
    schemes = {name: repr(scheme) for name, scheme in checkpoint.schemes.items()}
    text = json.dumps([identities, operation, how, schemes])
    return hashlib.sha256(text.encode()).hexdigest()


_Facts: TypeAlias = "tuple[dict[str, Survival], dict[str, Survival]]"


@dataclass
class _File:
    """A finished file."""

    size: int
    crc32: str
    modules: dict[str, Survival]
    coded: dict[str, Survival]


def _write_shards(
    checkpoint: Checkpoint,
    inputs: Sequence[Source],
    folder: Path,
    journal: Journal,
    background: ThreadPoolExecutor,
    sync: bool,
    workers: int | None,
    device: str,
    progress: engine.Progress | None,
) -> dict[str, _File]:
    """All files of tensors. The files they lie in are hashed as they are read; to wait for the disk is for the background."""
    done = _finished(folder, journal, set(checkpoint.shards), sync)
    open_shards = {name: names for name, names in checkpoint.shards.items() if name not in done}
    _check_space(folder, sum(checkpoint.bytes(tensor) for names in open_shards.values() for tensor in names))
    writers: dict[str, SafetensorsWriter] = {}
    owner = {tensor: name for name, names in open_shards.items() for tensor in names}
    computed = {tensor for tensor in owner if checkpoint.computed(tensor)}
    waiting = {name: len(names) for name, names in open_shards.items()}
    facts: dict[str, _Facts] = {name: ({}, {}) for name in open_shards}
    finished: dict[str, Future[_File]] = {}
    light = checkpoint.light
    lies = {tensor: next(iter(checkpoint.stored[tensor].parts.values())).file for tensor in owner}
    along = {file.path: file for file in lies.values()}
    others = [file for source in inputs for file in source.tensors if file.path not in along]
    jobs: list[str | TensorFile] = [*others, *owner, *along.values()]
    for file in along.values():
        file.hash_as_read()

    def do(job: str | TensorFile) -> tuple[str, _Facts] | None:
        if not isinstance(job, str):
            job.sha256()
            return None
        if job in computed:
            with at(tensor=job):
                return job, _compute(checkpoint, job, writers[owner[job]], device)
        put = _Put(writers[owner[job]], checkpoint.parts(job))
        for role, part in checkpoint.stored[job].parts.items():
            put.copy(role, part)
        return job, ({}, {})

    def is_light(job: str | TensorFile) -> bool:
        return light or job not in computed

    def lane(job: str | TensorFile) -> Path:
        return (lies[job] if isinstance(job, str) else job).path

    def finish(name: str) -> _File:
        if sync:
            writers[name].sync()
        file = _File(writers[name].size, writers[name].crc32(), *facts[name])
        modules, coded = ({name: list(vars(each).values()) for name, each in found.items()} for found in (file.modules, file.coded))
        journal.add({"file": name, "size": file.size, "crc32": file.crc32, "modules": modules, "coded": coded})
        return file

    try:
        writers |= ((name, _writer(checkpoint, folder, name)) for name in open_shards)
        pending: deque[Future[Any]] = deque()
        unsynced = 0
        with closing(engine.run(do, jobs, light=is_light, lane=lane, workers=workers, progress=progress)) as results:
            for tensor, found in filter(None, results):
                name = owner[tensor]
                for known, new in zip(facts[name], found, strict=True):
                    known |= new
                waiting[name] -= 1
                unsynced += checkpoint.bytes(tensor)
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
        """All of a part as it lies in another file."""
        for chunk in part.file.chunks(part.name):
            self(role, chunk)


def _compute(checkpoint: Checkpoint, tensor: str, writer: SafetensorsWriter, device: str) -> _Facts:
    """Write a tensor; what survived of the updates in it, and how far its codes are from it where there are none."""
    from adapterops.updates.application import Survival, coded, rounded, survival

    lies, dtype, encoder = checkpoint.stored[tensor], checkpoint.layout[tensor].dtype, checkpoint.encoder(tensor)
    rows, put, memory = checkpoint.rows(tensor), _Put(writer, checkpoint.parts(tensor)), Scratch()
    survived: dict[str, Survival] = {}
    plain: dict[str, Survival] = {}
    for begin, end in checkpoint.blocks(tensor):
        block = rows(begin, end)
        if encoder is None:
            put("", rounded(block, dtype, memory).data.cast("B"))
            found = survival(block, block.values, dtype)
        else:
            values, kept, moved = _encode(checkpoint, tensor, encoder, block, begin, device, put, memory)
            if not block.changes:
                plain[tensor] = plain.get(tensor, Survival()) + coded(values, kept)
            found = survival(block, kept, "F32", coded=True, moved=moved)
        for module, each in found.items():
            survived[module] = survived.get(module, Survival()) + each
    for role, piece in encoder.rest().items() if encoder else ():
        put(role, as_bytes(piece))
    for role in put.missing:  # of a grid that stays as it is
        put.copy(role, lies.parts[role])
    return survived, plain


def _encode(
    checkpoint: Checkpoint, tensor: str, encoder: Encoder, block: Block, begin: int, device: str, put: _Put, memory: Scratch
) -> tuple[Array, Array, Array | None]:
    """Write the codes of some rows: the rows, what the codes stand for when they are used, and which codes are not the ones before."""
    import torch

    from adapterops.floats import narrowed
    from adapterops.quant.transfer import transfer

    scheme, lies, spec = checkpoint.schemes[tensor], checkpoint.stored[tensor], checkpoint.layout[tensor]
    values, way = narrowed(block.values, "F32", memory), transfer(device)
    with way.working():
        pieces, decoded = encoder.rows(way.there(values), begin)
        stored = decoded()
        if block.changes:
            stored = stored.to(getattr(torch, FLOATS[spec.dtype])).float()
        pieces = way.back({**pieces, "": stored})
    stored = pieces.pop("")
    for role, piece in pieces.items():
        put(role, as_bytes(piece))
    same = block.changes and scheme == lies.scheme
    return values, stored.numpy(), scheme.moved(spec.shape, lies.read, begin, pieces).numpy() if same else None


def _writer(checkpoint: Checkpoint, folder: Path, name: str) -> SafetensorsWriter:
    tensors = checkpoint.shards[name]
    metadata = next(iter(checkpoint.stored[tensors[0]].parts.values())).file.metadata or {"format": "pt"}
    parts = [part for tensor in tensors for part in checkpoint.parts(tensor).values()]
    if any(tensor in checkpoint.schemes for tensor in tensors):  # readers map files: wide numbers must lie at multiples of their size
        parts.sort(key=lambda part: -BITS[part[1].dtype])
    return SafetensorsWriter(folder / name, dict(parts), metadata)


def _finished(folder: Path, journal: Journal, names: set[str], sync: bool) -> dict[str, _File]:
    """The files that an earlier run finished and that are still what they were; anything else is removed."""
    done: dict[str, _File] = {}
    for entry in journal.entries():
        with suppress(KeyError, TypeError, AttributeError, OSError):  # an entry that was damaged is none
            name, sum_, modules, coded = entry["file"], entry["crc32"], _survivals(entry["modules"]), _survivals(entry["coded"])
            if name in names:
                with open(folder / name, "rb") as file:
                    if crc32(file.fileno()) == sum_:
                        done[name] = _File(os.fstat(file.fileno()).st_size, sum_, modules, coded)
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
    if modules and not any(each.changed or (each.codes and each.dot) for each in modules.values()):  # the same codes, other scales
        zero = all(each.delta == 0 for each in modules.values())
        raise VerificationError(
            "the result would be the base, byte for byte: " + ("every update is zero" if zero else "rounding erased every update"),
            path=out,
            hint="B was never trained, or the weights are 0" if zero else "store it wider: --dtype float32",
            code="E-UNCHANGED",
        )


def _check_survival(modules: Facts, out: Path) -> None:
    """Raise VerificationError where codes keep too little of an update, and more than chance would explain."""
    lost = {module: each for module, each in modules.items() if each.codes and each.gain + SIGMAS * each.uncertainty < LEAST_GAIN}
    if lost:
        worst = min(lost, key=lambda module: lost[module].gain)
        total = sum(modules.values(), start=type(lost[worst])())
        raise VerificationError(
            f"{lost[worst].gain:.1%} of the update survives in {worst}, {total.gain:.1%} in all {len(modules)} modules; less than "
            f"{LEAST_GAIN:.0%} in {len(lost)} of them",
            path=out,
            hint="round by chance with --rounding stochastic, write 16 bits with --dtype bfloat16, or take the loss with --accept-loss",
            code="E-LOST",
            details={"total": total.as_json(), "modules": {module: each.as_json() for module, each in modules.items()}},
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
        owner = {tensor: name for name, tensors in checkpoint.shards.items() for tensor in tensors}
        where = {part: name for tensor, name in owner.items() for part, _ in checkpoint.parts(tensor).values()}
        total = sum(checkpoint.bytes(tensor) for tensor in owner)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        yield INDEX, (json.dumps(index, indent=2) + "\n").encode()


def _kept(modules: Facts) -> dict[str, Any]:
    """What the manifest says of the updates: how large they are beside the weights, and how much rounding left of them."""
    if not modules:
        return {}
    from adapterops.updates.application import Survival

    total = sum(modules.values(), Survival())
    return {"survival": total.as_json(), "modules": {module: each.as_json() for module, each in modules.items()}}


def _quantized(coded: Facts) -> dict[str, Any]:
    """What the manifest says of weights that were quantized without an update: how far their codes are from them."""
    if not coded:
        return {}
    from adapterops.updates.application import Survival

    total = sum(coded.values(), Survival())
    return {"quantized": {"noise": total.noise, "tensors": {tensor: each.noise for tensor, each in coded.items()}}}
