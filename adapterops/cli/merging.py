"""The options of every command that combines adapters, generated from the registry of methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from adapterops.adapter import Adapter, open_adapter
from adapterops.checkpoint import STOCHASTIC, Checkpoint, open_checkpoint
from adapterops.cli import options
from adapterops.errors import OptionError
from adapterops.methods import METHODS
from adapterops.methods.registry import parameters
from adapterops.methods.spaces import SPACES
from adapterops.operations import algebra
from adapterops.operations.fusion import without_copies
from adapterops.operations.quantization import BLOCK_SIZE, dequantize, quantize, rounding, viewed
from adapterops.storage.place import Place

Command = Callable[..., Any]


def merging(command: Command) -> Command:
    """A flag for each method, an option for each parameter of any, weights, space and base."""
    for option in (
        click.option("--allow-base-mismatch", is_flag=True, help="Merge adapters of different base models."),
        click.option(
            "--space",
            type=click.Choice(list(SPACES)),
            default="delta",
            show_default=True,
            help="Where the method acts: on " + "; ".join(f"{space.help} ({space.name})" for space in SPACES.values()) + ".",
        ),
        click.option("-w", "--weight", "weights", multiple=True, type=float, help="One for each adapter, in their order.  [default: 1]"),
    ):
        command = option(command)
    for name, parameter in reversed(parameters().items()):
        takers = [method for method in METHODS.values() if name in method.defaults]
        kind: Any = click.Choice(parameter.choices) if parameter.choices else (int if parameter.whole else float)
        defaults = {method.defaults[name] for method in takers} - {None}
        shown = "  [default: " + ", ".join(f"{default}" for default in sorted(defaults, key=str)) + "]" if len(defaults) == 1 else ""
        if len(defaults) > 1:
            shown = "  [default: " + ", ".join(f"{method.name} {method.defaults[name]}" for method in takers) + "]"
        command = click.option(f"--{name}", type=kind, help=parameter.help + shown)(command)
    for method in reversed(list(METHODS.values())):
        command = click.option(f"--{method.name.replace('_', '-')}", method.name, is_flag=True, help=method.summary)(command)
    return command


def merged(sources: Sequence[Place], given: dict[str, Any], base: Checkpoint | None = None) -> Adapter:
    """The adapter that the options in `given`, which are taken out of it, make of the sources; `base` is what it will be fused with."""
    named = [method for method in METHODS if given.pop(method)]
    if len(named) > 1:
        raise OptionError(f"{' and '.join('--' + name.replace('_', '-') for name in named)} exclude each other")
    chosen = {name: value for name in parameters() if (value := given.pop(name)) is not None}
    opening = {name: given.pop(name) for name in ("alpha", "allow_nonfinite") if name in given}
    adapters = [open_adapter(source, **opening) for source in sources]
    options.check_alpha(opening.get("alpha"), adapters)
    if base is not None:
        adapters = [without_copies(adapter, base) for adapter in adapters]
    return algebra.merge(
        adapters,
        named[0] if named else "linear",
        weights=given.pop("weights") or None,
        space=given.pop("space"),
        allow_base_mismatch=given.pop("allow_base_mismatch"),
        **chosen,
    )


def opened(path: Place, given: dict[str, Any]) -> Checkpoint:
    """The checkpoint to fuse with, or out of, with the numbers that the options ask for, which are taken out of `given`."""
    allow_pickle, view, original = (given.pop(name) for name in ("allow_pickle", "base_view", "original"))
    checkpoint = open_checkpoint(path, allow_pickle=allow_pickle)
    if view == "original" and original is None:
        raise OptionError("--base-view original needs the model that the base was quantized from", hint="name it with --original")
    if not checkpoint.schemes and (original is not None or view is not None or given["rounding"] is not None):
        raise OptionError("--original, --base-view and --rounding are for a base that is quantized, and this one is not", path=path)
    if original is not None and view != "dequantized" and given["rounding"] is not None:
        raise OptionError("--rounding keeps the codes of the base, and --original finds them anew", path=path, hint="leave one of them out")
    if original is not None and view != "dequantized":
        checkpoint = viewed(checkpoint, open_checkpoint(original, allow_pickle=allow_pickle))
    if checkpoint.schemes and (given["dtype"] or given["quantize"]) and not _same(checkpoint, given):
        checkpoint = dequantize(checkpoint, given["dtype"])
    how = given.pop("rounding")
    if how is None:
        return checkpoint
    if not checkpoint.schemes:
        raise OptionError("--rounding keeps the codes of the base, and --dtype and --quantize ask for others", path=path)
    return rounding(checkpoint, how, rounding_seed(given) or 0 if how == STOCHASTIC else 0)


def rounding_seed(given: dict[str, Any]) -> int | None:
    """The --seed, for rounding by chance; taken out of `given` unless the merge needs it, too."""
    seed: int | None = given["seed"]
    if not any(given[name] and "seed" in method.defaults for name, method in METHODS.items()):
        given["seed"] = None
    return seed


def _same(checkpoint: Checkpoint, given: dict[str, Any]) -> bool:
    """Whether the scheme that is asked for is the one that the base is in: it is kept then, with all its details."""
    details = given["double_quant"] or given["block_size"] is not None
    return not details and {scheme.name for scheme in checkpoint.schemes.values()} == {given["quantize"]}


def coded(model: Checkpoint, given: dict[str, Any]) -> Checkpoint:
    """The model in the scheme that the options ask for, which are taken out of `given`."""
    to, double_quant, block_size = (given.pop(name) for name in ("quantize", "double_quant", "block_size"))
    if to is None:
        if double_quant or block_size is not None:
            raise OptionError("--double-quant and --block-size go with --quantize")
        return model
    if model.schemes:
        return model
    return quantize(model, to, double_quant=double_quant, block_size=BLOCK_SIZE if block_size is None else block_size)
