"""`adapterops fuse`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options, values
from adapterops.cli.fusing import fusing
from adapterops.cli.modelling import Modelling
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.requests.request import Request


@click.command("fuse", cls=Sectioned)
@click.argument("sources", nargs=-1, metavar="BASE SOURCES...", type=values.TEXT)
@click.option("--base", type=values.TEXT, metavar="BASE", help="The model; all arguments are then adapters.")
@click.option(
    "--tuned",
    multiple=True,
    type=values.TEXT,
    metavar="MODEL",
    help="A whole model that was tuned from BASE, in the place of an adapter, once for each: its difference from BASE is "
    "merged, in every tensor.",
)
@options.output("fused")
@fusing(unfuse=False)
def command(out: Path, request: Request, modelling: Modelling) -> None:
    """Adapters into a base model: W + ΔW for every adapted weight, rounded once. Everything else is copied byte for
    byte.

    Several adapters are combined first, as `merge` does, and nothing is cut: a merge of single entries is added whole.

    \b
    adapterops fuse base my-adapter -o fused
    adapterops fuse a b --base base --ties --density 0.2 -o fused
    adapterops fuse base a -w 0.7 --dtype float32 --max-shard-size 2GB --resume -o fused
    adapterops fuse base my-adapter --quantize nf4 -o fused-nf4
    adapterops fuse base-nf4 my-adapter --rounding stochastic --seed 0 -o fused-nf4
    adapterops fuse model.Q4_K_M.gguf my-adapter -o fused.gguf
    adapterops fuse base a b --regmean --grams a-grams.safetensors --grams b-grams.safetensors -o fused
    adapterops fuse base --tuned chat --tuned code --ties --density 0.2 -o merged
    """
    write(request, out, modelling.running)
