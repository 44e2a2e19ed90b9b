"""A model that several processes make, each its share of the files, on one machine or many.

A job is text: what is asked for, of which plan, which file. Each process opens the inputs itself, and finds the same plan,
or says in what its own differs. Tensors never travel.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.finished import Shard, noted, whole
from adapterops.checkpoints.rounding import check_views
from adapterops.checkpoints.saving import SavedCheckpoint, check_kept, complete, plan_checkpoint
from adapterops.checkpoints.shards import write_shards
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution, Share
from adapterops.engine.plan import Job, Plan, identity
from adapterops.errors import IncompatibleError, InputError, NotFoundError, UnsupportedError, count
from adapterops.provenance.history import sources
from adapterops.provenance.manifest import Origin, versions
from adapterops.provenance.reader import read_manifest
from adapterops.requests.places import anonymous
from adapterops.requests.reading import read_request
from adapterops.requests.running import Made, make
from adapterops.storage import parts
from adapterops.storage.parts import Parts
from adapterops.storage.staging import publish, sync_folder, sync_folders, writing
from adapterops.storage.strict import json_text, parse_json

SCHEMA = 1
KEPT = "finished files are kept: run the same command again to go on"


class Engine(Protocol):
    """Calls a function with each of some texts, somewhere, and gives what it returns, in any order.

    `memory`: the bytes that one call takes.
    """

    def __call__(
        self, function: Callable[[str], str], items: Sequence[str], *, memory: int, how: Execution
    ) -> Generator[str, None, None]: ...


@dataclass(frozen=True)
class Part:
    """What became of a share of the files. `missing`: the files of the output that nobody has finished yet."""

    path: Path
    written: tuple[str, ...]
    kept: tuple[str, ...]
    missing: tuple[str, ...]


def write_part(made: Made, out: Path, share: Share, *, command: Sequence[str] = (), how: Execution = DEFAULT) -> Part:
    """Make a share of the files of a model. Those that are finished already are kept, after their bytes are compared
    with what was noted of them.

    Raises:
        UnsupportedError: what is asked for is an adapter.
        IncompatibleError: parts of another plan are being made; or as `save_checkpoint` does.
        InputError, ResourceError: as `save_checkpoint` does.
    """
    plan = _plan(made, how)
    place = parts.begin(out, document(made, plan, out, command))
    done = _write(made, plan, place, plan.jobs[share.number - 1 :: share.of], how)
    return replace(done, path=out)


def _write(made: Made, plan: Plan, place: Parts, jobs: Sequence[Job], how: Execution) -> Part:
    """The one way in which a file of a part is made, whoever asks for it."""
    checkpoint = model_of(made)
    how = how.within(checkpoint.working_memory)
    kept = _whole(place, noted(place.entries(), jobs), how)
    left = [job for job in jobs if job.file not in kept]
    if left:
        for source in sources(checkpoint.history):
            source.fetch()
        check_views(checkpoint)
        with place.working() as work:
            write_shards(checkpoint, left, work.folder, work, how)
        for source in sources(checkpoint.history):
            source.check_unchanged()
    there = noted(place.entries(), plan.jobs)
    missing = tuple(job.file for job in plan.jobs if job.file not in there)
    return Part(place.out, tuple(job.file for job in left), tuple(kept), missing)


def spread(
    made: Made,
    out: Path,
    engine: Engine,
    *,
    force: bool = False,
    command: Sequence[str] = (),
    how: Execution = DEFAULT,
) -> SavedCheckpoint:
    """Make a model by an engine, a job for each file, and finalize it. What is finished already is kept.

    Raises:
        As `write_part` and `finalize` do.
    """
    plan = _plan(made, how)
    place = parts.begin(out, document(made, plan, out, command))
    kept = _whole(place, noted(place.entries(), plan.jobs), how)
    request = made.seen_from(place.out).as_json()
    texts = [
        json_text({"request": request, "out": str(place.out), "plan": plan.hash, "file": job.file}).decode()
        for job in plan.jobs
        if job.file not in kept
    ]
    try:
        with closing(engine(do, texts, memory=model_of(made).working_memory(1), how=how)) as results:
            for done, _ in enumerate(results, 1):
                if how.progress:
                    how.progress(done, len(texts))
    except BaseException as error:
        if not isinstance(error, Exception):
            error.add_note(KEPT)
        raise
    saved = finalize(out, force=force, accept_loss=made.request.accept_loss, how=how)
    assert saved
    return saved


def do(text: str) -> str:
    """A job: make one file, of what its text says, in one thread. The name of the file is returned.

    Raises:
        NotFoundError: the folder of the parts is not on this machine.
        IncompatibleError: the inputs or versions on this machine are others.
    """
    job, how = parse_json(text.encode()), Execution(workers=1)
    made, plan, place = _joined(json_text([job["request"], job["out"]]).decode())
    wanted = [each for each in plan.jobs if each.file == job["file"]]
    _write(made, plan, place, wanted, how)
    return str(job["file"])


@lru_cache(1)
def _joined(text: str) -> tuple[Made, Plan, Parts]:
    """The request of jobs that follow one another, opened once. Files that changed since are noticed when read."""
    fields, place = parse_json(text.encode())
    out, how = Path(place), Execution(workers=1)
    made = make(read_request(fields), out, folder=out, force=True, how=how)
    plan = _plan(made, how)
    return made, plan, parts.begin(out, document(made, plan, out), create=False)


def finalize(
    out: Path, *, force: bool = False, accept_loss: bool = False, how: Execution = DEFAULT
) -> SavedCheckpoint | None:
    """Make an output of its parts: every file is compared with what was noted of it, the others are written next to
    them, and one rename is the commit. None where that was done before.

    Raises:
        NotFoundError: there are no parts, or some are missing; the message names the files.
        IncompatibleError: there are parts of two plans; or the inputs or versions are no longer those of the parts.
        InputError: a file is not what was noted.
        OutputExistsError, ResourceError, VerificationError: as `save_checkpoint` does.
    """
    folders = parts.left(out)
    if len(folders) > 1:
        raise IncompatibleError(
            f"has parts of {len(folders)} plans: {', '.join(each.name for each in folders)}",
            path=out,
            hint="remove the folders of those that are not wanted",
            code="E-PARTS",
        )
    if not folders:
        if read_manifest(out):
            return None
        hint = "adapterops fuse ... --part 1/8 makes the first of eight"
        raise NotFoundError("has no parts that could be finalized", path=out, hint=hint, code="E-PARTS")
    place = parts.opened(out, folders[0])
    with place.alone(), writing(out, KEPT):
        if _published(place):
            place.remove()
            return None
        request = read_request(place.plan["request"])
        request = replace(request, accept_loss=request.accept_loss or accept_loss)
        made = make(request, place.out, folder=place.out, force=force, how=how)
        plan = _plan(made, how)
        parts.begin(out, document(made, plan, out), create=False)
        files = _finished(place, plan, how)
        origin = Origin(place.plan["command"], anonymous(made.seen_from(place.out), place.out).as_json())
        saved = complete(model_of(made), plan, place.files, files, origin, how)
        check_kept(saved, out, request.accept_loss)
        if how.sync:
            sync_folders(place.files)
        publish(place.files, place.out, force)
        if how.sync:
            sync_folder(place.out.parent)
    place.remove()
    return replace(saved, path=out)


def _finished(place: Parts, plan: Plan, how: Execution) -> dict[str, Shard]:
    """All files of the plan, whole; what else is there, of a run that was killed, is removed."""
    there = noted(place.entries(), plan.jobs)
    if missing := [job.file for job in plan.jobs if job.file not in there]:
        raise NotFoundError(
            f"{len(missing)} of {count(len(plan.jobs), 'file')} are missing: {_listed(missing)}",
            path=place.out,
            hint="run the parts that make them, or the same command with --part 1/1, which makes all that is missing",
            code="E-PARTS",
            details={"missing": missing},
        )
    kept = _whole(place, there, how)
    if damaged := [name for name in there if name not in kept]:
        raise InputError(
            f"{_listed(damaged)} changed since it was written",
            path=place.out,
            hint="run the same command with --part 1/1, which makes what is damaged again",
            code="E-PARTS",
            details={"damaged": damaged},
        )
    for path in place.files.rglob("*"):
        if not path.is_dir() and path.relative_to(place.files).as_posix() not in kept:
            path.unlink()
    return kept


def _whole(place: Parts, there: dict[str, Shard], how: Execution) -> dict[str, Shard]:
    """Those of the files that are what was noted of them."""

    def same(name: str) -> bool:
        return whole(place.files, name, there[name], how.sync)

    with closing(local.run(same, list(there), how=replace(how, progress=None))) as results:
        return {name: there[name] for name, fine in zip(there, list(results), strict=True) if fine}


def _published(place: Parts) -> bool:
    """Whether the output is there already, made of these files: a process was killed before it removed the parts."""
    manifest = read_manifest(place.out)
    outputs = manifest["outputs"] if manifest else {}
    records = {record["file"]: record["blake3"] for record in place.entries()}
    same = all(outputs.get(name, {}).get("blake3") == hash_ for name, hash_ in records.items())
    return same and len(records) == place.plan["shards"]


def document(made: Made, plan: Plan, out: Path, command: Sequence[str] = ()) -> dict[str, Any]:
    """All that parts have to agree in, and the command that the manifest notes."""
    checkpoint = model_of(made)
    request = replace(made.seen_from(out), accept_loss=False)  # that is a question for the end
    torch = checkpoint.needs_torch
    return {
        "schema": SCHEMA,
        "plan": plan.hash,
        "request": request.as_json(),
        "inputs": {str(index): identity(each) for index, each in enumerate(sources(checkpoint.history))},
        "versions": versions(torch=torch),
        "kernels": local.kernels(torch=torch),
        "shards": len(plan.jobs),
        "command": list(command),
    }


def _plan(made: Made, how: Execution) -> Plan:
    return plan_checkpoint(model_of(made), how)


def model_of(made: Made) -> Checkpoint:
    if not isinstance(made.result, Checkpoint):
        raise UnsupportedError(
            "an adapter is one file, and is not made in parts",
            hint="leave --part and --engine out: --workers divides its modules among processors",
        )
    return made.result


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
