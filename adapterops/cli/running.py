"""Options of every command that writes something."""

from __future__ import annotations

from dataclasses import dataclass

import click

from adapterops.cli.options import (
    as_json,
    detailed,
    device,
    group,
    memory,
    no_sync,
    quieted,
    strict,
    verifying,
    workers,
)
from adapterops.cli.spreading import ONE_PROCESS, SPREADING, Spread, spread
from adapterops.engine.execution import DEVICES, Execution


@dataclass(frozen=True)
class Running:
    """How a command that writes something goes about it."""

    force: bool
    dry_run: bool
    as_json: bool
    how: Execution
    resume: bool = False
    spread: Spread = ONE_PROCESS


def run_with(
    force: bool,
    dry_run: bool,
    workers: int | None,
    memory: int | None,
    no_sync: bool,
    as_json: bool,
    device: str = DEVICES[0],
    **spreading: str | None,
) -> Running:
    """What `RUNNING` say."""
    how = Execution(workers=workers, memory=memory, device=device, sync=not no_sync)
    return Running(force, dry_run, as_json, how, spread=spread(**spreading))


_HERE = (
    click.option("--force", is_flag=True, help="Replace an output of adapterops, after the new one is complete."),
    click.option("--dry-run", is_flag=True, help="Print what would be written, and write nothing."),
    workers,
    memory,
    no_sync,
    verifying,
    strict,
    quieted,
    detailed,
    as_json,
)
here = group("running", run_with, *_HERE)
"""How a command goes about it that one process does, as `running`."""

RUNNING = (*SPREADING, *_HERE)
running = group("running", run_with, *RUNNING)
"""The same, where several processes may do it."""

on_device = group("running", run_with, device, *RUNNING)
"""The same, where a GPU may compute, too."""
