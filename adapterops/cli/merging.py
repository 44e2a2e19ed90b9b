"""The options of every command that combines adapters, generated from the registry of methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import click

from adapterops.cli.options import group
from adapterops.cli.values import Number, RegisteredName, Weight, Weights
from adapterops.errors import OptionError
from adapterops.expressions.expression import Expression
from adapterops.expressions.formula import Call, Node, Operand
from adapterops.methods import METHODS
from adapterops.methods.registry import Method, Parameter, parameters
from adapterops.methods.scaling import AUTO, MEAN, SUM
from adapterops.methods.settings import SEVERAL, settings, usual
from adapterops.methods.spaces import SPACES
from adapterops.quant.scheme import STOCHASTIC

DEFAULT = "linear"
METHOD = RegisteredName("method", lambda: METHODS)


@dataclass(frozen=True)
class Merge:
    """A method and its parameters, as far as they are given."""

    method: str | None
    weights: tuple[Weight, ...]
    scale: str | None
    space: str | None
    full: str | None
    allow_base_mismatch: bool
    parameters: Mapping[str, Any]

    @property
    def given(self) -> bool:
        """Whether any option is about how adapters are combined; the seed may be that of rounding."""
        return (
            self.method is not None
            or bool(self.weights)
            or self.scale is not None
            or self.space is not None
            or self.full is not None
            or bool(self.parameters.keys() - {"seed"})
        )

    @property
    def from_inputs(self) -> bool:
        """Whether the method is computed from the Gram matrices of what each adapter takes in."""
        return METHODS[self.method or DEFAULT].acts == "inputs"

    def rounding_seed(self, rounding: str | None) -> int | None:
        """The seed of rounding, where that is stochastic."""
        return self.parameters.get("seed", 0) if rounding == STOCHASTIC else None

    def expression(
        self, names: Collection[str], rounding: str | None = None, *, usually: str | None = None
    ) -> Expression:
        """The method applied to adapters. Where rounding is stochastic, a seed need not be one of the method's. `usually`: the
        method where none is named, by default as `usual` says.

        Raises:
            OptionError: the method does not take the parameters, or not so many weights.
        """
        given = (self.weights or None, self.scale, self.space, *(self.parameters.keys() - {"seed"}))
        name = self.method or usually or usual(len(names), False, *given)
        idle = {"seed"} if rounding == STOCHASTIC and "seed" not in METHODS[name].defaults else set()
        parameters = {each: value for each, value in self.parameters.items() if each not in idle}
        weights = [1.0 if isinstance(each, dict) else each for each in self.weights] or None
        method, complete = settings(
            name, len(names), weights=weights, scale=self.scale, space=self.space, full=self.full, **parameters
        )
        tree = Call(method.name, tuple(map(_weighted, names, self.weights or [1.0] * len(names))), complete)
        return Expression(tree, str(tree))


def _weighted(name: str, weight: Weight) -> Node:
    """An adapter, and what its blocks are multiplied by; a number is a parameter of the method."""
    return Call("scale", (Operand(name),), {"by": weight}) if isinstance(weight, dict) else Operand(name)


def _merge(
    method: str | None,
    weights: tuple[tuple[Weight, ...], ...],
    scale: str | None,
    space: str | None,
    full: str | None,
    allow_base_mismatch: bool,
    **given: Any,
) -> Merge:
    flags = [name for name in METHODS if given[name]]
    methods = list(dict.fromkeys([*flags, *([method] if method else [])]))
    if len(methods) > 1:
        both = " and ".join(map(flag, methods))
        raise OptionError(f"{both} exclude each other", hint="a merge has one method: leave the others out")
    chosen = {name: given[name] for name in parameters() if given[name] is not None}
    return Merge(
        methods[0] if methods else None, tuple(chain(*weights)), scale, space, full, allow_base_mismatch, chosen
    )


def flag(name: str) -> str:
    """The option of a method, or of a parameter."""
    return f"--{name.replace('_', '-')}"


def _parameter(name: str, parameter: Parameter) -> Any:
    takers = [method for method in METHODS.values() if name in method.defaults]
    kind: Any = click.Choice(parameter.choices) if parameter.choices else Number(parameter)
    defaults = {method.defaults[name] for method in takers} - {None}
    shown = (
        "  [default: " + ", ".join(f"{default}" for default in sorted(defaults, key=str)) + "]"
        if len(defaults) == 1
        else ""
    )
    if len(defaults) > 1:
        shown = "  [default: " + ", ".join(f"{method.name} {method.defaults[name]}" for method in takers) + "]"
    return click.option(flag(name), name, type=kind, help=parameter.help + shown)


def _defaults(value: Callable[[Method], str]) -> str:
    """What most methods have, and the others."""
    values = {name: value(method) for name, method in METHODS.items()}
    most = values[DEFAULT]
    others: dict[str, list[str]] = {}
    for name, each in values.items():
        if each != most:
            others.setdefault(each, []).append(name)
    return "; ".join([most, *(f"{each} for {', '.join(names)}" for each, names in others.items())])


merging = group(
    "merge",
    _merge,
    click.option(
        "--method",
        type=METHOD,
        metavar="NAME",
        help=f"A method by its name: one of those below, or of another package.  [default: --{DEFAULT}; "
        f"--even, where merge and fuse get {SEVERAL[0]} to {SEVERAL[-1]} adapters and neither weights, a scale, a space nor "
        "parameters]",
    ),
    *(click.option(flag(name), name, is_flag=True, help=method.summary) for name, method in METHODS.items()),
    *(_parameter(name, parameter) for name, parameter in parameters().items()),
    click.option(
        "-w",
        "--weight",
        "weights",
        multiple=True,
        type=Weights(),
        help="One for each adapter, in their order: -w 0.7 -w 0.3, or -w 0.7,0.3; or by block, for one adapter, where other "
        "blocks keep 1: -w double_blocks.0-9=0.3,single_blocks.0-37=0.5.  [default: 1]",
    ),
    click.option(
        "--scale",
        metavar=f"[{AUTO}|{SUM}|{MEAN}|NUMBER]",
        help="What the result is multiplied by. sum: 1; mean: 1 / number of adapters; auto: 1, and less, down to the mean, "
        "in modules whose update is large; or a number.  [default: "
        + _defaults(lambda method: SUM if method.sized else AUTO)
        + "; sum with -w]",
    ),
    click.option(
        "--space",
        type=click.Choice(list(SPACES)),
        help="Where the method acts: on "
        + "; ".join(f"{space.help} ({space.name})" for space in SPACES.values())
        + f".  [default: {_defaults(lambda method: method.spaces[0])}]",
    ),
    click.option(
        "--full",
        type=click.Choice([MEAN]),
        help="Of full tensors (modules_to_save, biases), the mean by the weights.  [default: those that differ are refused]",
    ),
    click.option("--allow-base-mismatch", is_flag=True, help="Merge adapters of different base models."),
)
"""A flag for each method, an option for each parameter of any, weights, space and base, as `merge`."""
