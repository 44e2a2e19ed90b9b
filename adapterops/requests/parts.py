"""A model that several processes make, each its share of the files, on one machine or many.

A job is text: what is asked for, of which plan, which file. Each process opens the inputs itself, and finds the same plan,
or says in what its own differs. Tensors never travel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution, Share, device_name
from adapterops.engine.plan import Job, identity, rounding_device
from adapterops.engine.records import Noted, whole
from adapterops.engine.registry import Engine
from adapterops.errors import IncompatibleError, InputError, NotFoundError, count, listed
from adapterops.provenance.manifest import Origin, versions
from adapterops.provenance.reader import read_manifest
from adapterops.requests.divided import Asked, Divided, Outcome, base_of, divided, with_base
from adapterops.requests.places import anonymous
from adapterops.requests.reading import stated_request
from adapterops.requests.running import Files, Made, make, recipe_command
from adapterops.storage import parts
from adapterops.storage.measured import Measured
from adapterops.storage.parts import AGAIN, LEFT, PartsFolder
from adapterops.storage.staging import writing
from adapterops.storage.strict import json_text, parse_json

SCHEMA = 1


@dataclass(frozen=True)
class FinishedPart:
    """What became of a share of the files. `missing`: the files of the output that nobody has finished yet."""

    path: Path
    written: tuple[str, ...]
    kept: tuple[str, ...]
    missing: tuple[str, ...]


def write_part(
    asked: Asked, out: Path, share: Share, *, command: Sequence[str] = (), how: Execution = DEFAULT
) -> FinishedPart:
    """Do a share of what is asked for: of the files of a model, made or compared, or of the modules of an adapter. What is
    finished already is kept, after its bytes are compared with what was noted of them.

    Raises:
        UnsupportedError: nothing is computed: the files of an adapter are copied.
        IncompatibleError: parts of another plan are being made; or as saving does.
        InputError, ResourceError: as saving does.
    """
    work = divided(asked, out, how)
    place = parts.begin(out, document(asked, work, out, command, how), sync=how.sync)
    written, kept = _write(asked, work, place, _jobs(work, share), how)
    there = work.noted(place.entries(), work.plan.jobs)
    missing = tuple(job.file for job in work.plan.jobs if job.file not in there)
    return FinishedPart(out, *(tuple(_known(work, files)) for files in (written, kept, missing)))


def _known(work: Divided, files: Sequence[str]) -> list[str]:
    """What a person calls the files of parts."""
    return [file.removesuffix(work.ending) for file in files]


def jobs_of(asked: Asked, out: Path, share: Share, how: Execution = DEFAULT) -> Sequence[Job]:
    """The files of a share, in the order in which `write_part` makes them.

    Raises:
        UnsupportedError: as `write_part` does.
    """
    return _jobs(divided(asked, out, how), share)


def _jobs(work: Divided, share: Share) -> Sequence[Job]:
    return work.plan.jobs[share.number - 1 :: share.of]


def _write(
    asked: Asked, work: Divided, place: PartsFolder, jobs: Sequence[Job], how: Execution
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The one way in which files of a part are made, whoever asks for them: those that were, and those that were there."""
    kept = _whole(place, _noted(place, work, jobs), how)
    left = [job for job in jobs if job.file not in kept]
    if left:
        inputs = asked.inputs
        for source in inputs:
            source.fetch()
        with place.working() as own:
            work.write(left, own.folder, own, how)
        for source in inputs:
            source.check_unchanged()
    return tuple(job.file for job in left), tuple(kept)


def _noted(place: PartsFolder, work: Divided, jobs: Sequence[Job]) -> Mapping[str, Noted]:
    """What was noted of the files of these jobs."""
    return work.noted(place.entries(job.file for job in jobs), jobs)


