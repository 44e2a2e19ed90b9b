"""Requests, done and printed: what every command does that writes an adapter or a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.saving import Saved
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.saving import SavedCheckpoint
from adapterops.cli.options import Running, command_line
from adapterops.cli.output import amount, line, percent, print_json, progress, span, written
from adapterops.cli.values import verified
from adapterops.engine.plan import Plan, steps
from adapterops.errors import AdapterWarning, count
from adapterops.methods.scaling import SUM, describe
from adapterops.provenance.history import sources
from adapterops.requests.places import HERE
from adapterops.requests.request import Request
from adapterops.requests.running import Made, Written, make, plan, save

Then: TypeAlias = Callable[[], Mapping[str, Any]]
"""What is to be done once the output is there, before it is printed; what it returns is printed, too."""

Files: TypeAlias = Callable[[Made, Path], Mapping[str, bytes]]

LOSSY_GAIN = 0.9
"""Below this much of an update left, a person should know."""

EXACT = 1e-6
"""Above this, relative to the update, what is stored is not called exact: float32 is ten times as near."""

CHANCE = 0.01
"""Above this, a person should know how far chance may have moved what survived."""


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
    with progress("working") as report:
        how, dry = replace(running.how, progress=report), running.dry_run
        made = make(request, out, folder=folder, force=running.force, verify=verified(), planning=dry, how=how)
        if dry:
            _print_plan(made, plan(made, how), out, running.as_json)
            return
        files, noted = stored(made, out) if stored else {}, command_line() if command is None else command
        saved = save(made, out, force=running.force, resume=running.resume, command=noted, files=files, how=how)
    with written(out):
        more = then()
        if running.as_json:
            print_json(*_json(saved, more))
        else:
            _print(saved)
            _print_scales(made)
            for verb, what in more.items():
                line(f"{verb} it to {what}")


def _print_plan(made: Made, plan: Plan, out: Path, as_json: bool) -> None:
    result = made.result
    free = plan.free(out)
    if as_json:
        print_json("plan", {"dry_run": True, "path": str(out), "free": free, **plan.as_json(), **_details(made)})
        return
    if isinstance(result, Adapter):
        ranks = sorted({layout.rank for layout in result.layout.values()})
        size = amount(plan.bytes, "B")
        line(
            f"would write {out}: {count(len(result.layout), 'module')}, rank {span(ranks)}, at most {size}; {amount(free, 'B')} are free"
        )
    else:
        tensors, changed = len(result.layout), len(result.changed)
        files = f"{count(tensors, 'tensor')} in {count(len(plan.jobs), 'file')}, {amount(plan.bytes, 'B')}"
        line(f"would write {out}: {files}; {amount(free, 'B')} are free")
        line(f"  tensors changed: {changed}, copied byte for byte: {tensors - changed}")
        for job in plan.jobs:
            line(f"  {job.file}: {count(len(job.tensors), 'tensor')}, {amount(job.bytes, 'B')}")
    _print_scales(made)
    line(f"  memory: about {amount(plan.memory, 'B')} beyond what libraries take")
    line(f"  of {', '.join(source.name for source in sources(result.history))}")
    for each in plan.statistics:
        line(f"  measured first: {each}")
    if plan.download:
        line(f"  to download: {amount(sum(plan.download.values()), 'B')} in {count(len(plan.download), 'file')}")
    line(f"  plan {plan.hash[:12]}")


def _print_scales(made: Made) -> None:
    """What merges were multiplied by, where that is not 1."""
    for step in steps(made.result.history):
        if step.operation == "merge" and step.parameters["scale"] != SUM:
            line(f"  scale {describe(step.parameters['scale'], len(step.inputs))}")


def _details(made: Made) -> dict[str, Any]:
    """What a plan says of modules, or of tensors, besides the files."""
    if isinstance(made.result, Checkpoint):
        return {"changed": made.result.changed}
    dtype = made.request.output.dtype
    return {
        "modules": {
            module: {"shape": layout.shape, "rank_at_most": layout.rank, "dtype": dtype or layout.dtype}
            for module, layout in made.result.layout.items()
        }
    }


def _json(saved: Written, more: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind of a result, and the result."""
    shared = {"path": str(saved.path), "bytes": saved.bytes}
    if isinstance(saved, Saved):
        modules: dict[str, Any] = {module: kept.__dict__ for module, kept in saved.modules.items()}
        return "saved-adapter", {
            **shared,
            "energy_kept": saved.energy,
            "rounding": saved.rounding,
            "dropped": list(saved.dropped),
            "modules": modules,
            **more,
        }
    modules = {module: each.as_json() for module, each in saved.modules.items()}
    noise = {tensor: each.noise for tensor, each in saved.quantized.items()}
    counts = {"tensors": saved.tensors, "total": saved.total.as_json()}
    return "saved-checkpoint", {**shared, **counts, "modules": modules, "quantized": noise, **more}


