"""`adapterops normalize`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options
from adapterops.cli.making import Making, making
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.requests.fields import NAMES, Output
from adapterops.requests.places import named_after


@click.command("normalize", cls=Sectioned)
@options.text_argument(default=".")
@options.output(help="Folder to write.  [default: <source>-normalized, next to the source]")
@click.option(
    "--names",
    type=click.Choice(NAMES),
    help="With --base: module names as the model in memory has them (model), for PEFT, or as its files have them (files), for "
    "programs that serve adapters: experts that are fused in memory are then named one by one.  [default: model]",
)
@making
def command(source: str, out: Path | None, names: str | None, making: Making) -> None:
    """The same updates in PEFT's format, in the one form that every program applies alike: of the adapter in the current
    folder, or at SOURCE.

    One rank for all modules, filled up with zeros; every scale folded into B, lora_alpha = r, no patterns, no rsLoRA.
    What LoRA cannot hold (modules_to_save, trained biases and embeddings, and DoRA without --base) is refused by name: fuse it.
    With --base, DoRA becomes the LoRA nearest to what it changes, and how near is printed.

    \b
    adapterops normalize my-adapter -o served
    adapterops check served --for vllm
    adapterops normalize moe-adapter --base moe --names files -o served
    """
    made = making.changed(source, Output(normalize=True, names=names))
    write(made, out or named_after(source, "-normalized"), making.running)
