"""`adapterops merge`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adapterops.cli import options, output
from adapterops.cli.merging import merged, merging
from adapterops.operations import algebra
from adapterops.storage.place import Place


@click.command("merge", short_help="One adapter of several.")
@click.argument("sources", nargs=-1, required=True, type=options.SOURCE)
@merging
@options.cutting
@options.output("merged")
@options.writing
@options.reading
def command(
    sources: tuple[Place, ...],
    rank: int | None,
    energy: float | None,
    budget: str | None,
    exact: bool,
    out: Path,
    workers: int | None,
    **rest: Any,
) -> None:
    """One adapter of several: the weighted sum of their updates, or one of the methods since.

    Ranks, scales and targets may differ. A module that an adapter lacks counts as zero.

    \b
    adapterops merge a b c --linear -w 0.5 -w 0.3 -w -0.2 -o merged
    adapterops merge a.safetensors b.safetensors --ties
    adapterops merge owner/a owner/b@v2:subfolder --ties -o merged
    adapterops merge a b --dare-ties --density 0.3 --seed 7 --rank 16
    """
    adapter = merged(sources, rest)
    number, unit = options.budget(budget)
    output.check(out, rest["force"], adapter.history)
    if rank is not None or energy is not None or number is not None:
        with output.progress("measuring") as report:
            adapter = algebra.truncate(
                adapter, rank, energy=energy, budget=number, unit=unit, dtype=rest["dtype"], exact=exact, workers=workers, progress=report
            )
    output.write(adapter, out, exact=exact, workers=workers, command=options.command_line(), **rest)
