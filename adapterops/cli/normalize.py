"""`adapterops normalize`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options
from adapterops.cli.making import Making, making
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.requests.places import named_after
from adapterops.requests.request import Output


@click.command("normalize", cls=Sectioned, short_help="An adapter in the form that every program applies alike.")
@options.text_argument(default=".")
@options.output(help="Folder to write.  [default: <source>-normalized, next to the source]")
@making
def command(source: str, out: Path | None, making: Making) -> None:
    """The same updates in PEFT's format, in the one form that every program applies alike: of the adapter in the current
    folder, or at SOURCE.

    One rank for all modules, filled up with zeros; every scale folded into B, lora_alpha = r, no patterns, no rsLoRA.
    What LoRA cannot hold (DoRA, modules_to_save, trained biases and embeddings) is refused by name: fuse it.

    \b
    adapterops normalize my-adapter -o served
    adapterops check served --for vllm
    """
    made = making.changed(source, Output(normalize=True))
    write(made, out or named_after(source, "-normalized"), making.running)
