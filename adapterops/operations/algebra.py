"""Merging: lazy adapters in, a lazy adapter out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import WITH_BASE, Adapter, combined, sum_of
from adapterops.adapters.checks import check_linear, check_needs_no_base, extracted, name, of_base
from adapterops.engine.execution import DEFAULT, Execution, Once
from adapterops.engine.plan import once
from adapterops.errors import IncompatibleError, OptionError, UnsupportedError, at, check_opened
from adapterops.methods.holding import RULES, Holdings, products
from adapterops.methods.registry import Method, find
from adapterops.methods.scaling import AUTO, Scale
from adapterops.methods.settings import reason, settings, usual
from adapterops.methods.spaces import SPACES
from adapterops.operations.grams import file_of, matched
from adapterops.operations.merging import SHORT, Merging, here
from adapterops.operations.strangers import strangers
from adapterops.provenance.history import Step, key
from adapterops.storage.lazy import Lazy
from adapterops.storage.shapes import Shape
from adapterops.updates.layout import DIFFERENCE, LORA, PRODUCTS, Layout

if TYPE_CHECKING:
    from adapterops.adapters.grams import Grams
    from adapterops.updates.protocol import Array, Linear


GRAM = 28
"""Bytes for each entry of a Gram matrix: one in float32, their sum, and what solving with it copies."""
OWN = 5
"""Matrices in float64 that a method on these keeps, besides the updates: three for an SVD, the sum, and the result."""


def merge(
    adapters: Sequence[Adapter],
    method: str | None = None,
    *,
    weights: Sequence[float] | None = None,
    scale: Scale | None = None,
    space: str | None = None,
    full: str | None = None,
    allow_base_mismatch: bool = False,
    how: Execution = DEFAULT,
    **parameters: Any,
) -> Adapter:
    """One adapter of several, by a method of the registry. A module that an adapter lacks counts as zero.

    Args:
        adapters: at least one.
        method: a name in `METHODS`; by default as `usual` says.
        weights: one for each adapter, by default 1.
        scale: what the result is multiplied by: a number, `sum` (1), `mean` (1 / number of adapters), or `auto`: in
            each module 1, or less where its norm would be more than √2 times the root mean square of those of its
            inputs, or more than `Method.borne` sqrt(out) and that of the mean. By default `auto`; 1 where weights are
            given, for one adapter, where another tool's answer is reproduced, and for methods whose answer has a size
            of its own.
        space: where the method acts: `delta`, the entries of ΔW = BA; `core`, the joint core of the updates, which does
            not depend on how they are factored; `knots`, the singular vectors that they share; or `factors`, the A's
            and B's separately, which reproduces PEFT: ranks must be equal, and the result has cross terms. By default
            the first of the method's.
        full: what becomes of full tensors (modules_to_save, biases), which take the place of the base's: by default those
            that all adapters have alike stay, and others are refused; `mean` is Σ wᵢ Tᵢ / Σ wᵢ of each, which all must have.
        parameters: those of the method; see `adapterops methods`. What `regmean` knows of inputs are the adapters' `grams`.

    Returns:
        For linear methods the exact sum, of rank Σ rᵢ or that of the matrix; in core and knots space an update of that rank, too;
        for methods on the entries of ΔW one of full rank, computed tile by tile, which `truncate` or saving
        approximates with rank Σ rᵢ. Of task vectors of whole models, spectral methods merge the weights of Linear layers;
        of every other tensor the result is the weighted mean, times a scale that is a number.

    Raises:
        OptionError: a parameter is impossible, the number of weights is wrong, or an adapter lacks Gram matrices.
        IncompatibleError: the adapters share no module, or differ in base or shapes; or Gram matrices do not fit them.
    """
    adapters = _opened(adapters)
    vectors = all(adapter.task_vector for adapter in adapters)
    if method is None:
        method = usual(len(adapters), vectors, weights, scale, space, *parameters.values())
    chosen, options = settings(
        method, len(adapters), weights=weights, scale=scale, space=space, full=full, **parameters
    )
    weights, space = options["weights"], options["space"]
    _check_mergeable(adapters, chosen, weights, space)
    given = [_grams(adapter, chosen) for adapter in adapters] if chosen.acts == "inputs" else []
    _check_owners(given, adapters)
    read = (*(a.history for a in adapters), *(each.history for each in given))
    why = reason(chosen.name, len(adapters), vectors, options)
    step = Step("merge", {"method": chosen.name, **options}, read, why=why)
    means = weights if options.pop("full", None) else None
    total = combined(adapters, step, sum_of, allow_base_mismatch=allow_base_mismatch, means=means)
    _check_overlap(adapters)
    if total.task_vector:
        chosen = replace(chosen, adds=False)  # no difference of models has a lower rank
    layout = {module: _layout(adapters, module, chosen, options, total.layout[module]) for module in total.layout}
    widths = {module: each.shape[1] for module, each in layout.items()}

    def shared(name: str, shape: Shape, measure: Callable[[], Any]) -> Any:
        shapes = [{module: each.shape for module, each in adapter.layout.items()} for adapter in adapters]
        return once(shape, measure, step, shapes, name, how=how)

    merging = Merging(
        adapters,
        chosen,
        [_named(each, widths, adapter) for each, adapter in zip(given, adapters, strict=False)],
        layout,
        shared,
        **options,
    )

    def compute(module: str) -> Linear:
        with at(tensor=module):
            return merging.made(module)

    holdings = _compared(merging, adapters, chosen, options, layout, shared) if len(adapters) > 1 else None
    history = replace(step, multipliers=merging.multipliers, holdings=holdings)
    return replace(total, updates=Lazy(layout, compute), layout=layout, history=history)


def _opened(adapters: Sequence[Adapter]) -> tuple[Adapter, ...]:
    if isinstance(adapters, Adapter):
        raise OptionError("merge takes a list of adapters, and got one adapter", hint='ao.merge([a, b], "ties")')
    for adapter in adapters:
        check_opened(adapter, Adapter, "open_adapter")
    return tuple(adapters)


def _check_mergeable(adapters: Sequence[Adapter], method: Method, weights: Sequence[float], space: str) -> None:
    """Raise for updates that depend on the weight, where that is not known."""
    for adapter, weight in zip(adapters, weights, strict=True):
        if weight != 1 and len(adapters) == 1:  # what several share is not scaled
            check_linear(adapter, "scaled")
        if method.acts != "updates" or space != "delta":
            what = "merged by its entries or factors"
            check_needs_no_base(adapter, what, WITH_BASE if len(adapters) > 1 else of_base(what))


def _compared(
    merging: Merging,
    adapters: Sequence[Adapter],
    method: Method,
    options: Mapping[str, Any],
    layout: Mapping[str, Layout],
    shared: Once,
) -> Holdings:
    """What modules of a merge hold of those that it is of; and of what each of `RULES` makes of them, where it may make an
    adapter of these: of factors, none of which has a weight of its own.
    """
    usual = options["space"] == method.spaces[0] and options["scale"] == AUTO and set(options["weights"]) == {1.0}
    factors = all(each.matrix and not each.dense for each in layout.values())
    if method.name not in RULES or not usual or not factors or merging.effort(layout, len(RULES)) > SHORT:
        return merging.holdings
    plain = {"weights": options["weights"], "scale": AUTO}
    rules = [
        Merging(adapters, each, [], layout, shared, space=each.spaces[0], **plain, **each.defaults)
        if each.name != method.name
        else merging
        for each in map(find, RULES)
    ]
    return replace(merging.holdings, rules=lambda module: products([each.update(module) for each in rules]))


def _grams(adapter: Adapter, method: Method) -> Grams:
    if adapter.task_vector:
        raise UnsupportedError(
            f"is a tuned model: its difference from the base has no factors of low rank, which {method.name} is computed from",
            path=name(adapter),
            hint=f"make LoRA of it first, {_of_model(adapter)}; or use --linear, --tsv or --ties, which need no factors",
        )
    if adapter.grams is None:
        raise OptionError(
            f"{method.name} needs the Gram matrices of the inputs of every adapter, and {name(adapter)} has none",
            hint="give a file for each adapter, in their order: adapterops merge A B --regmean --grams FILE --grams FILE; "
            "adapterops gram makes them",
        )
    return adapter.grams


def _check_owners(given: Sequence[Grams], adapters: Sequence[Adapter]) -> None:
    """Raise IncompatibleError where the matrices given for an adapter are those that were made with another one of these."""
    if not any(each.adapter for each in given):
        return
    keys = [key(adapter.history) for adapter in adapters]
    for grams, adapter, own in zip(given, adapters, keys, strict=True):
        if grams.adapter != own and grams.adapter in keys:
            raise IncompatibleError(
                f"has the inputs of {name(adapters[keys.index(grams.adapter)])}, and is given for {name(adapter)}",
                path=file_of(grams.history),
                hint="give each adapter its own file, --grams FILE --grams FILE, in the order of the adapters",
                code="E-GRAM",
            )


def _named(grams: Grams, widths: Mapping[str, int], adapter: Adapter) -> Mapping[str, Array]:
    """The matrices by the modules of a merge.

    Raises:
        IncompatibleError: a module has none, or one of another shape.
    """
    found = matched(grams.shapes, widths, grams.history)
    for module in widths:
        if module not in found and module in adapter.layout:
            raise IncompatibleError(
                f"has no Gram matrix there, and {name(adapter)} adapts it",
                path=file_of(grams.history),
                tensor=module,
                hint="give each adapter its own file, in the order of the adapters: "
                f"adapterops gram MODEL TEXTS --adapter {shlex.quote(name(adapter))} -o grams.safetensors",
                code="E-NAMES",
            )
        if module not in found:
            raise IncompatibleError(
                f"has no Gram matrix there, and {name(adapter)}, which lacks the module, counts as zero on its own inputs",
                path=file_of(grams.history),
                tensor=module,
                hint="make the file of all layers, with adapterops gram and no --adapter; or merge the others, with select",
                code="E-NAMES",
            )
    return Lazy(found, lambda module: grams.matrices[found[module]])


def _layout(
    adapters: Sequence[Adapter], module: str, method: Method, options: Mapping[str, Any], total: Layout
) -> Layout:
    inputs = [adapter.layout[module] for adapter in adapters if module in adapter.layout]
    method, space = here(method, SPACES[options["space"]], inputs)
    if total.matrix and (space.by_factors or method.acts == "inputs"):
        _check_factors(adapters, module)
    with at(tensor=module):
        layout = space.layout(method, inputs, total)
    if method.acts == "matrices" and total.matrix and layout.dense:
        layout = replace(layout, working=(len(adapters) + OWN) * 8 * layout.entries)
    if method.acts == "inputs":
        layout = replace(layout, working=GRAM * layout.shape[1] ** 2)
    if method.rank is None:
        return layout
    return replace(layout, rank=min(layout.rank, method.rank(options, [each.rank for each in inputs])))


def _check_factors(adapters: Sequence[Adapter], module: str) -> None:
    """Raise UnsupportedError for an update without factors, which the method or its space is computed from."""
    for adapter in adapters:
        layout = adapter.layout.get(module)
        if layout is not None and layout.dense:
            which = (
                "was computed, and has no exact" if layout.kind in (LORA, *PRODUCTS) else f"is {layout.kind} and has no"
            )
            raise UnsupportedError(
                f"{which} factors of low rank, which this merge is computed from",
                path=name(adapter),
                tensor=module,
                hint=f"{_factored(adapter, layout)}; or use a method that needs none, such as --tsv or --ties",
            )


def _factored(adapter: Adapter, layout: Layout) -> str:
    """How an update gets factors."""
    source = shlex.quote(name(adapter))
    if layout.vector:
        return f"leave vectors out, adapterops calc \"drop(a, {{'*.bias': 'why'}})\" a={source} -o rest"
    if adapter.task_vector:
        return f"make LoRA of it first, {_of_model(adapter)}"
    if isinstance(adapter.history, Step):
        return "cut it to a rank in the expression, such as truncate(ties(a, b), rank=32)"
    if layout.kind == DIFFERENCE:
        return f"make LoRA of it first, {extracted(adapter)}"
    return f"make LoRA of it first, adapterops truncate {source} --rank 32 -o lora"


def _of_model(tuned: Adapter) -> str:
    """How LoRA is made of a tuned model."""
    return f"adapterops extract {shlex.quote(name(tuned))} --base BASE --rank 32 -o lora"


def _check_overlap(adapters: Sequence[Adapter]) -> None:
    """Adapters that share no module are added, and not merged: whoever merges them probably means others, unless a base
    shows that it has the modules of each.
    """
    if all(adapter.config.settled for adapter in adapters):
        return
    for place in strangers([adapter.layout for adapter in adapters]):
        adapter, first = adapters[place], next(each for each in adapters if each.layout)
        mine, other = next(iter(adapter.layout)), next(iter(first.layout))
        raise IncompatibleError(
            f"0 of {len(adapter.layout)} modules overlap with those of {name(first)}: {mine!r} here, {other!r} there",
            path=name(adapter),
            hint="if they adapt different modules of one model, add them: "
            f'adapterops calc "a + b" a={shlex.quote(name(first))} b={shlex.quote(name(adapter))}; or name the model with --base',
            code="E-OVERLAP",
        )


def total(adapters: Sequence[Adapter], *, allow_base_mismatch: bool = False) -> Adapter:
    """The sum of adapters, however many and whatever modules they have, of rank Σ rᵢ or that of the matrix."""
    step = Step("add", {}, tuple(adapter.history for adapter in adapters))
    summed = combined(adapters, step, sum_of, allow_base_mismatch=allow_base_mismatch)
    layout = {module: replace(each, rank=min(each.rank, *each.shape)) for module, each in summed.layout.items()}
    return replace(summed, layout=layout)
