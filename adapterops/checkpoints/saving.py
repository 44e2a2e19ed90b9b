"""How a checkpoint becomes files, tensor by tensor: whole or absent, in memory for a few tiles, and resumable."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops.checkpoints.checkpoint import KEPT, Checkpoint
from adapterops.checkpoints.finished import Shard, read
from adapterops.checkpoints.gguf import called, check_fits, is_file
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.rounding import check_rounding, check_views
from adapterops.checkpoints.shards import write_shards
from adapterops.engine.execution import DEFAULT, Execution, check_device
from adapterops.engine.plan import Job, Plan, dealt, hashed, missing, rounding_device, statistics
from adapterops.engine.records import note_hashes, noted, whole
from adapterops.errors import VerificationError, check_opened, count
from adapterops.formats.models.left_behind import say_left_behind
from adapterops.formats.models.unstated import say_unstated
from adapterops.formats.models.weight_files import index_name, is_part
from adapterops.provenance.history import sources
from adapterops.provenance.manifest import UNKNOWN, Origin, check_distinct, described, write_file, write_manifest
from adapterops.provenance.reader import read_manifest
from adapterops.quant.bitsandbytes import ENCODED, check_installed
from adapterops.quant.scheme import STOCHASTIC
from adapterops.storage.checksums import digest
from adapterops.storage.journal import Journal
from adapterops.storage.outputs import check_output
from adapterops.storage.staging import staged
from adapterops.storage.strict import json_text
from adapterops.storage.writer import read_back

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Facts
    from adapterops.updates.survival import Survival

LEAST_GAIN = 0.9
"""What has to survive of an update in codes, ⟨W' - W, ΔW⟩ / ‖ΔW‖², unless the loss is accepted."""

LEAST_FOR_INPUTS = 0.5
"""The same of what it does to the inputs that codes were chosen for: they make up for what one module loses in others."""

