"""What `fuse` and `unfuse` are asked to do: one request, from the same options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from shlex import join
from typing import Any

import click

from adapterops.cli import options
from adapterops.cli.making import divided, inputs, named
from adapterops.cli.merging import DEFAULT, Merge, merging
from adapterops.cli.modelling import Modelling, View, quantizing, scheme, viewing
from adapterops.cli.values import TEXT
from adapterops.errors import OptionError
from adapterops.expressions.expression import Expression
from adapterops.formats.adapter_files import CONFIG
from adapterops.operations.fusion import PRECISIONS
from adapterops.operations.tensor_types import typed
from adapterops.quant.scheme import CALIBRATED
from adapterops.requests.fields import Input, Model, Quantize
from adapterops.requests.request import Request

OPTIONS = (
    merging,
    viewing,
    scheme("--quantize", help="Write the result in 4 or 8 bits."),
    click.option("--accept-loss", is_flag=True, help="Write the model even if codes keep less than 90 % of an update."),
    click.option(
        "--tensor-type",
        "tensor_types",
        multiple=True,
        type=TEXT,
        metavar="NAME=TYPE",
        help="Of a GGUF model: tensors with NAME, a regular expression, in their names are written in Q8_0, Q6_K, Q5_K, Q4_K, Q3_K, Q2_K, "
        "IQ4_XS, IQ4_NL, Q5_1, Q5_0, Q4_1, Q4_0, F16, BF16 or F32. TYPE alone: adapted tensors whose own type takes no other numbers.",
    ),
    quantizing,
    options.dtype,
    options.alpha,
    options.component,
)


def checked(tensor_types: Sequence[str]) -> tuple[str, ...]:
    """What was typed, each of which is a type, or a pattern and a type."""
    for each in tensor_types:
        typed(each)
    return tuple(tensor_types)


def _sides(sources: Sequence[str], base: str | None, tuned: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The model, which is the first of the sources where no option names it; and what is merged: adapters or tuned models.

    Raises:
        UsageError: one of the two is missing.
        OptionError: there are adapters and tuned models.
    """
    if base is None and not sources:
        raise click.UsageError("the model is missing: adapterops fuse BASE ...", click.get_current_context())
    model, adapters = (sources[0], sources[1:]) if base is None else (base, sources)
    if not adapters and not tuned:
        missing = f"an adapter is missing: {model} stands where the model is expected"
        if base is None and (Path(model) / CONFIG).exists():
            missing = f"the model is missing: {model} is an adapter, and the model is named before it"
        raise click.UsageError(missing, click.get_current_context())
    if adapters and tuned:
        command = ["adapterops", "fuse", str(model), str(adapters[0]), "-o", "fused"]
        raise OptionError(
            f"{adapters[0]} is an adapter, and {tuned[0]} a tuned model: one merge takes models or adapters",
            hint=f"fuse the adapter first, with {join(command)}, and merge --tuned fused",
        )
    return model, tuned or adapters


def _as_fused(model: str, adapters: Mapping[str, Input]) -> Expression | None:
    """How the adapters were merged that were fused into a model, as its manifest says."""
    from adapterops.requests.verifying import as_fused, fusion_of  # which take long to import

    return as_fused(fusion_of(model), adapters)


def fusing(*, unfuse: bool) -> Callable[[Any], Any]:
    """Options of the commands that add updates to a checkpoint, which get a `request`; and `modelling`."""

    def decorate(command: Any) -> Any:
        @wraps(command)
        def requested(
            sources: Sequence[str],
            merge: Merge,
            view: View,
            quantize: Quantize | None,
            accept_loss: bool,
            modelling: Modelling,
            dtype: str | None,
            tensor_types: tuple[str, ...],
            alpha: float | None,
            components: tuple[str, ...],
            base: str | None = None,
            tuned: Sequence[str] = (),
            **rest: Any,
        ) -> Any:
            model, merged = _sides(sources, base, tuned)
            named_inputs = inputs(named(merged), alpha, components=components, tuned=bool(tuned))
            named_inputs, grams = divided(
                named_inputs, view.grams, asked=merge.from_inputs, calibrated=view.rounding == CALIBRATED
            )
            known = _as_fused(model, named_inputs) if unfuse and not merge.given else None
            request = Request(
                named_inputs,
                known or merge.expression(named_inputs, view.rounding, usually=DEFAULT if tuned or unfuse else None),
                merge.allow_base_mismatch,
                base=Model(model),
                unfuse=unfuse,
                original=view.original,
                base_view=view.base_view,
                rounding=view.rounding,
                seed=merge.rounding_seed(view.rounding),
                grams=grams,
                precision=view.precision or PRECISIONS[0],
                quantize=quantize,
                accept_loss=accept_loss,
                allow_pickle=modelling.allow_pickle,
                output=replace(modelling.output(dtype), tensor_types=checked(tensor_types)),
            )
            return command(request=request, modelling=modelling, **rest)

        decorated: Any = requested
        for option in reversed(OPTIONS):
            decorated = option(decorated)
        return decorated

    return decorate
