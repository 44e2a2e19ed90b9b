"""How a checkpoint becomes files, tensor by tensor: whole or absent, in memory for a few tiles, and resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops import engine
from adapterops.checkpoint import Checkpoint
from adapterops.errors import ResourceError, VerificationError
from adapterops.formats.model_files import INDEX
from adapterops.history import Source, Step, sources
from adapterops.manifest import described, write_bytes, write_manifest
from adapterops.shards import write_shards
from adapterops.storage.checksums import digest
from adapterops.storage.staging import Journal, check_output, staged
from adapterops.storage.strict import read_all

if TYPE_CHECKING:
    from adapterops.checkpoint import Facts
    from adapterops.updates.survival import Survival

LEAST_GAIN = 0.9
"""What has to survive of an update in codes, ⟨W' - W, ΔW⟩ / ‖ΔW‖², unless told otherwise."""

SIGMAS = 4
"""Standard deviations by which a gain may be low by chance."""


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
        from adapterops.updates.survival import Survival

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
    checkpoint.check_views()
    plan = _plan(checkpoint, inputs)
    with staged(out, force=force, plan=plan, resume=resume, sync=sync) as folder:
        journal = Journal(folder, plan, sync)
        files = write_shards(checkpoint, inputs, folder, journal, sync=sync, device=device, workers=workers, progress=progress)
        for name, data in small_files(checkpoint):
            write_bytes(folder / name, data, sync)
        modules = dict(sorted(each for file in files.values() for each in file.modules.items()))  # sums depend on their order
        coded = dict(sorted(each for file in files.values() for each in file.coded.items()))
        _check_changed(modules, out)
        if not accept_loss:
            _check_survival(modules, out)
        _check_inputs(inputs)
        outputs = {name: {"size": file.size, "blake3": file.blake3} for name, file in files.items()}
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
            [digest(read_all(path)) for path in source.others],
        ]
        for source in inputs
    ]
    operation = checkpoint.history.as_json(list(inputs)) if isinstance(checkpoint.history, Step) else {}
    how = [checkpoint.layout, {name: list(names) for name, names in checkpoint.shards.items()}, checkpoint.rounding, checkpoint.seed]
    schemes = {name: repr(scheme) for name, scheme in checkpoint.schemes.items()}
    text = json.dumps([identities, operation, how, schemes])
    return digest(text.encode())


def _check_changed(modules: Facts, out: Path) -> None:
    if modules and not any(each.changed or (each.codes and each.dot) for each in modules.values()):  # the same codes, other scales
        zero = all(each.delta == 0 for each in modules.values())
        raise VerificationError(
            "the result would be the base, byte for byte: " + ("every update is zero" if zero else "rounding erased every update"),
            path=out,
            hint="B was never trained, or the weights are 0"
            if zero
            else "store it wider: --dtype float32, or float64 with --precision float64",
            code="E-UNCHANGED",
        )


def _check_survival(modules: Facts, out: Path) -> None:
    """Raise VerificationError where codes keep too little of an update, and more than chance would explain."""
    coded = {module: each for module, each in modules.items() if each.codes}
    if not coded:
        return
    worst = min(coded, key=lambda module: coded[module].gain)
    total = sum(coded.values(), start=type(coded[worst])())
    lost = [each for each in coded.values() if _too_little(each)]
    if lost or _too_little(total):
        raise VerificationError(
            f"{coded[worst].gain:.1%} of the update survives in {worst}, {total.gain:.1%} in all {len(coded)} modules in codes; less than "
            f"{LEAST_GAIN:.0%} in {len(lost)} of them",
            path=out,
            hint="round by chance with --rounding stochastic, write 16 bits with --dtype bfloat16, or take the loss with --accept-loss",
            code="E-LOST",
            details={"total": total.as_json(), "modules": {module: each.as_json() for module, each in modules.items()}},
        )


def _too_little(survival: Survival) -> bool:
    return survival.gain + SIGMAS * survival.uncertainty < LEAST_GAIN


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
    from adapterops.updates.survival import Survival

    total = sum(modules.values(), Survival())
    return {"survival": total.as_json(), "modules": {module: each.as_json() for module, each in modules.items()}}


def _quantized(coded: Facts) -> dict[str, Any]:
    """What the manifest says of weights that were quantized without an update: how far their codes are from them."""
    if not coded:
        return {}
    from adapterops.updates.survival import Survival

    total = sum(coded.values(), Survival())
    return {"quantized": {"noise": total.noise, "tensors": {tensor: each.noise for tensor, each in coded.items()}}}
