"""`adapterops quantize`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options
from adapterops.cli.modelling import Modelling, quantizing, scheme
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.requests.fields import Quantize
from adapterops.requests.places import named_after


@click.command("quantize", cls=Sectioned)
@options.text_argument(default=".")
@scheme("--to", default="nf4", show_default=True, help="The scheme.")
@options.output(help="Folder to write.  [default: SOURCE-nf4, for nf4]")
@options.dtype
@quantizing
def command(source: str, quantize: Quantize, out: Path | None, dtype: str | None, modelling: Modelling) -> None:
    """A model in 4 or 8 bits, as transformers loads it: every weight of a Linear layer, and config.json.

    Embeddings, the output head, routers and routed experts stay as they are: transformers does not quantize them.
    `adapterops formats` lists all schemes, those too that are read and kept, and not made.

    \b
    adapterops quantize model --to nf4 --double-quant -o model-nf4
    """
    request = modelling.changed(source, dtype, quantize=quantize)
    write(request, out or named_after(source, f"-{quantize.scheme}"), modelling.running)
