"""The adapters that requests ask for, computed lazily: by an expression, and cut as their output is to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import check_named, name
from adapterops.adapters.planning import working_memory
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import OptionError
from adapterops.expressions.calculator import compute
from adapterops.expressions.formula import Operand
from adapterops.formats.diffusion.spellings import OF_IMAGES
from adapterops.formats.spelling import check_once
from adapterops.operations import truncation
from adapterops.provenance.history import Step, sources
from adapterops.requests.places import Opened
from adapterops.requests.request import Request
from adapterops.updates.layout import DORA, REPLACEMENT

HELD = (DORA, REPLACEMENT)
"""Kinds that depend on their weight, which formats other than that of the adapter may have, too."""

Truncate: TypeAlias = Callable[..., Adapter]


def named(request: Request, opened: Opened) -> Mapping[str, Adapter]:
    """The adapters of which one is made: by the names of the base, where there is one.

    Raises:
        IncompatibleError: without a base, modules may be one under two names.
    """
    assert request.result
    if "base" in opened.models:
        from adapterops.operations.differences import as_differences
        from adapterops.operations.fusion import without_copies
        from adapterops.operations.targets.components import in_components
        from adapterops.operations.uniting import named_alike

        base, inputs = opened.models["base"], request.inputs
        adapters = [in_components(each, base, inputs[name].component) for name, each in opened.adapters.items()]
        form = request.output.format or adapters[0].config.format
        lone = isinstance(request.result.tree, Operand) and not request.output.cut and not request.output.normalize
        copied = lone and form == adapters[0].config.format
        alike = named_alike(without_copies(adapters, base), base, differences=not copied, kept=HELD if lone else ())
        images = form in OF_IMAGES
        alike = [as_differences(each, base, full=images) for each in alike]
        return dict(zip(opened.adapters, alike, strict=True))
    adapters = list(opened.adapters.values())
    if len(adapters) > 1:
        check_named(adapters)
    elif adapters:  # which may be kept as it is
        check_once(adapters[0].layout, name(adapters[0]))
    return opened.adapters


def adapter(request: Request, adapters: Mapping[str, Adapter], truncate: Truncate, how: Execution = DEFAULT) -> Adapter:
    """The result of a request, cut as its output is to be."""
    assert request.result
    output = request.output
    mismatch = request.allow_base_mismatch
    found = compute(request.result, adapters, allow_base_mismatch=mismatch, truncate=truncate, how=how)
    _check_used(request, adapters, found)
    cut = truncate(found, **output.cut, dtype=output.dtype, exact=output.exact, how=how) if output.cut else found
    return formed(cut, request)


def _check_used(request: Request, adapters: Mapping[str, Adapter], found: Adapter) -> None:
    """Raise OptionError for Gram matrices that nothing in the result asks for."""
    read = sources(found.history)
    for label, each in adapters.items():
        if each.grams is not None and each.grams.history not in read:
            raise OptionError(
                f"Gram matrices are given for {request.inputs[label].path}, and nothing in {request.result} asks for them",
                hint="merge with --regmean, or leave them out",
            )


def formed(found: Adapter, request: Request) -> Adapter:
    if not request.output.normalize:
        return found
    from adapterops.operations.normalization import normalize

    return normalize(found)


def measured(
    found: Adapter,
    rank: int | None = None,
    *,
    budget: int | None = None,
    dtype: str | None = None,
    how: Execution = DEFAULT,
    **cut: Any,
) -> Adapter:
    """What `truncation.truncate` makes; where it has to measure first, in the memory that there is."""
    if budget is not None:  # all singular values are measured
        how = how.within(partial(working_memory, bounded(found, budget=budget, **{**cut, "exact": True}), dtype))
    return truncation.truncate(found, rank, budget=budget, dtype=dtype, how=how, **cut)


def bounded(found: Adapter, rank: int | None = None, *, budget: int | None = None, **cut: Any) -> Adapter:
    """The same, without reading a tensor: where a budget decides, the adapter with the ranks that it has at most."""
    if budget is None:
        return truncation.truncate(found, rank, **cut)
    kept = truncation.kept_whole(found.layout)
    layout = {
        module: each if module in kept else replace(each, dense=False, rank=min(each.rank, *each.shape))
        for module, each in found.layout.items()
    }
    parameters = {"budget": budget, "unit": cut["unit"], "exact": cut.get("exact", False)}
    return replace(found, layout=layout, history=Step("truncate", parameters, (found.history,)))
