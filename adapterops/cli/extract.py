"""`adapterops extract`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from adapterops.cli import options, values
from adapterops.cli.writing import write
from adapterops.operations.extraction import REST
from adapterops.requests.request import Extract, Model, Output, Request


@click.command("extract", short_help="The difference of two models, as an adapter.")
@click.argument("tuned", type=values.TEXT)
@click.argument("base", type=values.TEXT)
@options.cutting
@click.option(
    "--rest",
    type=click.Choice(REST),
    default=REST[0],
    show_default=True,
    help="What to do with changed norms, biases and embeddings.",
)
@options.allow_pickle
@options.output("extracted")
@options.dtype
@options.running
def command(
    tuned: str,
    base: str,
    cut: Output,
    rest: str,
    allow_pickle: bool,
    out: Path,
    dtype: str | None,
    running: options.Running,
) -> None:
    """TUNED - BASE as a LoRA adapter, and how much of the difference it holds.

    \b
    adapterops extract tuned base --rank 32 -o my-adapter
    adapterops extract tuned base --energy 0.95 --rest drop -o my-adapter
    """
    change = Extract(Model(tuned), rest)
    request = Request(base=Model(base), extract=change, allow_pickle=allow_pickle, output=replace(cut, dtype=dtype))
    write(request, out, running)
