"""`adapterops dequantize`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options
from adapterops.cli.modelling import Modelling, modelling
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.requests.places import named_after


@click.command("dequantize", cls=Sectioned)
@options.text_argument(default=".")
@options.output(help="Folder to write.  [default: SOURCE-dequantized]")
@options.dtype
@modelling
def command(source: str, out: Path | None, dtype: str | None, modelling: Modelling) -> None:
    """A model in NF4, FP4, int8, FP8, MXFP4, NVFP4 or GGUF with every weight as it is when used: in 16 bits, or in --dtype.

    \b
    adapterops dequantize model-nf4 --dtype bfloat16 -o model
    adapterops dequantize model.Q4_K_M.gguf -o model
    """
    request = modelling.changed(source, dtype, dequantize=True)
    write(request, out or named_after(source, "-dequantized"), modelling.running)
