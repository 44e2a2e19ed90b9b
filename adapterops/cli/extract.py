"""`adapterops extract`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from adapterops.cli import options, values
from adapterops.cli.making import cutting
from adapterops.cli.running import Running, on_device
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.operations.extraction import REST
from adapterops.requests.fields import Extract, Model, Output
from adapterops.requests.order import base_of
from adapterops.requests.request import Request


@click.command("extract", cls=Sectioned)
@click.argument("tuned", type=values.TEXT)
@click.argument("other", required=False, metavar="[BASE]", type=values.TEXT)
@click.option("--base", type=values.TEXT, metavar="BASE", help="The model that TUNED was before.")
@cutting
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
@on_device
def command(
    tuned: str,
    other: str | None,
    base: str | None,
    cut: Output,
    rest: str,
    allow_pickle: bool,
    out: Path,
    dtype: str | None,
    running: Running,
) -> None:
    """TUNED - BASE as a LoRA adapter, and how much of the difference it holds. The base needs no --base where the
    manifest of TUNED says that it was fused from it.

    \b
    adapterops extract tuned --base base --rank 32 -o my-adapter
    adapterops extract tuned --base base --energy 0.95 --rest drop -o my-adapter
    """
    before = base_of(tuned, other, base)
    change = Extract(Model(tuned), rest)
    request = Request(base=Model(before), extract=change, allow_pickle=allow_pickle, output=replace(cut, dtype=dtype))
    write(request, out, running)