def spread(
    asked: Asked,
    out: Path,
    engine: Engine,
    *,
    address: str | None = None,
    force: bool = False,
    command: Sequence[str] = (),
    files: Files | None = None,
    how: Execution = DEFAULT,
) -> Outcome:
    """Do what is asked for by an engine, a job for each file, and finalize it. What is finished already is kept.

    Raises:
        As `write_part` and `finalize` do.
    """
    work = divided(asked, out, how)
    place = parts.begin(out, document(asked, work, out, command), sync=how.sync)
    known = set(_whole(place, _noted(place, work, work.plan.jobs), how))
    noted = {name: place.plan[name] for name in ("request", "proves")}
    shared = {**noted, "out": str(place.out), "plan": work.plan.hash, "sync": how.sync, "machine": _machine()}
    left = [job for job in work.plan.jobs if job.file not in known]
    left.sort(key=lambda job: -sum(job.tensors.values()))  # so that nobody waits while another is at a large one
    texts = [json_text({**shared, "file": job.file}).decode() for job in left]
    within = how.within(lambda workers: workers * work.memory)
    if texts:  # else no engine has to be there
        with place.keeping(), closing(engine(do, texts, memory=work.memory, address=address, how=within)) as results:
            for done, name in enumerate(results, 1):
                known.add(name)  # hashed as it was written, here: what one process writes is not read once more, either
                if how.progress:
                    how.progress(done, len(texts))
    with place.exclusive(), writing(out, LEFT, AGAIN):
        saved = _finished(asked, work, place, known, force, asked.request.accept_loss, files, how)
    place.remove()
    return replace(saved, path=out)


def do(text: str) -> str:
    """A job: make one file, of what its text says, in one thread. The name of the file is returned where it was written on the
    machine that asked for it; nothing of another one, whose disk has yet to show it there.

    Raises:
        NotFoundError: the folder of the parts is not on this machine.
        IncompatibleError: the inputs or versions on this machine are others.
    """
    job = parse_json(text.encode())
    same = json_text({name: job[name] for name in ("request", "proves")}).decode()
    asked, work, place = _joined(same, Path(job["out"]), job["plan"], job["sync"])
    if work.plan.hash != job["plan"]:
        raise IncompatibleError("is not what it was when the work was divided", path=job["out"], code="E-PARTS")
    wanted = [each for each in work.plan.jobs if each.file == job["file"]]
    _write(asked, work, place, wanted, Execution(workers=1, sync=job["sync"]))
    return str(job["file"]) if job["machine"] == _machine() != "" else ""


def _machine() -> str:
    """What tells this machine, as long as it runs; nothing where that is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@lru_cache(1)
def _joined(text: str, out: Path, plan: str, sync: bool) -> tuple[Asked, Divided, PartsFolder]:
    """What jobs that follow one another in a process are of, opened once, and measured once where the whole model has to
    be. A file that changed since is noticed when it is read. `plan` is the hash of theirs, whose folder has to be there.
    """
    parts.folder_of(out, plan, there=True)
    how = Execution(workers=1, once=Measured(out, sync))
    asked = _reopened(parse_json(text.encode()), out, force=True, how=how)
    work = divided(asked, out, how)
    return asked, work, parts.begin(out, document(asked, work, out), create=False, sync=sync)


def _reopened(plan: Mapping[str, Any], out: Path, *, force: bool, how: Execution, **changes: Any) -> Asked:
    """What is asked for, as a plan notes it, whose request has paths as they are from the output."""
    request = replace(stated_request(plan["request"]), **changes)
    if plan["proves"]:
        from adapterops.requests.verifying import proof_of

        return proof_of(request, out, how)
    return make(request, out, folder=out, force=force, how=how)


def finalize(
    out: Path,
    *,
    force: bool = False,
    accept_loss: bool = False,
    files: Files | None = None,
    how: Execution = DEFAULT,
) -> tuple[Asked, Outcome] | None:
    """Make an output of its parts: every file is compared with what was noted of it, the others are written next to
    them, and one rename is the commit. What was made, and what was written; None where that was done before.

    Args:
        files: what else is in an output that is made by a recipe.

    Raises:
        NotFoundError: there are no parts, or some are missing; the message names the files.
        IncompatibleError: there are parts of two plans; or the inputs or versions are no longer those of the parts.
        InputError: a file is not what was noted.
        OutputExistsError, ResourceError, VerificationError: as saving does.
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
        fact = "has no parts that could be finalized" if out.exists() else "does not exist, nor do parts of it"
        raise NotFoundError(fact, path=out, hint=hint, code="E-PARTS")
    place = parts.opened(out, folders[0], how.sync)
    with place.exclusive(), writing(out, LEFT, AGAIN):
        if place.committed():
            place.remove()
            return None
        accept_loss, how = accept_loss or place.plan["accept_loss"], replace(how, once=Measured(out, how.sync))
        asked = _reopened(place.plan, place.out, force=force, how=how, accept_loss=accept_loss)
        asked = with_base(asked, place.plan["base_model"])
        work = divided(asked, out, how)
        parts.begin(out, {**document(asked, work, out), "device": place.plan["device"]}, create=False)
        saved = _finished(asked, work, place, (), force, accept_loss, files, how)
    place.remove()
    return asked, replace(saved, path=out)


