"""What the functions of an expression take: every registered method, `truncate`, `select`, `drop`, `scale`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn, TypeAlias

from adapterops.errors import OptionError, count
from adapterops.expressions.formula import Call, Node, Product
from adapterops.methods import METHODS
from adapterops.methods.scaling import MEAN, check_scale
from adapterops.methods.settings import settings
from adapterops.operations.truncation import check_cut

EXAMPLES = {
    "truncate": "truncate(a, rank=8)",
    "select": 'select(a, "*.mlp.*")',
    "drop": 'drop(a, {"layers.0-11": "why"})',
    "scale": 'scale(a, {"layers.0-11": 0.3})',
}

MERGES = ("merge", "merged", "combine", "blend", "add", "sum", "mean", "average")
"""What is not called by the name of its method."""

A_METHOD = "a merge has the name of its method: linear(a, b), ties(a, b), ...; adapterops methods lists them"


class ExpressionError(Exception):
    """Something wrong at a place in the text; whoever knows the text makes an error of it."""

    def __init__(self, index: int, fact: str, hint: str | None = None) -> None:
        super().__init__(fact)
        self.index, self.fact, self.hint = index, fact, hint


class Argument(NamedTuple):
    """`name = value`, or a value alone: a node, a number, text, true or false, a list, or a table.
    `start` is where it begins.
    """

    name: str | None
    value: Any
    start: int


def known() -> list[str]:
    """The names of all functions."""
    return [*METHODS, *EXAMPLES]


def example(function: str) -> str:
    return EXAMPLES.get(function, f"{function}(a, b)")


def nearest(name: str, names: Collection[str]) -> str | None:
    """A hint: which of the names was probably meant, or what they are."""
    close = get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(names)}" if names else None


def call(function: str, arguments: Sequence[Argument], index: int) -> Node:
    """What a call in the text at `index` means.

    Raises:
        ExpressionError: there is no such function, or it does not take these arguments.
    """
    if function not in known():
        hint = A_METHOD if function in MERGES else nearest(function, known())
        raise ExpressionError(index, f"there is no function {function!r}", hint)
    meaning = {"truncate": _truncate, "select": _select, "drop": _drop, "scale": _scale}.get(function, _method)
    try:
        return meaning(_Call(function, list(arguments), index))
    except OptionError as error:
        raise ExpressionError(index, f"{function}: {error.message}", error.hint) from None


class _Call:
    """A call as it is written, and the ways to take its arguments."""

    def __init__(self, function: str, arguments: list[Argument], index: int) -> None:
        self.function, self.index = function, index
        self.unnamed = [argument for argument in arguments if argument.name is None]
        self.named = {argument.name: argument for argument in arguments if argument.name is not None}

    def wrong(self, fact: str, at: Argument | None = None) -> NoReturn:
        raise ExpressionError(
            at.start if at else self.index, fact, None if at and at.name else f"such as {example(self.function)}"
        )

    def adapters(self, most: int | None = None) -> tuple[Node, ...]:
        """The first arguments, all or `most` of them."""
        given = self.unnamed[:most]
        for argument in given:
            if not isinstance(argument.value, Node):
                self.wrong(f"expected an adapter, found {_kind(argument.value)}", argument)
        if not given:
            self.wrong(f"{self.function} needs an adapter")
        return tuple(argument.value for argument in given)

    def values(self, checks: Mapping[str, Callable[[Any], str | None]]) -> dict[str, Any]:
        """The arguments with names; a check returns what was expected instead, or nothing."""
        for name, argument in self.named.items():
            if name not in checks:
                hint = nearest(name, list(checks)) or "it takes none"
                raise ExpressionError(argument.start, f"{self.function} has no parameter {name!r}", hint)
            if isinstance(argument.value, Node):
                raise ExpressionError(
                    argument.start, f"{name} is an adapter, expected a value", 'text is written in quotes: "peft"'
                )
            if wrong := checks[name](argument.value):
                self.wrong(wrong, argument)
        return {name: argument.value for name, argument in self.named.items()}


def _method(call: _Call) -> Node:
    method, adapters = METHODS[call.function], call.adapters()

    def parameter(name: str) -> Callable[[Any], str | None]:
        def check(value: Any) -> str | None:
            try:
                method.parameters[name].check(name, value)
            except OptionError as error:
                return error.message
            return None

        return check

    def weights(value: Any) -> str | None:
        if not isinstance(value, list) or not all(map(_is_number, value)):
            return f"weights is {_kind(value)}, expected a list of numbers such as [0.7, 0.3]"
        return (
            None
            if len(value) == len(adapters)
            else f"{count(len(value), 'weight')} for {count(len(adapters), 'adapter')}"
        )

    def space(value: Any) -> str | None:
        return None if value in method.spaces else f"space must be one of {', '.join(method.spaces)}, got {value!r}"

    def scale(value: Any) -> str | None:
        try:
            check_scale(value)
        except OptionError as error:
            return error.message
        return None

    def full(value: Any) -> str | None:
        return None if value == MEAN else f"full must be {MEAN!r}, got {value!r}"

    own = {name: parameter(name) for name in method.defaults}
    values = call.values({"weights": weights, "scale": scale, "space": space, "full": full, **own})
    return Call(call.function, adapters, settings(call.function, len(adapters), **values)[1], call.index)


def _truncate(call: _Call) -> Node:
    adapters = call.adapters(1)
    if len(call.unnamed) > 1:
        call.wrong("truncate takes one adapter, and parameters with names", call.unnamed[1])

    def kind(name: str, expected: str, *types: type) -> Callable[[Any], str | None]:
        return lambda value: None if type(value) in types else f"{name} is {_kind(value)}, expected {expected}"

    values = call.values(
        {
            "rank": kind("rank", "a whole number", int),
            "energy": kind("energy", "a number", int, float),
            "budget": kind("budget", "a whole number", int),
            "unit": kind("unit", "text", str),
            "exact": kind("exact", "true or false", bool),
        }
    )
    exact, unit = values.pop("exact", False), values.pop("unit", "parameters")
    try:
        check_cut(**values, unit=unit)
    except OptionError as error:
        call.wrong(error.message, call.named[next(iter(values))] if len(values) == 1 else None)
    return Call(
        "truncate", adapters, {**values, **({"unit": unit} if "budget" in values else {}), "exact": exact}, call.index
    )


def _select(call: _Call) -> Node:
    call.values({})
    adapters, patterns = call.adapters(1), call.unnamed[1:]
    for argument in patterns:
        if not isinstance(argument.value, str):
            call.wrong(f"expected a pattern in quotes, found {_kind(argument.value)}", argument)
    if not patterns:
        call.wrong("select needs a pattern")
    return Call("select", adapters, {"patterns": [argument.value for argument in patterns]}, call.index)


def _drop(call: _Call) -> Node:
    call.values({})
    (of,) = call.adapters(1)
    given = [argument.value for argument in call.unnamed[1:]]
    if (
        len(given) != 1
        or not isinstance(given[0], dict)
        or not all(isinstance(each, str) for each in given[0].values())
    ):
        call.wrong("drop needs an adapter, and a reason for each pattern")
    return Call("drop", (of,), {"reasons": given[0]}, call.index)


def _scale(call: _Call) -> Node:
    call.values({})
    (of,) = call.adapters(1)
    if len(call.unnamed) != 2:
        call.wrong("scale needs an adapter, and a number or one for each pattern")
    by = call.unnamed[1]
    if _is_number(by.value):
        return times(by.value, of, call.index)
    if not isinstance(by.value, dict) or not by.value or not all(map(_is_number, by.value.values())):
        call.wrong(f"expected a number, or one for each pattern, found {_kind(by.value)}", by)
    return Call("scale", (of,), {"by": {pattern: float(factor) for pattern, factor in by.value.items()}}, call.index)


Number: TypeAlias = int | float


def times(factor: Number, node: Node, index: int) -> Product:
    """factor · node, with one factor where there were several."""
    if isinstance(node, Product):
        return Product(finite(factor * node.factor, index), node.of, index)
    return Product(finite(factor, index), node, index)


def finite(value: Number, index: int) -> float:
    if not abs(value) <= 1e308:
        raise ExpressionError(index, "the number is too large")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if isinstance(value, Node):
        return "an adapter"
    return {bool: str(value).lower(), str: f"the text {value!r}", list: "a list", dict: "a table"}.get(
        type(value), f"the number {value!r}"
    )
