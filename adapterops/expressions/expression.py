"""The calculator's language: text → what it means; `grammar` has its rules.

Whatever is wrong without looking at an adapter is found here, before any is opened.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from adapterops.errors import OptionError
from adapterops.expressions.formula import Node
from adapterops.expressions.functions import ExpressionError, known
from adapterops.expressions.grammar import LETTERS, NAME, Parser, tokens

LENGTH = 1_000_000
"""Characters of the longest expression: a recipe with other numbers for every layer of a large model is long."""

WINDOW = 100
"""Characters of a line that a message shows."""


@dataclass(frozen=True)
class Expression:
    """What a text means. Equal expressions compute the same; `str` is a text that means the same, with every default in
    it.

    >>> str(parse("a - 2*.5*truncate(b, rank=8) / 4", ["a", "b"]))
    'a - 0.25*truncate(b, rank=8, exact=false)'
    """

    tree: Node
    text: str = field(compare=False)

    def __str__(self) -> str:
        return str(self.tree)


def parse(text: str, names: Collection[str], others: Collection[str] = ()) -> Expression:
    """The expression that a text stands for.

    Args:
        text: in the language above.
        names: those of the adapters at hand; each of them must be in the text.
        others: of adapters that could have been named, for the hint of an error.

    Raises:
        OptionError: the text is not in the language, or asks for something impossible; the message points at the
            column.
    """
    for name in names:
        check_name(name)
    if len(text) > LENGTH:
        raise OptionError(f"the expression has {len(text)} characters, at most {LENGTH} are read", code="E-EXPRESSION")
    try:
        return Expression(Parser(text, names, others).whole(), text)
    except ExpressionError as mistake:
        raise pointing(text, mistake.index, mistake.fact, mistake.hint) from None


def names_in(text: str) -> set[str]:
    """The names in a text that may be those of adapters.

    >>> sorted(names_in("0.7*x + ties(y, z, density=0.2)"))
    ['density', 'x', 'y', 'z']

    Raises:
        OptionError: as `parse` does.
    """
    try:
        return {token.text for token in tokens(text[:LENGTH]) if token.kind == "name"} - {*known()}
    except ExpressionError as mistake:
        raise pointing(text, mistake.index, mistake.fact, mistake.hint) from None


def check_name(name: str) -> None:
    """Raise OptionError for what cannot be the name of an adapter."""
    if not NAME.fullmatch(name):
        raise OptionError(
            f"{name[:80]!r} cannot be the name of an adapter",
            hint=LETTERS,
        )


def pointing(text: str, index: int, fact: str, hint: str | None) -> OptionError:
    """An error that shows the line of `text` that has the character `index`, and a caret under that."""
    begin = text.rfind("\n", 0, index) + 1
    line, at = text[begin:].partition("\n")[0], index - begin
    place = {"line": text.count("\n", 0, begin) + 1, "column": at + 1} if "\n" in text else {"column": at + 1}
    where = ", ".join(f"{name} {number}" for name, number in place.items())
    shown = "".join(character if character.isprintable() else " " for character in line)
    cut = max(0, min(at - WINDOW // 2, len(shown) - WINDOW))
    shown = ("…" if cut else "") + shown[cut + bool(cut) : cut + WINDOW]
    message = f"{fact} ({where})\n  {shown}\n  {' ' * (at - cut)}^"
    return OptionError(message, hint=hint, code="E-EXPRESSION", details={"expression": text, **place})
