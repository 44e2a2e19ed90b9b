"""`adapterops merge`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options, values
from adapterops.cli.making import Making, cutting, making, named, with_grams
from adapterops.cli.merging import Merge, merging
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.requests.fields import Output


@click.command("merge", cls=Sectioned)
@click.argument("sources", nargs=-1, required=True, type=values.TEXT)
@merging
@cutting
@options.output("merged")
@making
@click.option(
    "--grams",
    "inputs_of",
    multiple=True,
    type=values.TEXT,
    metavar="FILE",
    help="Gram matrices of the inputs of an adapter's modules, as adapterops gram writes them; one file for each adapter, for regmean.",
)
def command(
    sources: tuple[str, ...], merge: Merge, cut: Output, out: Path, making: Making, inputs_of: tuple[str, ...]
) -> None:
    """One adapter of several: the weighted sum of their updates, or another method (--ties, --dare-ties, ...).

    Ranks, scales and targets may differ. A module that an adapter lacks counts as zero.

    \b
    adapterops merge a b c --linear -w 0.5 -w 0.3 -w -0.2 -o merged
    adapterops merge a.safetensors b.safetensors --ties
    adapterops merge owner/a owner/b@v2:subfolder --ties -o merged
    adapterops merge a b --dare-ties --density 0.3 --seed 7 --rank 16
    adapterops merge a b --regmean --grams a-grams.safetensors --grams b-grams.safetensors
    """
    adapters = with_grams(making.inputs(named(sources)), inputs_of)
    request = making.request(adapters, merge.expression(adapters), cut, allow_base_mismatch=merge.allow_base_mismatch)
    write(request, out, making.running)
