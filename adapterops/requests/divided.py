"""What is made in parts, a model or an adapter: its files, how some of them are made, and the output that is made of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.copying import unchanged
from adapterops.adapters.planning import arrangement, plan_adapter, working_memory
from adapterops.adapters.portions import portions, stored, write_portions
from adapterops.adapters.portions import read as read_portion
from adapterops.adapters.saved import Saved
from adapterops.adapters.saving import complete_adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.finished import Shard
from adapterops.checkpoints.finished import read as read_shard
from adapterops.checkpoints.rounding import check_views
from adapterops.checkpoints.saving import SavedCheckpoint, check_kept, complete, plan_checkpoint
from adapterops.checkpoints.shards import write_shards
from adapterops.engine.execution import Execution
from adapterops.engine.plan import Job, Plan
from adapterops.engine.records import Noted, Records, note_hashes, noted
from adapterops.errors import UnsupportedError
from adapterops.formats.registry import Arrangement
from adapterops.provenance.history import sources
from adapterops.provenance.manifest import Origin
from adapterops.requests.fields import Output
from adapterops.requests.running import Made, check_no_file
from adapterops.storage.parts import PartsFolder
from adapterops.storage.staging import publish, staged, sync_folder, sync_folders

if TYPE_CHECKING:
    from adapterops.operations.verifying import Verification
    from adapterops.requests.verifying import Proof

Outcome: TypeAlias = "Saved | SavedCheckpoint | Verification"


class Divided(Protocol):
    """What is made in parts.

    Attributes:
        plan: its jobs are those of the parts.
        memory: bytes that one of them takes.
        torch: whether numbers depend on torch.
        ending: what the names of the parts' files end in, after the names that a person knows.
    """

    ending: ClassVar[str]

    @property
    def plan(self) -> Plan: ...
    @property
    def memory(self) -> int: ...
    @property
    def torch(self) -> bool: ...

    def noted(self, records: Sequence[Mapping[str, Any]], jobs: Sequence[Job]) -> Mapping[str, Noted]:
        """What was noted of the files of some jobs."""

    def write(self, jobs: Sequence[Job], folder: Path, records: Records, how: Execution) -> None:
        """The files of some jobs."""

    def publish(self, place: PartsFolder, origin: Origin, *, force: bool, accept_loss: bool, how: Execution) -> Outcome:
        """The output, of all files, which are there; or what all that was found comes to."""


Asked: TypeAlias = "Made | Proof"
"""What may be divided: an output to make, or one to compare."""


def divided(asked: Asked, out: Path, how: Execution) -> Divided:
    """How what is asked for is done in parts.

    Raises:
        UnsupportedError: it cannot be.
        OptionError: the output is to be a single file.
        ResourceError: as `plan_checkpoint` and `plan_adapter` do.
    """
    if not isinstance(asked, Made):
        from adapterops.requests.proving import DividedProof  # here: who makes something has no use for it

        return DividedProof(asked, out, how)
    check_no_file(asked, out)
    if isinstance(asked.result, Checkpoint):
        return DividedModel(asked.result, plan_checkpoint(asked.result, how))
    return DividedAdapter(asked.result, asked.request.output, out, how)


def base_of(asked: Asked) -> str | None:
    """What the config of an adapter calls its base: for one that is extracted the path that was typed."""
    if not isinstance(asked, Made) or not isinstance(asked.result, Adapter):
        return None
    return asked.result.config.base_model


def with_base(asked: Asked, base_model: str | None) -> Asked:
    """The same, where the config calls the base so, wherever it was opened from."""
    if not isinstance(asked, Made) or not isinstance(asked.result, Adapter):
        return asked
    return replace(asked, result=replace(asked.result, config=replace(asked.result.config, base_model=base_model)))


@dataclass(frozen=True)
class DividedModel:
    """A checkpoint: its parts are its shards, and their folder becomes the output."""

    ending: ClassVar[str] = ""
    checkpoint: Checkpoint
    plan: Plan

    @property
    def memory(self) -> int:
        return self.checkpoint.working_memory(1)

    @property
    def torch(self) -> bool:
        return self.checkpoint.needs_torch

    def noted(self, records: Sequence[Mapping[str, Any]], jobs: Sequence[Job]) -> dict[str, Shard]:
        return noted(records, jobs, read_shard)

    def write(self, jobs: Sequence[Job], folder: Path, records: Records, how: Execution) -> None:
        check_views(self.checkpoint)
        write_shards(self.checkpoint, jobs, folder, records, how.within(self.checkpoint.working_memory))

    def publish(
        self, place: PartsFolder, origin: Origin, *, force: bool, accept_loss: bool, how: Execution
    ) -> SavedCheckpoint:
        files = self.noted(place.entries(), self.plan.jobs)
        for path in place.files.rglob("*"):  # of a run that was killed
            if not path.is_dir() and path.relative_to(place.files).as_posix() not in files:
                path.unlink()
        saved = complete(self.checkpoint, self.plan, place.files, files, origin, how)
        check_kept(saved, place.out, accept_loss, self.checkpoint.rounding)
        if how.sync:
            sync_folders(place.files)
        place.commit(place.files)
        publish(place.files, place.out, force)
        if how.sync:
            sync_folder(place.out.parent)
        return replace(saved, path=place.out)


@dataclass(frozen=True)
class DividedAdapter:
    """An adapter: its parts are the factors of its modules, and its file is written of them."""

    ending: ClassVar[str] = ""
    adapter: Adapter
    output: Output
    out: Path
    how: Execution
    torch: bool = False

    @cached_property
    def plan(self) -> Plan:
        output = self.output
        if unchanged(self.adapter, self._arranged, output.format or self.adapter.config.format, output.dtype):
            raise UnsupportedError(
                "nothing is done to the adapter: its files are copied as they are", hint="leave --part and --engine out"
            )
        plan = plan_adapter(self.adapter, dtype=output.dtype, exact=output.exact, format=output.format, how=self.how)
        return replace(plan, jobs=portions(self.adapter, self._arranged))

    @cached_property
    def _arranged(self) -> Arrangement:
        return arrangement(self.adapter, self.output.dtype, self.output.format)

    @property
    def memory(self) -> int:
        return self._memory(1)

    def _memory(self, workers: int) -> int:
        return working_memory(self.adapter, self.output.dtype, workers, self.output.format, self.how.device)

    def noted(self, records: Sequence[Mapping[str, Any]], jobs: Sequence[Job]) -> Mapping[str, Noted]:
        modules = {job.file: job.tensors.keys() for job in jobs}
        found = noted(records, jobs, read_portion)
        return {file: each for file, each in found.items() if each.figures.keys() == modules[file]}

    def write(self, jobs: Sequence[Job], folder: Path, records: Records, how: Execution) -> None:
        how, exact = how.within(self._memory), self.output.exact
        write_portions(self.adapter, self._arranged, jobs, folder, records, exact=exact, how=how)

    def publish(self, place: PartsFolder, origin: Origin, *, force: bool, accept_loss: bool, how: Execution) -> Saved:
        jobs, exact = self.plan.jobs, self.output.exact
        files = noted(place.entries(), jobs, read_portion)
        note_hashes(sources(self.adapter.history), jobs, files)
        results = stored(self.adapter, place.files, jobs, files)
        with staged(place.out, force=force, sync=how.sync) as folder:
            saved = complete_adapter(
                self.adapter,
                self._arranged,
                results,
                folder,
                place.out,
                exact=exact,
                origin=origin,
                how=replace(how, progress=None),
            )
            place.commit(folder)
        return saved