def _print(saved: Written) -> None:
    if isinstance(saved, Saved):
        _print_adapter(saved)
    else:
        _print_model(saved)


def _print_adapter(saved: Saved) -> None:
    kept = [each for each in saved.modules.values() if each.rank]
    line(
        f"wrote {saved.path}: {count(len(kept), 'module')}, rank {span(sorted({each.rank for each in kept}))}, {amount(saved.bytes, 'B')}"
    )
    worst = min(saved.modules, key=lambda module: saved.modules[module].energy)
    lowest = saved.modules[worst].energy
    line(
        f"  energy kept: {percent(saved.energy)}"
        + (f", lowest {percent(lowest)} in {worst}" if lowest < 1 else "" if saved.rounding > EXACT else " (exact)")
    )
    if saved.rounding > EXACT:
        worst = max(saved.modules, key=lambda module: saved.modules[module].rounding)
        highest = percent(saved.modules[worst].rounding)
        print(f"  rounding error: {percent(saved.rounding)} of the update, highest {highest} in {worst}")
    if saved.dropped:
        line(f"  dropped, not worth the budget: {', '.join(saved.dropped)}")
    zero = [module for module, each in saved.modules.items() if each.norm == 0 and each.energy == 1]
    if zero:
        which = "every module is" if len(zero) == len(saved.modules) else f"{len(zero)} modules are"
        line(f"  {which} zero: B was never trained, or nothing was kept")


def _print_model(saved: SavedCheckpoint) -> None:
    changed = f"; {count(len(saved.modules), 'module')} changed" if saved.modules else ""
    line(f"wrote {saved.path}: {count(saved.tensors, 'tensor')}, {amount(saved.bytes, 'B')}{changed}")
    if saved.quantized:
        noise = sum(saved.quantized.values(), type(saved.total)()).noise
        worst = max(saved.quantized, key=lambda tensor: saved.quantized[tensor].noise)
        line(f"  quantized: {count(len(saved.quantized), 'weight')}, rounding error {percent(noise)}", end="")
        line(f", highest {percent(saved.quantized[worst].noise)} in {worst}")
    if not saved.modules:
        return
    total, worst = saved.total, min(saved.modules, key=lambda module: saved.modules[module].gain)
    entries = "" if total.codes else f"; {percent(total.changed / total.entries)} of their entries changed"
    line(f"  the update is {percent(total.relative)} of the weights{entries}")
    chance = f" ± {percent(total.uncertainty)}" if total.codes and total.uncertainty > CHANCE else ""
    line(f"  survived rounding: {percent(total.gain)}{chance}, lowest {percent(saved.modules[worst].gain)} in {worst}")
    if total.codes:
        line(
            f"  rounding error: {percent(total.noise)} of the weights; cosine {total.cosine:.4f} with the update in its rows"
        )
    if total.gain < LOSSY_GAIN and total.codes:
        warnings.warn(
            f"codes keep {total.gain:.0%} of the update: the rest is lost to rounding", AdapterWarning, stacklevel=2
        )
    elif total.gain < LOSSY_GAIN:
        warnings.warn(
            f"rounding erased {1 - total.gain:.0%} of the update: entries of it are smaller than half a step of the stored numbers; "
            "--dtype float32 keeps them",
            AdapterWarning,
            stacklevel=2,
        )
