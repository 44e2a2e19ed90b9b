"""What an expression means: a tree of adapters, in which every default is explicit.
`str` of it is an expression that means the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Operand:
    """An adapter by its name. `index` is where in the text a node came from."""

    name: str
    index: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Product:
    """factor · of"""

    factor: float
    of: Node
    index: int = field(default=0, compare=False)

    def __str__(self) -> str:
        factor = "-" if self.factor == -1 else f"{self.factor!r}*"
        return factor + (f"({self.of})" if isinstance(self.of, Total) else str(self.of))


@dataclass(frozen=True)
class Total:
    """Σ terms, two at least"""

    terms: tuple[Node, ...]
    index: int = field(default=0, compare=False)

    def __str__(self) -> str:
        first, *rest = (f"({term})" if isinstance(term, Total) else str(term) for term in self.terms)
        return first + "".join(f" - {term[1:]}" if term.startswith("-") else f" + {term}" for term in rest)


@dataclass(frozen=True)
class Call:
    """A function of adapters, with all its parameters; those of `select`, `drop` and `scale` have no names in the text.
    `index` is None where nobody wrote a text.
    """

    function: str
    adapters: tuple[Node, ...]
    parameters: Mapping[str, Any]
    index: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        named = {name: value for name, value in self.parameters.items() if value is not None}
        if self.function == "select":
            given = [literal(pattern) for pattern in named["patterns"]]
        elif self.function == "drop":
            given = [literal(named["reasons"])]
        elif self.function == "scale":
            given = [literal(named["by"])]
        else:
            given = [f"{name}={literal(value)}" for name, value in named.items()]
        return f"{self.function}({', '.join([*map(str, self.adapters), *given])})"


Node: TypeAlias = Operand | Product | Total | Call

SUMS = ("linear", "cat")
"""Methods whose answer for one adapter is that adapter."""


def untouched(node: Node) -> bool:
    """Whether it is one adapter, or modules of it, whose updates are what they were.

    >>> untouched(Call("linear", (Operand("a"),), {"weights": [1.0], "scale": "sum"})), untouched(Product(0.5, Operand("a")))
    (True, False)
    """
    if isinstance(node, Call) and len(node.adapters) == 1:
        same = node.parameters.get("weights") == [1.0] and isinstance(node.parameters.get("scale"), str)
        return (node.function in ("select", "drop") or (node.function in SUMS and same)) and untouched(node.adapters[0])
    return isinstance(node, Operand)


def literal(value: Any) -> str:
    """A value as it is written in an expression.

    >>> print(literal({"a.q": 0.5, 'the "b"': True}))
    {"a.q": 0.5, 'the "b"': true}
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'" if '"' in value else f'"{value}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(key)}: {literal(inner)}" for key, inner in value.items()) + "}"
    return "[" + ", ".join(map(literal, value)) + "]" if isinstance(value, list) else repr(value)
