"""`adapterops unfuse`"""

from __future__ import annotations

import warnings
from pathlib import Path

import click

from adapterops.cli import options, values
from adapterops.cli.fusing import fusing
from adapterops.cli.modelling import Modelling
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.errors import AdapterWarning
from adapterops.requests.request import Request
from adapterops.requests.verifying import fusion_of, other_adapters


@click.command("unfuse", cls=Sectioned, short_help="An adapter out of a model again.")
@click.argument("sources", nargs=-1, required=True, metavar="FUSED SOURCES...", type=values.TEXT)
@options.output("unfused")
@fusing(unfuse=True)
def command(out: Path, request: Request, modelling: Modelling) -> None:
    """An adapter out of a model again: W - ΔW, which is the base up to the rounding of both steps.

    Give the adapters, weights and method that `fuse` was given.

    \b
    adapterops unfuse fused my-adapter -o restored
    """
    record = request.base and fusion_of(request.base.path)
    if record and (other := other_adapters(record, request)):
        warnings.warn(f"{request.base.path if request.base else ''}: {other}", AdapterWarning, stacklevel=1)
    write(request, out, modelling.running)
