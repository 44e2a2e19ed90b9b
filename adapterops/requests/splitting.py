"""A model with an adapter in it, divided: base and adapter, each an output of its own, in one folder that appears whole or
not at all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.saving import plan_checkpoint, write_checkpoint
from adapterops.checkpoints.unmerged import Unmerged, open_unmerged
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.engine.plan import Job, Plan
from adapterops.formats.adapter_files import CONFIG, WEIGHTS
from adapterops.provenance.history import Source, Step
from adapterops.provenance.manifest import Origin, described, write_json, write_manifest
from adapterops.provenance.reader import read_manifest
from adapterops.storage.checksums import digest
from adapterops.storage.journal import JOURNAL, Journal
from adapterops.storage.outputs import check_output
from adapterops.storage.staging import staged
from adapterops.storage.strict import json_text
from adapterops.storage.writer import SafetensorsWriter, read_back

BASE, ADAPTER = "base", "adapter"
"""The folders of the two."""


@dataclass(frozen=True)
class Split:
    """What `split` wrote.

    Attributes:
        modules: the rank of every module of the adapter.
        full: how many full tensors it has.
        tensors: how many the base has.
        bytes: of the files of tensors of both.
    """

    path: Path
    modules: Mapping[str, int]
    full: int
    tensors: int
    bytes: int


def plan_split(found: Unmerged, how: Execution = DEFAULT) -> Plan:
    """What `split` will do."""
    base = plan_checkpoint(found.base, how)
    jobs = [Job(f"{BASE}/{job.file}", job.tensors) for job in base.jobs]
    sizes = {name: stored.spec.bytes for name, stored in found.tensors.items()}
    jobs.append(Job(f"{ADAPTER}/{WEIGHTS}", sizes))
    return replace(base, jobs=tuple(jobs), hash=digest(base.hash.encode() + json_text(found.config)))


def split(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    alpha: float | None = None,
    allow_pickle: bool = False,
    force: bool = False,
    resume: bool = False,
    command: Sequence[str] = (),
    how: Execution = DEFAULT,
) -> Split:
    """Write the base and the adapter of a model in which an adapter is not merged: `out`/base, which transformers loads,
    and `out`/adapter, which PEFT loads. Tensors are copied byte for byte. Both appear together, or neither does.

    Args:
        alpha: the lora_alpha, where there is no adapter_config.json.
        resume: go on where an interrupted run of the same work stopped; its finished files are verified first.

    Raises:
        NotFoundError, InputError, UnsupportedError, OptionError: as `open_unmerged` does.
        OutputExistsError, ResourceError: as `check_output` and `staged` do.
    """
    out, found, origin = Path(out), open_unmerged(source, alpha=alpha, allow_pickle=allow_pickle), Origin(command)
    check_output(out, found.source.paths, force)
    found.source.fetch()
    plan, how = plan_split(found, how), how.within(found.base.working_memory)
    base = plan_checkpoint(found.base, how)
    with staged(out, force=force, plan=plan.hash, resume=resume, sync=how.sync) as folder:
        shutil.rmtree(folder / ADAPTER, ignore_errors=True)  # half of it, where a run was stopped
        for part in (BASE, ADAPTER):
            (folder / part).mkdir(exist_ok=True)
        journal = Journal(folder, plan.hash, how.sync)
        saved = write_checkpoint(found.base, base, folder / BASE, journal, origin=origin, how=how)
        size = _write_adapter(found, folder / ADAPTER, origin, how.sync)
        found.source.check_unchanged()
        _write_manifest(found.source, Step("split", {}, (found.source,)), folder, origin, how.sync)
        with read_back():
            open_adapter(folder / ADAPTER)
            for each in (folder, folder / ADAPTER):
                read_manifest(each)
    return Split(out, found.modules, len(found.full), saved.tensors, saved.bytes + size)


def _write_adapter(found: Unmerged, folder: Path, origin: Origin, sync: bool) -> int:
    """Its tensors as they are stored, its config, and a manifest. The size of the file of tensors."""
    layout = {name: stored.spec for name, stored in sorted(found.tensors.items())}
    writer = SafetensorsWriter(folder / WEIGHTS, layout, {"format": "pt"})
    with closing(writer):
        for name in layout:
            stored, offset = found.tensors[name], 0
            for chunk in stored.file.chunks(stored.name):
                writer.write(name, chunk, offset)
                offset += len(chunk)
        if sync:
            writer.sync()
        writer.check()
    write_json(folder / CONFIG, found.config, sync)
    _write_manifest(found.source, Step("split", {"part": ADAPTER}, (found.source,)), folder, origin, sync)
    return writer.size


def _write_manifest(source: Source, history: Step, folder: Path, origin: Origin, sync: bool) -> None:
    """The manifest of all that is in a folder, and in folders in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / JOURNAL)
    outputs = {path.relative_to(folder).as_posix(): described(path) for path in files}
    write_manifest(folder, history, [source.as_json()], origin, {}, outputs, torch=False, sync=sync)
