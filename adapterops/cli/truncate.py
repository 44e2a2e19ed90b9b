"""`adapterops truncate`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options
from adapterops.cli.making import Making, cutting, making
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.operations.truncation import check_cut
from adapterops.requests.fields import Output
from adapterops.requests.places import named_after


@click.command("truncate", cls=Sectioned)
@options.text_argument(default=".")
@cutting
@options.output(help="Folder to write.  [default: next to the source, such as <source>-r8]")
@making
def command(source: str, cut: Output, out: Path | None, making: Making) -> None:
    """The best approximation of an adapter with fewer dimensions: in the current folder, or at SOURCE.

    \b
    adapterops truncate --rank 8
    adapterops truncate my-adapter --energy 0.99 -o smaller
    adapterops truncate my-adapter --budget 2M
    """
    check_cut(**cut.cut)
    suffix = (
        f"r{cut.rank}"
        if cut.rank
        else f"e{cut.energy:g}"
        if cut.energy
        else f"b{click.get_current_context().params['budget']}"
    )
    write(making.changed(source, cut), out or named_after(source, f"-{suffix}"), making.running)
