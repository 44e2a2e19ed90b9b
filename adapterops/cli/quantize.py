"""`adapterops quantize`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adapterops.checkpoint import open_checkpoint
from adapterops.cli import options, output
from adapterops.operations.quantization import quantize
from adapterops.storage.place import Place


@click.command("quantize", short_help="A model in 4 or 8 bits.")
@options.source_argument(default=".")
@click.option("--to", type=options.SCHEME, default="nf4", show_default=True, help="The scheme.")
@options.coding
@options.modelling
@options.output(help="Folder to write.  [default: SOURCE-nf4, for nf4]")
@options.writing
def command(source: Place, to: str, double_quant: bool, block_size: int | None, allow_pickle: bool, out: Path | None, **rest: Any) -> None:
    """A model in 4 or 8 bits, as transformers loads it: every weight of a Linear layer, and config.json.

    Embeddings, the output head, routers and routed experts stay as they are: transformers does not quantize them.

    \b
    adapterops quantize model --to nf4 --double-quant -o model-nf4
    """
    model = quantize(
        open_checkpoint(source, allow_pickle=allow_pickle),
        to,
        double_quant=double_quant,
        block_size=block_size,
    )
    place = out or source.beside(f"-{to}")
    output.write_model(model, place, command=options.command_line(), **rest)
