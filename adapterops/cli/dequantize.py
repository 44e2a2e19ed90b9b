"""`adapterops dequantize`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adapterops.checkpoint import open_checkpoint
from adapterops.cli import options, output
from adapterops.operations.quantization import dequantize
from adapterops.storage.place import Place


@click.command("dequantize", short_help="A quantized model in 16 or 32 bits.")
@options.source_argument(default=".")
@options.modelling
@options.output(help="Folder to write.  [default: SOURCE-dequantized]")
@options.writing
def command(source: Place, allow_pickle: bool, out: Path | None, **rest: Any) -> None:
    """A model in NF4, FP4, int8, FP8 or MXFP4 with every weight as it is when used: in 16 bits, or in --dtype.

    \b
    adapterops dequantize model-nf4 --dtype bfloat16 -o model
    """
    model = dequantize(open_checkpoint(source, allow_pickle=allow_pickle), rest["dtype"])
    place = out or source.beside("-dequantized")
    output.write_model(model, place, command=options.command_line(), **rest)
