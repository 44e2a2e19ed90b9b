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
from adapterops.formats.models.model_files import holds_model
from adapterops.hub.references import SCHEME
from adapterops.requests.request import Request
from adapterops.requests.verifying import changed_adapters, fusion_of, other_adapters, other_merge


@click.command("unfuse", cls=Sectioned)
@click.argument("sources", nargs=-1, required=True, metavar="FUSED SOURCES...", type=values.TEXT)
@options.output("unfused")
@fusing(unfuse=True)
def command(out: Path, request: Request, modelling: Modelling) -> None:
    """An adapter out of a model again: W - ΔW, which is the base up to the rounding of both steps.

    Give the adapters that `fuse` was given; where no manifest says how they were merged, their weights and method, too.

    \b
    adapterops unfuse fused my-adapter -o restored
    """
    assert request.base is not None
    model = request.base.path
    record = fusion_of(model)
    doubt = None
    if record:
        doubt = (
            other_adapters(record, request) or other_merge(record, request) or changed_adapters(Path(model), request)
        )
    if record is None and not model.startswith(SCHEME) and holds_model(Path(model)):
        doubt = "no manifest says what was fused into it; adapterops diagnose shows whether the adapter is in it"
    if doubt:
        warnings.warn(f"{model}: {doubt}", AdapterWarning, stacklevel=1)
    write(request, out, modelling.running)