def _finished(
    asked: Asked,
    work: Divided,
    place: PartsFolder,
    known: Collection[str],
    force: bool,
    accept_loss: bool,
    files: Files | None,
    how: Execution,
) -> Outcome:
    """The output of all parts. `known`: files that were read or written on this machine, and are what was noted of them."""
    _check_finished(place, work, known, how)
    for source in asked.inputs:
        source.fetch()
    command = tuple(place.plan["command"])
    others: Mapping[str, bytes] = {}
    if files and command == recipe_command(place.out) and isinstance(asked, Made):
        others = files(asked, place.out)
    origin = Origin(command, anonymous(asked.seen_from(place.out), place.out).as_json(), others)
    return work.publish(place, origin, force=force, accept_loss=accept_loss, how=how)


def _check_finished(place: PartsFolder, work: Divided, known: Collection[str], how: Execution) -> None:
    """Raise for files of the plan that are missing, or not what was noted of them."""
    jobs = work.plan.jobs
    there = _noted(place, work, jobs)
    if missing := _known(work, [job.file for job in jobs if job.file not in there]):
        raise NotFoundError(
            f"{len(missing)} of {count(len(jobs), 'file')} are missing: {listed(missing, 5)}",
            path=place.out,
            hint="run the parts that make them, or the same command with --part 1/1, which makes all that is missing",
            code="E-PARTS",
            details={"missing": missing},
        )
    kept = _whole(place, {name: each for name, each in there.items() if name not in known}, how)
    if damaged := [name for name in there if name not in kept and not (name in known and _there(place, name, there))]:
        raise InputError(
            f"{listed(damaged, 5)} changed since it was written",
            path=place.out,
            hint="run the same command with --part 1/1, which makes what is damaged again",
            code="E-PARTS",
            details={"damaged": damaged},
        )


def _there(place: PartsFolder, name: str, there: Mapping[str, Noted]) -> bool:
    """Whether a file has the size that was noted, where one was."""
    with suppress(OSError):
        return (place.files / name).stat().st_size == there[name].size or there[name].size is None
    return False


def _whole(place: PartsFolder, there: Mapping[str, Noted], how: Execution) -> list[str]:
    """Those of the files that are what was noted of them."""

    def same(name: str) -> bool:
        return whole(place.files, name, there[name], how.sync)

    with closing(local.run(same, list(there), how=how)) as results:
        return [name for name, fine in zip(there, list(results), strict=True) if fine]


def _device(asked: Asked, how: Execution) -> str:
    """The device that numbers may depend on: of an adapter always, for what is dense is cut wherever it is saved."""
    if not isinstance(asked, Made):
        return ""
    if isinstance(asked.result, Adapter):
        return device_name(how.device)
    return rounding_device(asked.result.history, how)


def document(
    asked: Asked, work: Divided, out: Path, command: Sequence[str] = (), how: Execution = DEFAULT
) -> dict[str, Any]:
    """All that parts have to agree in; what the output notes of how it was typed; and what is a question for the end."""
    request = replace(asked.seen_from(out), accept_loss=False)
    return {
        "schema": SCHEMA,
        "plan": work.plan.hash,
        "proves": not isinstance(asked, Made),
        "request": request.as_json(),
        "inputs": {str(index): identity(each) for index, each in enumerate(asked.inputs)},
        "versions": versions(torch=work.torch),
        "kernels": local.kernels(torch=work.torch),
        "device": _device(asked, how),
        "command": list(command),
        "base_model": base_of(asked),
        "accept_loss": asked.request.accept_loss,
    }
