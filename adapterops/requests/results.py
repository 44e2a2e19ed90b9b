"""What a request asks for: the adapter of `adapters`, or the model of `models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterops.adapters.adapter import Adapter
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.formats.diffusion.spellings import OF_IMAGES
from adapterops.requests.adapters import Truncate, adapter, bounded, formed, measured, named
from adapterops.requests.fields import IN_FILES
from adapterops.requests.places import Opened, on_layers
from adapterops.requests.request import EXTRACT, MERGE, Request

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Checkpoint


def result(
    request: Request, opened: Opened, *, planning: bool = False, how: Execution = DEFAULT
) -> Adapter | Checkpoint:
    """The adapter or the model that a request asks for; see `running.make`. What it does not need is not imported."""
    opened = on_layers(request, opened)
    truncate: Truncate = bounded if planning else measured
    if request.kind == MERGE:
        made = adapter(request, named(request, opened), truncate, how)
        of_each_expert = request.output.format == "gguf" and made.config.experts and "base" in opened.models
        if request.output.names != IN_FILES and not of_each_expert:
            return made
        from adapterops.operations.in_files import named_in_files

        return named_in_files(made, opened.models["base"])
    if request.kind == EXTRACT:
        from adapterops.operations.extraction import difference

        assert request.extract
        tuned, base = opened.models["tuned"], opened.models["base"]
        images, rest = request.output.format in OF_IMAGES, request.extract.rest
        change = difference(tuned, base, rest=rest, parameters=images, planning=planning, how=how)
        change = truncate(change, **request.output.cut, exact=request.output.exact, how=how)
        if images:
            from adapterops.operations.differences import as_differences

            change = as_differences(change, base)
        return formed(change, request)
    from adapterops.requests.models import model

    return model(request, opened, truncate, how)
