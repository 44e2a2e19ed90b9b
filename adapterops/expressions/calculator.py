"""Expressions of adapters, evaluated: lazy adapters in, a lazy adapter out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from adapterops.adapters.adapter import Adapter
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import OptionError
from adapterops.expressions.expression import Expression, parse, pointing
from adapterops.expressions.formula import Call, Node, Operand, Product, Total
from adapterops.operations import algebra, selection, truncation


def evaluate(expression: str, /, *, allow_base_mismatch: bool = False, **adapters: Adapter) -> Adapter:
    """The adapter that an expression of named adapters stands for, such as `evaluate("0.7*a - ties(b, c, density=0.2)",
    a=a, b=b, c=c)`.

    Names, numbers, `+ - * /`, parentheses; every registered method with its parameters, `weights` and `space`;
    `truncate(a, rank=8)`; `select(a, "*.mlp.*")`; `drop(a, {"layers.0": "why"})`; `scale(a, {"layers.0-11": 0.3})`.

    Raises:
        OptionError: the expression is wrong; the message points at the column.
        IncompatibleError: the adapters do not fit together.

    Cost: lazy, except for `truncate` to a budget.
    """
    return compute(parse(expression, adapters), adapters, allow_base_mismatch=allow_base_mismatch)


def compute(
    expression: Expression,
    adapters: Mapping[str, Adapter],
    *,
    allow_base_mismatch: bool = False,
    truncate: Callable[..., Adapter] = truncation.truncate,
    how: Execution = DEFAULT,
) -> Adapter:
    """The adapter that an expression stands for, by the adapters that its names stand for;
    `truncate` cuts where it says so.
    """
    for name, adapter in adapters.items():
        if not isinstance(adapter, Adapter):
            raise OptionError(
                f"{name} is a {type(adapter).__name__}, expected an adapter", hint="open it first: open_adapter(path)"
            )

    def value(node: Node) -> Adapter:
        if isinstance(node, Operand):
            return adapters[node.name]
        if isinstance(node, Product):
            return node.factor * value(node.of)
        if isinstance(node, Total):
            return algebra.total([value(term) for term in node.terms], allow_base_mismatch=allow_base_mismatch)
        of = [value(inner) for inner in node.adapters]
        try:
            return called(node, of)
        except OptionError as error:
            if error.details is None and node.index is not None:
                raise pointing(expression.text, node.index, f"{node.function}: {error.message}", error.hint) from None
            raise

    def called(node: Call, of: list[Adapter]) -> Adapter:
        if node.function == "truncate":
            return truncate(of[0], **node.parameters, how=how)
        if node.function == "select":
            return selection.select(of[0], *node.parameters["patterns"])
        if node.function == "drop":
            return selection.drop(of[0], node.parameters["reasons"])
        if node.function == "scale":
            return selection.scale(of[0], node.parameters["by"])
        return algebra.merge(of, node.function, allow_base_mismatch=allow_base_mismatch, how=how, **node.parameters)

    return value(expression.tree)
