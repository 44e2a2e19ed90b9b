"""`adapterops normalize`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.expressions.expression import parse
from adapterops.requests.places import named_after
from adapterops.requests.request import Output, Request


@click.command("normalize", cls=Sectioned, short_help="An adapter in the form that every program applies alike.")
@options.text_argument(default=".")
@options.output(help="Folder to write.  [default: <source>-normalized, next to the source]")
@options.naming
@options.dtype
@options.running
@options.reading
def command(
    source: str,
    out: Path | None,
    base: str | None,
    dtype: str | None,
    running: options.Running,
    alpha: float | None,
    allow_nonfinite: bool,
    allow_pickle: bool,
) -> None:
    """The same updates in PEFT's format, in the one form that every program applies alike: of the adapter in the current
    folder, or at SOURCE.

    One rank for all modules, filled up with zeros; every scale folded into B, lora_alpha = r, no patterns, no rsLoRA.
    What LoRA cannot hold (DoRA, modules_to_save, trained biases and embeddings) is refused by name: fuse it.

    \b
    adapterops normalize my-adapter -o served
    adapterops check served --for vllm
    """
    inputs = options.inputs([source], alpha, allow_nonfinite)
    made = options.based(Output(normalize=True), base, dtype)
    request = Request(inputs, parse("a", inputs), allow_pickle=allow_pickle, **made)
    write(request, out or named_after(source, "-normalized"), running)