SIGMAS = 4
"""Standard deviations by which a gain may be low where nothing is lost."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """What `save_checkpoint` did: what became of each module's update, and how large the files are.

    `quantized` are the tensors that were quantized without an update in them.
    """

    path: Path
    modules: Facts
    quantized: Facts
    tensors: int
    bytes: int

    @property
    def total(self) -> Survival:
        """Over all modules."""
        from adapterops.updates.survival import Survival

        return sum(self.modules.values(), Survival())


def plan_checkpoint(checkpoint: Checkpoint, how: Execution = DEFAULT) -> Plan:
    """What `save_checkpoint` will do.

    Raises:
        OptionError: as `check_rounding` does.
        ResourceError: the device is not there, or `how.memory` is too little.
        NotFoundError: what encodes a weight on a GPU is not installed.
    """
    check_rounding(checkpoint)
    check_fits(checkpoint)
    if checkpoint.files:
        say_left_behind(checkpoint.files.path, checkpoint.files.left)
        say_unstated(checkpoint.files.path, checkpoint.layout, checkpoint.config)
    check_device(how)
    if how.device != DEFAULT.device and any(map(partial(_by_kernel, checkpoint), checkpoint.changed)):
        check_installed()
    workers = how.within(checkpoint.working_memory).threads
    shards = {name: list(tensors) for name, tensors in checkpoint.shards.items()}
    inputs = dealt(checkpoint.history, shards, _readers(checkpoint, shards))
    schemes = {name: repr(scheme) for name, scheme in checkpoint.schemes.items()}
    return Plan(
        tuple(
            Job(name, {tensor: checkpoint.bytes(tensor) for tensor in tensors}, inputs[name])
            for name, tensors in shards.items()
        ),
        checkpoint.working_memory(workers),
        missing(checkpoint.history),
        statistics(checkpoint.history),
        hashed(checkpoint.history, [checkpoint.layout, shards, checkpoint.rounding, checkpoint.seed], schemes),
    )


def _by_kernel(checkpoint: Checkpoint, name: str) -> bool:
    """Whether a kernel of another package finds the codes of a weight on a GPU."""
    kept, scheme = checkpoint.rounding in KEPT and checkpoint.on_grid(name), checkpoint.schemes.get(name)
    return not kept and scheme is not None and scheme.name in ENCODED


def _readers(checkpoint: Checkpoint, shards: Mapping[str, Sequence[str]]) -> dict[Path, dict[str, int]]:
    """Input file → the shards that read it, with how many bytes."""
    found: dict[Path, dict[str, int]] = {}
    for shard, tensors in shards.items():
        for tensor in tensors:
            readers = found.setdefault(next(iter(checkpoint.stored[tensor].parts.values())).file.path, {})
            readers[shard] = readers.get(shard, 0) + checkpoint.bytes(tensor)
    return found


def save_checkpoint(
    checkpoint: Checkpoint,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    force: bool = False,
    accept_loss: bool = False,
    origin: Origin = UNKNOWN,
    how: Execution = DEFAULT,
) -> SavedCheckpoint:
    """Write a checkpoint as a folder that transformers loads; a GGUF model as a folder that has its files, or, where `out`
    ends in .gguf, as that file, with its manifest next to it. It appears whole, or not at all.

    Tensors that did not change are copied byte for byte. The bytes depend on the inputs and the operation alone.

    Args:
        resume: go on where an interrupted run of the same work stopped; its finished files are verified first.
        force: replace an output of adapterops that is there.
        accept_loss: write even if less than `LEAST_GAIN` of an update survives in codes.
        origin: what the manifest says of how it was made.

    Raises:
        OutputExistsError, OptionError, ResourceError: as `staged`, `check_output` and `plan_checkpoint` do.
        InputError: an input changed, or has numbers that are NaN or infinite.
        IncompatibleError: a number does not fit its dtype.
        VerificationError: an update was to be applied, and no entry of any tensor changed, or too little of it
            survived.

    Cost: memory for one tile per worker, and whatever the edits hold.
    """
    check_opened(checkpoint, Checkpoint, "open_checkpoint")
    out, inputs, sync = Path(out), sources(checkpoint.history), how.sync
    check_rounding(checkpoint)
    checkpoint = called(checkpoint, out)
    check_output(out, [path for source in inputs for path in source.paths], force)
    for source in inputs:
        source.fetch()
    plan, how = plan_checkpoint(checkpoint, how), how.within(checkpoint.working_memory)
    check_views(checkpoint)
    single = is_file(checkpoint, out)
    device = rounding_device(checkpoint.history, how)
    key = digest(f"{plan.hash} {device}".encode()) if device else plan.hash
    with staged(out, force=force, plan=key, resume=resume, single=single, sync=sync) as folder:
        journal = Journal(folder, key, sync)
        saved = write_checkpoint(checkpoint, plan, folder, journal, origin=origin, how=how)
        check_kept(saved, out, accept_loss, checkpoint.rounding)
    return replace(saved, path=out)


def write_checkpoint(
    checkpoint: Checkpoint,
    plan: Plan,
    folder: Path,
    journal: Journal,
    *,
    origin: Origin = UNKNOWN,
    how: Execution = DEFAULT,
) -> SavedCheckpoint:
    """The files of a checkpoint, in a folder that is there and that nobody takes for finished yet.

    Raises:
        As `save_checkpoint` does.
    """
    known = noted(journal.entries(), plan.jobs, read)
    done = {name: shard for name, shard in known.items() if whole(folder, name, shard, how.sync)}
    for path in folder.rglob("*"):
        if not path.is_dir() and path.relative_to(folder).as_posix() not in done and path != journal.path:
            path.unlink()
    left = [job for job in plan.jobs if job.file not in done]
    return complete(checkpoint, plan, folder, done | write_shards(checkpoint, left, folder, journal, how), origin, how)


def complete(
    checkpoint: Checkpoint, plan: Plan, folder: Path, files: Mapping[str, Shard], origin: Origin, how: Execution
) -> SavedCheckpoint:
    """What `describe` writes, next to the finished `files` of the plan. The whole is opened once."""
    saved = describe(checkpoint, plan, folder, files, origin, how)
    with read_back():
        open_checkpoint(folder)
    return saved


def describe(
    checkpoint: Checkpoint, plan: Plan, folder: Path, files: Mapping[str, Shard], origin: Origin, how: Execution
) -> SavedCheckpoint:
    """Write what is next to the tensors: all other files, and the manifest of everything, in a folder without them.

    Args:
        files: what is known of the finished files of the plan, wherever these are.

    Raises:
        InputError: an input changed.
    """
    inputs, sync = sources(checkpoint.history), how.sync
    files = {job.file: files[job.file] for job in plan.jobs}
    note_hashes(inputs, plan.jobs, files)
    for source in inputs:
        source.check_unchanged()
    others = []
    for name, content in small_files(checkpoint):
        if not (inner := (folder / name).parent).is_dir():  # a component's
            inner.mkdir()
        write_file(folder / name, content, sync)
        others.append(name)
    modules = dict(
        sorted(each for file in files.values() for each in file.modules.items())
    )  # sums depend on their order
    quantized = dict(sorted(each for file in files.values() for each in file.quantized.items()))
    for source in inputs:
        source.check_unchanged()
    outputs = {name: {"size": file.size, "blake3": file.blake3} for name, file in files.items()}
    for name, content in origin.files.items():
        write_file(folder / name, content, sync)
    outputs |= {name: described(folder / name) for name in (*others, *origin.files)}
    kept = {**_kept(modules), **_quantized(quantized)}
    described_inputs = [source.as_json() for source in inputs]
    torch = checkpoint.needs_torch
    check_distinct([each for each, source in zip(described_inputs, inputs, strict=True) if source.summed])
    write_manifest(folder, checkpoint.history, described_inputs, origin, kept, outputs, torch=torch, sync=sync)
    with read_back():
        read_manifest(folder)
    size = sum(file.size for file in files.values())
    return SavedCheckpoint(folder, modules, quantized, len(checkpoint.layout), size)


def check_kept(saved: SavedCheckpoint, out: Path, accept_loss: bool, rounding: str | None) -> None:
    """Raise VerificationError where an update was to be applied, and no entry of any tensor changed; or, unless that is
    accepted, where too little of it survived in codes.
    """
    _check_changed(saved.modules, out)
    if not accept_loss:
        _check_survival(saved.modules, out, rounding)


def _check_changed(modules: Facts, out: Path) -> None:
    if modules and not any(
        each.changed or (each.codes and each.dot) for each in modules.values()
    ):  # the same codes, other scales
        zero = all(each.delta == 0 for each in modules.values())
        raise VerificationError(
            "the result would be the base, byte for byte: "
            + ("every update is zero, or too small for float32" if zero else "rounding erased every update"),
            path=out,
            hint="adapterops show says whether B was ever trained; or are the weights 0?"
            if zero
            else "store it wider: --dtype float32, or float64 with --precision float64",
            code="E-UNCHANGED",
        )


def _check_survival(modules: Facts, out: Path, rounding: str | None) -> None:
    """Raise VerificationError where codes keep too little of an update, and more than chance would explain."""
    quantized = {module: each for module, each in modules.items() if each.codes}
    if not quantized:
        return
    worst = min(quantized, key=lambda module: quantized[module].for_inputs)
    total = sum(quantized.values(), start=type(quantized[worst])())
    lost = [each for each in quantized.values() if _too_little(each)]
    if lost or _too_little(total):
        modules_ = count(len(quantized), "quantized module")
        otherwise = "" if rounding == STOCHASTIC else "use --rounding stochastic, "
        raise VerificationError(
            f"{quantized[worst].for_inputs:.1%} of the update survives in {worst}, {total.for_inputs:.1%} in all {modules_}; "
            f"less than {LEAST_FOR_INPUTS if total.inputs_delta else LEAST_GAIN:.0%} in {len(lost)} of them",
            path=out,
            hint=f"write 16 bits with --dtype bfloat16, {otherwise}or take the loss with --accept-loss",
            code="E-LOST",
            details={"total": total.as_json(), "modules": {module: each.as_json() for module, each in modules.items()}},
        )


def _too_little(survival: Survival) -> bool:
    if survival.inputs_delta:
        return survival.for_inputs < LEAST_FOR_INPUTS
    return survival.gain + SIGMAS * survival.uncertainty < LEAST_GAIN


def small_files(checkpoint: Checkpoint) -> Iterator[tuple[str, bytes | Path]]:
    """Name and content of everything but the tensors and the manifest; or the file that has it."""
    others = checkpoint.files.others if checkpoint.files else ()
    root = checkpoint.files.path if checkpoint.files else None
    own = {path.relative_to(root).as_posix(): path for path in others if root}
    for name, path in (own | dict(checkpoint.documents)).items():
        if name != "config.json":
            yield name, path
    if checkpoint.gguf:
        return  # the files say all themselves
    if checkpoint.config is not None:
        unchanged = checkpoint.files is not None and checkpoint.config == checkpoint.files.config
        config = root / "config.json" if root else None
        kept = unchanged and config and config.is_file()
        yield "config.json", config if kept and config else json_text(checkpoint.config, indent=2) + b"\n"
    folders: dict[str, list[str]] = {}
    for shard in checkpoint.shards:
        folders.setdefault(shard.rpartition("/")[0], []).append(shard)
    for folder, shards in folders.items():
        if len(shards) > 1 or is_part(shards[0]):
            yield _index(checkpoint, folder, shards)


def _index(checkpoint: Checkpoint, folder: str, shards: Sequence[str]) -> tuple[str, bytes]:
    """The index of the files in one folder."""
    where: dict[str, str] = {}
    total = 0
    for shard in shards:
        for tensor in checkpoint.shards[shard]:
            parts = checkpoint.parts(tensor).values()
            where |= {part: shard.rpartition("/")[2] for part, _ in parts}
            total += sum(spec.bytes for _, spec in parts)
    content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    name = index_name(shard.rpartition("/")[2] for shard in shards)
    return f"{folder}/{name}".removeprefix("/"), json_text(content, indent=2) + b"\n"


def _kept(modules: Facts) -> dict[str, Any]:
    """What the manifest says of the updates:
    how large they are, relative to the weights, and how much rounding left of them.
    """
    if not modules:
        return {}
    from adapterops.updates.survival import Survival

    total = sum(modules.values(), Survival())
    return {"survival": total.as_json(), "modules": {module: each.as_json() for module, each in modules.items()}}


def _quantized(quantized: Facts) -> dict[str, Any]:
    """What the manifest says of weights that were quantized without an update: how far their codes are from them."""
    if not quantized:
        return {}
    from adapterops.updates.survival import Survival

    total = sum(quantized.values(), Survival())
    return {"quantized": {"noise": total.noise, "tensors": {tensor: each.noise for tensor, each in quantized.items()}}}
