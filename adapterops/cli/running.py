"""Options of every command that writes something."""

from __future__ import annotations

from dataclasses import dataclass

import click

from adapterops.cli.options import as_json, detailed, group, quieted, strict, verifying, workers
from adapterops.cli.spreading import ONE_PROCESS, Spread
from adapterops.engine.execution import Execution
from adapterops.requests.reading import size


@dataclass(frozen=True)
class Running:
    """How a command that writes something goes about it."""

    force: bool
    dry_run: bool
    as_json: bool
    how: Execution
    resume: bool = False
    spread: Spread = ONE_PROCESS


def run_with(force: bool, dry_run: bool, workers: int | None, memory: str | None, as_json: bool) -> Running:
    """What `RUNNING` say."""
    most = None if memory is None else size(memory, "--memory")
    return Running(force, dry_run, as_json, Execution(workers=workers, memory=most))


RUNNING = (
    click.option("--force", is_flag=True, help="Replace an output of adapterops, after the new one is complete."),
    click.option("--dry-run", is_flag=True, help="Print what would be written, and write nothing."),
    workers,
    click.option(
        "--memory",
        metavar="SIZE",
        help="Memory to work in, such as 4GB: fewer workers, the same bytes.  [default: no limit]",
    ),
    verifying,
    strict,
    quieted,
    detailed,
    as_json,
)
running = group("running", run_with, *RUNNING)
"""How a command goes about it, as `running`."""
