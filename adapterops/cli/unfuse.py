"""`adapterops unfuse`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adapterops.cli import options, output
from adapterops.cli.merging import coded, merged, merging, opened
from adapterops.operations.fusion import unfuse
from adapterops.storage.place import Place


@click.command("unfuse", short_help="An adapter out of a model again.")
@click.argument("fused", type=options.SOURCE)
@click.argument("sources", nargs=-1, required=True, type=options.SOURCE)
@merging
@options.fusing
@options.output("unfused")
@options.writing
@options.alpha
def command(fused: Place, sources: tuple[Place, ...], out: Path, **rest: Any) -> None:
    """An adapter out of a model again: W - ΔW, which is the base up to the rounding of both steps.

    Give the adapters, weights and method that `fuse` was given.

    \b
    adapterops unfuse fused my-adapter -o restored
    """
    checkpoint = opened(fused, rest)
    model = unfuse(checkpoint, merged(sources, rest), precision=rest.pop("precision"), dtype=rest["dtype"])
    output.write_model(coded(model, rest), out, command=options.command_line(), **rest)
