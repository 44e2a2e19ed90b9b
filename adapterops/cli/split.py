"""`adapterops split`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from adapterops.checkpoints.unmerged import Unmerged, open_unmerged
from adapterops.cli import options, values
from adapterops.cli.output import amount, line, print_json, progress, span, written
from adapterops.cli.running import Running, here
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import quiet
from adapterops.cli.typed import command_line
from adapterops.engine.plan import Plan
from adapterops.errors import count
from adapterops.requests.splitting import ADAPTER, BASE, Split, plan_split
from adapterops.requests.splitting import split as save
from adapterops.storage.place import Place


@click.command("split", cls=Sectioned)
@click.argument("model", type=values.SOURCE)
@options.alpha
@options.allow_pickle
@options.output("split")
@options.resume
@here
def command(
    model: Place,
    alpha: float | None,
    allow_pickle: bool,
    out: Path,
    resume: bool,
    running: Running,
) -> None:
    """A model that was saved with LoRA layers in it, as two: OUT/base, which transformers loads, and OUT/adapter, which
    PEFT loads. Tensors are copied byte for byte.

    The scale is what adapter_config.json in the folder says; without that file, say it with --alpha.

    \b
    adapterops split unmerged-model --alpha 16 -o parts
    adapterops fuse parts/base parts/adapter -o fused
    """
    with progress("working") as report:
        how = replace(running.how, progress=report)
        if running.dry_run:
            found = open_unmerged(model, alpha=alpha, allow_pickle=allow_pickle)
            _print_plan(found, plan_split(found, how), out, running.as_json)
            return
        saved = save(
            model,
            out,
            alpha=alpha,
            allow_pickle=allow_pickle,
            force=running.force,
            resume=resume,
            command=command_line(),
            how=how,
        )
    with written(out):
        _print(saved, running.as_json)


def _print_plan(found: Unmerged, plan: Plan, out: Path, as_json: bool) -> None:
    free = plan.free(out)
    if as_json:
        print_json(
            "plan", {"dry_run": True, "path": str(out), "free": free, **plan.as_json(), "modules": found.modules}
        )
        return
    line(f"would write {out}: {count(len(plan.jobs), 'file')}, {amount(plan.bytes, 'B')}; {amount(free, 'B')} are free")
    for job in plan.jobs:
        line(f"  {job.file}: {count(len(job.tensors), 'tensor')}, {amount(job.bytes, 'B')}")
    line(f"  plan {plan.hash[:12]}")


def _print(saved: Split, as_json: bool) -> None:
    if as_json:
        print_json("split-model", {**saved.__dict__, "path": str(saved.path), "modules": dict(saved.modules)})
        return
    if quiet():
        return
    ranks = f", rank {span(sorted(set(saved.modules.values())))}" if saved.modules else ""
    full = f", {count(saved.full, 'full tensor')}" if saved.full else ""
    line(f"wrote {saved.path}: {amount(saved.bytes, 'B')}")
    line(f"  {saved.path / BASE}: {count(saved.tensors, 'tensor')}")
    line(f"  {saved.path / ADAPTER}: {count(len(saved.modules), 'module')}{ranks}{full}")
