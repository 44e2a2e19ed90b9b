"""A model that goes to the Hub while it is made: each file is sent when it is finished, and not kept.

The disk holds one file at a time, and nothing of a base that comes from the Hub. What was sent waits on a branch, and is not
sent again by another run of the same plan; one commit takes it all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.saving import SavedCheckpoint, check_kept, describe, plan_checkpoint
from adapterops.engine.execution import DEFAULT, Execution, Progress
from adapterops.errors import UnsupportedError
from adapterops.hub.publishing import Publication
from adapterops.hub.pushing import Pushed
from adapterops.hub.references import Reference
from adapterops.hub.snapshot import Known
from adapterops.provenance.history import sources
from adapterops.provenance.manifest import Origin
from adapterops.requests.deltas import DeltaUpload
from adapterops.requests.divided import DividedModel
from adapterops.requests.parts import document
from adapterops.requests.places import anonymous
from adapterops.requests.running import Made
from adapterops.storage import parts
from adapterops.storage.checksums import SHA256
from adapterops.storage.parts import Work


class Sink(Protocol):
    """Where finished files go. `target`: the repository."""

    @property
    def target(self) -> Reference: ...
    def waiting(self, finished: Mapping[str, Known]) -> Collection[str]:
        """Those of finished files that need not be made again."""

    def send(self, name: str, path: Path) -> str:
        """Take a file, which is removed then: its sha256."""

    def finish(self, folder: Path, sent: Mapping[str, Mapping[str, str | int]]) -> Pushed:
        """One commit, of what was sent and of all other files of the model, in a folder."""


@dataclass(frozen=True)
class _Sending:
    """Takes finished files over: they are sent, noted, and removed."""

    sink: Sink
    work: Work

    def add(self, entry: Mapping[str, Any]) -> None:
        name = entry["file"]
        sha256 = self.sink.send(name, self.work.folder / name)
        self.work.note({**entry, SHA256: sha256})
        (self.work.folder / name).unlink()


def publish(
    made: Made,
    repo: Reference | str,
    *,
    private: bool | None = None,
    as_delta: bool = False,
    command: Sequence[str] = (),
    how: Execution = DEFAULT,
) -> tuple[SavedCheckpoint, Pushed]:
    """Make a model, and have a repository hold it, in one commit.

    Args:
        made: of a request with `streamed`, so that nothing of the base stays.
        private: whether the repository has to be private; None: as it is, or as the Hub makes new ones.
        as_delta: what the repository holds is a `DeltaUpload`, of which `deltas.pull` makes the model.

    Raises:
        UnsupportedError: what is asked for is an adapter; or as `DeltaUpload.begin` does.
        NotFoundError, OutputExistsError: as `push` does.
        IncompatibleError: what was sent is of another plan, or computed on another device where numbers depend on that.
        InputError, ResourceError, VerificationError: as `save_checkpoint` does.

    Cost: the bytes of the base once over the wire, those of the model once but for files that are the base's own, which
    the Hub copies; a disk for the largest file. Files are made
    by one worker, in the order in which the base is stored: what comes out of order would come twice.
    """
    checkpoint, how = made.result, replace(how, workers=1)
    if not isinstance(checkpoint, Checkpoint):
        raise UnsupportedError("an adapter is one file, which goes to the Hub when it is made", hint="push it then")
    model = DividedModel(checkpoint, plan_checkpoint(checkpoint, how))
    jobs = model.plan.jobs
    inputs = sources(checkpoint.history)
    sink: Sink = (
        DeltaUpload.begin(made, repo, private, how)
        if as_delta
        else Publication.begin(repo, model.plan.hash, private, inputs)
    )
    out = Path(sink.target.repo.rpartition("/")[2])
    place = parts.begin(out, document(made, model, out, command, how))
    for source in inputs:
        source.fetch()
    with place.working() as work:
        hashes = {entry["file"]: entry.get(SHA256) for entry in place.entries()}
        files = model.noted(place.entries(), jobs)
        done = sink.waiting({name: Known(shard.size, hashes[name]) for name, shard in files.items() if hashes[name]})
        progress = _Progress(how.progress, sum(len(job.tensors) for job in jobs))
        report = replace(how, progress=progress.of_next if how.progress else None)
        for job in jobs:
            if job.file not in done:
                model.write([job], work.folder, _Sending(sink, work), report)
            progress.done += len(job.tensors)
        files = model.noted(place.entries(), jobs)
        origin = Origin(command, anonymous(made.seen_from(place.out), place.out).as_json())
        saved = describe(checkpoint, model.plan, work.folder, files, origin, how)
        check_kept(saved, out, made.request.accept_loss, checkpoint.rounding)
        sha256 = {entry["file"]: entry[SHA256] for entry in place.entries() if SHA256 in entry}
        sent = {name: {"size": s.size, "blake3": s.blake3, SHA256: sha256[name]} for name, s in files.items()}
        pushed = sink.finish(work.folder, sent)
    place.remove()
    return replace(saved, path=Path(sink.target.repo)), pushed


@dataclass
class _Progress:
    """That of several files as that of one work."""

    report: Progress | None
    total: int
    done: int = 0

    def of_next(self, done: int, total: int) -> None:
        if self.report:
            self.report(min(self.done + done, self.total), self.total)
