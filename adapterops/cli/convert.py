"""`adapterops convert`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options
from adapterops.cli.making import Making, converting, making
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.errors import InputError
from adapterops.requests.fields import Output
from adapterops.requests.places import named_after

OF_MODELS = {
    "gguf": "a model in 16 or 32 bits becomes GGUF with llama.cpp: python convert_hf_to_gguf.py MODEL",
    "mlx": "a model becomes MLX's with MLX-LM: mlx_lm.convert --hf-path MODEL",
}
"""What makes of a whole model what `convert` makes of an adapter."""


@click.command("convert", cls=Sectioned)
@options.text_argument(default=".")
@converting
@options.output(
    help="Folder to write; or a file, NAME.gguf or NAME.safetensors, where the format is one file.  "
    "[default: next to the source, such as <source>-peft]"
)
@making
def command(source: str, cut: Output, out: Path | None, making: Making) -> None:
    """The same updates in the format of another program: of the adapter in the current folder, or at SOURCE.

    Scales become part of the factors. What the format cannot hold is refused by name. --base names the model whose
    names the modules get: needed for files that have underscores for dots, and for llama.cpp's.

    \b
    adapterops convert my-adapter --to mlx
    adapterops convert kohya.safetensors --to peft --base base -o converted
    adapterops convert loha --to peft --rank 32 -o converted
    """
    try:
        write(making.changed(source, cut), out or named_after(source, f"-{cut.format}"), making.running)
    except InputError as error:
        if error.code != "E-MODEL":
            raise
        other = OF_MODELS.get(cut.format or "")
        hint = f"name the folder of an adapter; {other}" if other else error.hint
        raise InputError(error.message, path=error.path, hint=hint, code=error.code) from None
