"""`adapterops fuse`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adapterops.cli import options, output
from adapterops.cli.merging import coded, merged, merging, opened
from adapterops.operations.fusion import fuse
from adapterops.storage.place import Place


@click.command("fuse", short_help="Adapters into a base model.")
@click.argument("base", type=options.SOURCE)
@click.argument("sources", nargs=-1, required=True, type=options.SOURCE)
@merging
@options.fusing
@options.output("fused")
@options.writing
@options.alpha
def command(base: Place, sources: tuple[Place, ...], out: Path, **rest: Any) -> None:
    """Adapters into a base model: W + ΔW for every adapted weight, rounded once. Everything else is copied byte for byte.

    Several adapters are combined first, as `merge` does, and nothing is cut: a merge of single entries is added whole.

    \b
    adapterops fuse base my-adapter -o fused
    adapterops fuse base a b --ties --density 0.2 -o fused
    adapterops fuse base a -w 0.7 --dtype float32 --max-shard-size 2GB --resume -o fused
    adapterops fuse base my-adapter --quantize nf4 -o fused-nf4
    adapterops fuse base-nf4 my-adapter --rounding stochastic --seed 0 -o fused-nf4
    """
    checkpoint = opened(base, rest)
    model = fuse(checkpoint, merged(sources, rest, checkpoint), precision=rest.pop("precision"), dtype=rest["dtype"])
    output.write_model(coded(model, rest), out, command=options.command_line(), **rest)
