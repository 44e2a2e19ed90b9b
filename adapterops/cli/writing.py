"""Requests, done and printed: what every command does that writes an adapter or a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from click.core import ParameterSource

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.saved import Saved
from adapterops.cli.output import amount, line, print_json, print_table, progress, span, written
from adapterops.cli.results import print_held, print_result, print_scales, scales
from adapterops.cli.running import Running
from adapterops.cli.terminal import quiet, verbose
from adapterops.cli.typed import command_line
from adapterops.cli.values import verified
from adapterops.engine.execution import DEVICES, Execution, Share
from adapterops.engine.plan import Plan
from adapterops.engine.registry import ENGINES
from adapterops.errors import OptionError, count, listed
from adapterops.methods.holding import ROOM
from adapterops.provenance.history import sources
from adapterops.requests.places import HERE
from adapterops.requests.request import Request
from adapterops.requests.running import Files, Made, make, plan, save
from adapterops.storage.measured import Measured

if TYPE_CHECKING:
    from adapterops.requests.parts import FinishedPart
    from adapterops.requests.running import Written

SHOWN = 4
"""Files of a part that its plan names."""

Then: TypeAlias = Callable[[], Mapping[str, Any]]
"""What is to be done once the output is there, before it is printed; what it returns is printed, too."""


def write(
    request: Request,
    out: Path,
    running: Running,
    *,
    folder: Path = HERE,
    command: Sequence[str] | None = None,
    stored: Files | None = None,
    then: Then = dict,
) -> None:
    """Do what is requested, or plan it, and print what was done.

    Args:
        folder: what the paths in the request are relative to.
        command: the command line that the manifest notes; by default the one that was typed.
        stored: other files to write.
    """
    _check_spread(running)
    push = running.spread.push
    saved: Written
    with progress("working") as report:
        shared = running.spread.part or running.spread.engine
        how = replace(running.how, progress=report, once=Measured(out, running.how.sync) if shared else None)
        made = make(
            request,
            None if push else out,
            folder=folder,
            force=running.force,
            verify=verified(),
            planning=running.dry_run,
            streamed=push is not None,
            shared=bool(shared),
            how=how,
        )
        if running.dry_run:
            planned = plan(made, how)
            place, free = (Path(push.repo), None) if push else (out, planned.free(out))
            _print_plan(made, planned, place, free, running, how)
            return
        room = ROOM
        if how.memory is not None:  # too little of it is said before anything is measured
            room = min(room, how.memory - plan(made, how).memory)
        held = None
        if not (running.as_json or running.spread.part or quiet()):
            fetch = not (push or running.spread.engine)
            held = partial(print_held, made, how=how, room=0 if running.spread.engine else room, fetch=fetch)
            held(first=True)
        noted = command_line() if command is None else command
        if running.spread.part:
            from adapterops.requests.parts import write_part  # here, as below: it takes long to import

            part = write_part(made, out, running.spread.part, command=noted, how=how)
            print_part(part, running.spread.part, running.as_json)
            return
        if push:
            from adapterops.requests.publishing import publish

            private, as_delta = running.spread.private, running.spread.as_delta
            saved, commit = publish(made, push, private=private, as_delta=as_delta, command=noted, how=how)
            out, then = Path(push.repo), partial(dict, pushed=commit.url or commit.commit)
        else:
            saved = _saved(made, out, replace(running, how=how), noted, stored)
        if held:
            held(first=False)
    with written(out):
        more = then()
        if running.as_json:
            print_json(*as_result(made, saved, more))
        else:
            print_result(made, saved, more)


def _check_spread(running: Running) -> None:
    """Raise OptionError where options do not go with where the output is made."""
    spread = running.spread
    if spread.push and click.get_current_context().get_parameter_source("out") is ParameterSource.COMMANDLINE:
        raise OptionError("--push keeps nothing here, and -o names a folder", hint="leave one of them out")
    if spread.push and running.force:
        raise OptionError(
            "--force replaces an output that is here, and --push keeps nothing here",
            hint="leave --force out: the commit takes the place of the files that the repository has",
        )
    if running.resume and (spread.push or spread.part or spread.engine):
        option = "--push" if spread.push else "--part" if spread.part else "--engine"
        raise OptionError(
            f"--resume is for a run by one process that writes here, and {option} goes on where it stopped by itself",
            hint="leave --resume out: the same command keeps what is finished",
        )
    if spread.engine and running.how.device != DEVICES[0]:
        raise OptionError(
            f"--engine {spread.engine} computes on processors, and --device {running.how.device} is asked for",
            hint="leave one of them out; with --part each process has its own device",
        )


def _saved(made: Made, out: Path, running: Running, command: Sequence[str], stored: Files | None) -> Written:
    """The output, made by an engine or here."""
    force, how = running.force, running.how
    if not running.spread.engine:
        files = stored(made, out) if stored else {}
        norms, resume = verbose(), running.resume  # they are in the table that verbose prints
        return save(made, out, force=force, resume=resume, command=command, files=files, norms=norms, how=how)
    from adapterops.operations.verifying import Verification
    from adapterops.requests.parts import spread

    engine, address = ENGINES[running.spread.engine], running.spread.address
    saved = spread(made, out, engine, address=address, force=force, command=command, files=stored, how=how)
    assert not isinstance(saved, Verification)
    return saved


def print_part(part: FinishedPart, share: Share, as_json: bool, did: str = "wrote") -> None:
    """What one of several processes did, and what is left."""
    if as_json:
        print_json("part", {**vars(part), "path": str(part.path), "part": str(share)})
        return
    kept = f", {len(part.kept)} finished before" if part.kept else ""
    line(f"part {share} of {part.path}: {did} {count(len(part.written), 'file')}{kept}")
    if part.missing:
        line(f"  not finished yet: {count(len(part.missing), 'file')} of other parts")
    else:
        line(f"  every file is there: adapterops finalize {quote(str(part.path))}")


def _print_plan(made: Made, plan: Plan, out: Path, free: int | None, running: Running, how: Execution) -> None:
    """Print what would be written to a folder, or to a repository, which has no disk of which anything is free."""
    result, there = made.result, "" if free is None else f"; {amount(free, 'B')} are free"
    inputs, share = [source.name for source in sources(result.history)], running.spread.part
    part: dict[str, Any] = {}
    if share:
        from adapterops.requests.parts import jobs_of  # here: it takes long to import

        jobs = jobs_of(made, out, share, how)
        own, most = [job.file for job in jobs], sum(job.bytes for job in jobs)
        part = {"part": {"number": share.number, "of": share.of, "files": own, "bytes": most}}
    if running.as_json:
        more = {**scales(made, planned=True, how=how), **_details(made)}
        what = {**plan.as_json(), "inputs": inputs, **part, **more}
        print_json("plan", {"dry_run": True, "path": str(out), "free": free, **what})
        return
    if isinstance(result, Adapter):
        ranks = sorted({layout.rank for layout in result.layout.values()})
        size = amount(plan.bytes, "B")
        of_rank = f", rank {span(ranks)}" if ranks else ""
        line(f"would write {out}: {count(len(result.layout), 'module')}{of_rank}, tensors of at most {size}{there}")
    else:
        tensors, changed = len(result.layout), len(result.changed)
        files = f"{count(tensors, 'tensor')} in {count(len(plan.jobs), 'file')}, {amount(plan.bytes, 'B')}"
        line(f"would write {out}: {files}{there}")
        line(f"  tensors changed: {changed}, copied byte for byte: {tensors - changed}")
        for job in plan.jobs:
            line(f"  {job.file}: {count(len(job.tensors), 'tensor')}, {amount(job.bytes, 'B')}")
    print_held(made, how=how)
    print_scales(made, planned=True, how=how)
    if share:
        named = f", {amount(most, 'B')}: {listed(own, SHOWN)}" if own else ", as there are more parts than files"
        line(f"  part {share}: {count(len(own), 'file')}{named}")
    line(f"  memory: about {amount(plan.memory, 'B')} beyond what libraries take")
    line(f"  inputs: {', '.join(inputs)}")
    for each in plan.statistics:
        line(f"  measured first: {each}")
    if plan.download:
        line(f"  to download: {amount(sum(plan.download.values()), 'B')} in {count(len(plan.download), 'file')}")
    line(f"  plan {plan.hash[:12]}")
    if verbose():
        _print_details(made)


def _print_details(made: Made) -> None:
    """Every module of an adapter, every tensor of a model."""
    if isinstance(made.result, Adapter):
        dtype = made.request.output.dtype
        rows = [
            [module, f"{each.shape[0]} x {each.shape[1]}", str(each.rank), dtype or each.dtype]
            for module, each in made.result.layout.items()
        ]
        print_table(["module", "shape", "rank at most", "dtype"], rows)
        return
    changed = set(made.result.changed)
    rows = [
        [name, " x ".join(map(str, spec.shape)), spec.dtype, "changed" if name in changed else "copied"]
        for name, spec in made.result.layout.items()
    ]
    print_table(["tensor", "shape", "dtype", "what becomes of it"], rows)


def _details(made: Made) -> dict[str, Any]:
    """What a plan says of modules, or of tensors, besides the files."""
    if not isinstance(made.result, Adapter):
        return {"changed": made.result.changed}
    dtype = made.request.output.dtype
    return {
        "modules": {
            module: {"shape": layout.shape, "rank_at_most": layout.rank, "dtype": dtype or layout.dtype}
            for module, layout in made.result.layout.items()
        }
    }


def as_result(made: Made, saved: Written, more: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind of a result, and the result."""
    shared = {"path": str(saved.path), "bytes": saved.bytes, **scales(made, planned=False)}
    if isinstance(saved, Saved):
        modules: dict[str, Any] = {module: kept.__dict__ for module, kept in saved.modules.items()}
        return "saved-adapter", {
            **shared,
            "energy_kept": saved.energy,
            "rounding": saved.rounding,
            "proven": saved.proven,
            **({"note": saved.note} if saved.note else {}),
            "dropped": list(saved.dropped),
            "modules": modules,
            **more,
        }
    modules = {module: each.as_json() for module, each in saved.modules.items()}
    noise = {tensor: each.noise for tensor, each in saved.quantized.items()}
    counts = {"tensors": saved.tensors, "total": saved.total.as_json()}
    return "saved-checkpoint", {**shared, **counts, "modules": modules, "quantized": noise, **more}
