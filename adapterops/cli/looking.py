"""Options of every command that looks at adapters and models, and writes neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli import options
from adapterops.engine.execution import Execution, Progress
from adapterops.operations.replication import replicated
from adapterops.operations.targets.based import on_base
from adapterops.storage.place import Place


def each_on_base(adapters: Sequence[Adapter], base: Checkpoint) -> list[Adapter]:
    """Every adapter by itself, with what the base settles of it."""
    return [on_base(each, base) for each in adapters]


@dataclass(frozen=True)
class Looking:
    """What adapters and models are read with, and how results are shown."""

    alpha: float | None
    allow_pickle: bool
    workers: int | None
    memory: int | None
    as_json: bool

    def adapter(self, place: Place, *, allow_nonfinite: bool = False) -> Adapter:
        return open_adapter(place, alpha=self.alpha, allow_nonfinite=allow_nonfinite, allow_pickle=self.allow_pickle)

    def model(self, place: Place | Path) -> Checkpoint:
        return open_checkpoint(place, allow_pickle=self.allow_pickle)

    def adapters_for(
        self,
        base: Checkpoint,
        places: Sequence[Place],
        settled: Callable[[Sequence[Adapter], Checkpoint], list[Adapter]] = each_on_base,
    ) -> list[Adapter]:
        """Adapters with the parts of their projections in the order of this model, and what else it settles: on the layers
        that they are for.
        """
        adapters = [self.adapter(each) for each in places]
        return settled(adapters, replicated(base, adapters))

    def how(self, progress: Progress | None) -> Execution:
        return Execution(workers=self.workers, memory=self.memory, progress=progress)


_READ = (options.alpha, options.allow_pickle, options.workers, options.memory, options.verifying, options.quieted)
_PRINTED = (options.as_json, options.strict)
reading = options.group("looking", Looking, *_READ, *_PRINTED)
"""What adapters and models are read with, as `looking`."""

looking = options.group("looking", Looking, *_READ, options.detailed, *_PRINTED)
"""The same, where results have details that are shown on demand."""


def _checked(context: click.Context, option: click.Parameter, out: Path | None) -> Path | None:
    """The file, once nothing that was not a log is there: before any work."""
    if out:
        from adapterops.reports.sarif import check_sarif

        check_sarif(out)
    return out


sarif: Callable[[Any], Any] = click.option(
    "--sarif",
    type=click.Path(path_type=Path, readable=False),
    callback=_checked,
    help="File to write the findings to, as SARIF 2.1.0, for code scanning.",
)
