"""`adapterops truncate`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adapterops.adapter import open_adapter
from adapterops.cli import options, output
from adapterops.operations import algebra
from adapterops.storage.place import Place


@click.command("truncate", short_help="A smaller adapter, the best of its size.")
@options.source_argument(default=".")
@options.cutting
@options.output(help="Folder to write.  [default: beside the source, such as <source>-r8]")
@options.writing
@options.reading
def command(
    source: Place,
    rank: int | None,
    energy: float | None,
    budget: str | None,
    exact: bool,
    out: Path | None,
    alpha: float | None,
    allow_nonfinite: bool,
    workers: int | None,
    **rest: Any,
) -> None:
    """The best approximation of an adapter with fewer dimensions: in the current folder, or at SOURCE.

    \b
    adapterops truncate --rank 8
    adapterops truncate my-adapter --energy 0.99 -o smaller
    adapterops truncate my-adapter --budget 2M
    """
    adapter = open_adapter(source, alpha=alpha, allow_nonfinite=allow_nonfinite)
    options.check_alpha(alpha, [adapter])
    number, unit = options.budget(budget)
    suffix = f"r{rank}" if rank else f"e{energy:g}" if energy else f"b{budget}"
    place = out or source.beside(f"-{suffix}")
    output.check(place, rest["force"], adapter.history)
    with output.progress("measuring") as report:
        smaller = algebra.truncate(
            adapter, rank, energy=energy, budget=number, unit=unit, dtype=rest["dtype"], exact=exact, workers=workers, progress=report
        )
    output.write(smaller, place, workers=workers, command=options.command_line(), **rest)
