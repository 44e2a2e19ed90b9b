"""The calculator's language: tokens → the tree that they mean.

    sum      = product {("+" | "-") product}
    product  = signed {("*" | "/") signed}
    signed   = {"+" | "-"} (NUMBER | NAME | call | "(" sum ")")
    call     = NAME "(" [argument {"," argument}] ")"
    argument = [NAME "="] value
    value    = sum | TEXT | "true" | "false" | "[" value {"," value} "]" | "{" TEXT ":" value {"," TEXT ":" value} "}"

Numbers are worked out while reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn

from adapterops.expressions.formula import Node, Operand, Total
from adapterops.expressions.functions import (
    Argument,
    ExpressionError,
    Number,
    call,
    example,
    finite,
    known,
    nearest,
    times,
)
from adapterops.regex import Regex

DEPTH = 50
"""How deep brackets may be nested."""

LETTERS = "use letters from a to z, digits and _, no digit first, and not true or false"
NAME = Regex(r"(?!(?:true|false)$)[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
TOKEN = Regex(
    r"""(?P<space>\s+) | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?) | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<text>"[^"\n]*"|'[^'\n]*') | (?P<sign>[-+*/()\[\]{},:=])""",
    re.ASCII | re.VERBOSE,
)
MEANT = {"−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "÷": "/", "“": '"', "”": '"', "‘": "'", "’": "'", ";": ","}
"""What word processors make of signs."""


class Token(NamedTuple):
    kind: str
    text: str
    start: int

    def __str__(self) -> str:
        plain = self.kind == "text" and self.text.isprintable()
        return "the end" if self.kind == "end" else self.text if plain else repr(self.text)


def tokens(text: str) -> Iterator[Token]:
    index = 0
    while index < len(text):
        match = TOKEN.match(text, index)
        if match is None:
            character = text[index]
            if character in "\"'":
                raise ExpressionError(
                    index, "the text that begins here has no end", f"close it with {character} on the same line"
                )
            hint = f"did you mean {MEANT[character]} ?" if character in MEANT else None
            if character == "%":
                hint = "write a fraction: 20 % is 0.2"
            elif character.isalpha():
                hint = f"names: {LETTERS}"
            raise ExpressionError(index, f"{character!r} has no meaning here", hint)
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), match[0], index)
        index = match.end()
    yield Token("end", "", len(text.rstrip()))


class Parser:
    """Reads tokens from left to right. Each method reads one rule of the grammar, and leaves what comes after it."""

    def __init__(self, text: str, names: Collection[str], others: Collection[str] = ()) -> None:
        self._names, self._others = names, others
        self._tokens = list(tokens(text))
        self._next = self._depth = 0
        self._used: set[str] = set()

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _accept(self, *signs: str) -> Token | None:
        return self._take() if self._token.kind == "sign" and self._token.text in signs else None

    def _unexpected(self, expected: str) -> NoReturn:
        token = self._token
        hint = None
        if "operator" in expected and (token.kind in ("name", "number") or token.text == "("):
            hint = "write * between factors"
        elif token.text == "," and self._next and self._tokens[self._next - 1].kind == "number":
            hint = "decimals have a point: 0.7"
        raise ExpressionError(token.start, f"expected {expected}, found {token}", hint)

    def whole(self) -> Node:
        value = self._sum()
        if self._token.kind != "end":
            self._unexpected("an operator or the end")
        if isinstance(value, Number):
            raise ExpressionError(0, f"this is the number {value:g}, expected an adapter", nearest("", self._names))
        unused = [name for name in self._names if name not in self._used]
        if unused:
            raise ExpressionError(
                0,
                f"{' and '.join(unused)} {'is' if len(unused) == 1 else 'are'} given and not used",
                "use it, or leave it out",
            )
        return value

    def _sum(self) -> Node | Number:
        begin = self._token.start
        total = self._product()
        terms = [total]
        while operator := self._accept("+", "-"):
            term = self._product()
            if isinstance(term, Number) != isinstance(total, Number):
                raise ExpressionError(
                    operator.start, "a number and an adapter cannot be added", "numbers scale adapters: 0.7*a + 0.3*b"
                )
            if operator.text == "-":
                term = _times(-1, term, operator.start)
            terms.append(term)
            if isinstance(total, Number) and isinstance(term, Number):
                total += term
                finite(total, operator.start)
        if isinstance(total, Number) or len(terms) == 1:
            return total
        return Total(tuple(term for term in terms if not isinstance(term, Number)), begin)

    def _product(self) -> Node | Number:
        value = self._signed()
        while operator := self._accept("*", "/"):
            other = self._signed()
            if operator.text == "/":
                value = _divided(value, other, operator.start)
            elif isinstance(value, Number):
                value = _times(value, other, operator.start)
            elif isinstance(other, Number):
                value = times(other, value, operator.start)
            else:
                raise ExpressionError(
                    operator.start,
                    "adapters can be added, and not multiplied",
                    "one of the factors has to be a number: 0.5*a",
                )
        return value

    def _signed(self) -> Node | Number:
        negative, begin = False, self._token.start
        while sign := self._accept("+", "-"):
            negative ^= sign.text == "-"
        value = self._atom()
        return _times(-1, value, begin) if negative else value

    def _atom(self) -> Node | Number:
        token = self._token
        if token.kind == "number":
            return _number(self._take())
        if token.kind == "name" and NAME.fullmatch(token.text):
            return self._call(self._take()) if self._tokens[self._next + 1].text == "(" else self._input(self._take())
        if not self._accept("("):
            self._unexpected("an adapter, a number or '('")
        value: Node | Number = self._nested(token.start, self._sum)
        if not self._accept(")"):
            self._unexpected("an operator or ')'")
        return value

    def _input(self, token: Token) -> Operand:
        if token.text in self._names:
            self._used.add(token.text)
            return Operand(token.text, token.start)
        if token.text in known():
            raise ExpressionError(token.start, f"{token.text} is a function", f"such as {example(token.text)}")
        near = [*self._names, *self._others, *(known() if get_close_matches(token.text, known()) else ())]
        raise ExpressionError(token.start, f"there is no adapter named {token.text!r}", nearest(token.text, near))

    def _call(self, name: Token) -> Node:
        self._take()
        arguments: list[Argument] = self._nested(name.start, lambda: list(self._items(")", self._argument)))
        seen: set[str] = set()
        for argument in arguments:
            if argument.name in seen:
                raise ExpressionError(argument.start, f"{argument.name} is given twice")
            if argument.name is None and seen:
                raise ExpressionError(argument.start, "adapters come before parameters")
            seen |= {argument.name} if argument.name else set()
        if name.text in self._names and name.text not in known():
            raise ExpressionError(
                name.start, f"{name.text} is an adapter, not a function", f"did you mean {name.text} * (...)?"
            )
        return call(name.text, arguments, name.start)

    def _items(self, end: str, rule: Callable[[], Any]) -> Iterator[Any]:
        """What is between brackets; a comma after the last one does no harm."""
        while not self._accept(end):
            yield rule()
            if not self._accept(",") and self._token.text != end:
                self._unexpected(f"',' or {end!r}")

    def _nested(self, index: int, rule: Callable[[], Any]) -> Any:
        self._depth += 1
        if self._depth > DEPTH:
            raise ExpressionError(index, f"brackets are nested more than {DEPTH} deep")
        value = rule()
        self._depth -= 1
        return value

    def _argument(self) -> Argument:
        token = self._token
        named = token.kind == "name" and self._tokens[self._next + 1].text == "="
        if named:
            self._next += 2
            word = self._token
            if (
                word.kind == "name"
                and NAME.fullmatch(word.text)
                and word.text not in self._names
                and self._tokens[self._next + 1].text in ",)"
            ):
                raise ExpressionError(
                    word.start, f"{word} is not a value", f'text is written in quotes: {token.text}="{word.text}"'
                )
        return Argument(token.text if named else None, self._value(), token.start)

    def _value(self) -> Any:
        token = self._token
        if token.kind == "text":
            return self._take().text[1:-1]
        if token.text in ("true", "false"):
            return self._take().text == "true"
        if self._accept("["):
            return self._nested(token.start, lambda: list(self._items("]", self._value)))
        if self._accept("{"):
            table: dict[str, Any] = {}
            self._nested(token.start, lambda: list(self._items("}", lambda: self._entry(table))))
            return table
        return self._sum()

    def _entry(self, table: dict[str, Any]) -> None:
        token = self._token
        if token.kind != "text":
            self._unexpected("a pattern in quotes")
        if token.text[1:-1] in table:
            raise ExpressionError(token.start, f"{token} is given twice")
        self._take()
        if not self._accept(":"):
            self._unexpected("':'")
        table[token.text[1:-1]] = self._value()


def _number(token: Token) -> Number:
    whole = token.text.isdigit() and len(token.text) < 20
    return int(token.text) if whole else finite(float(token.text), token.start)


def _times(factor: Number, value: Node | Number, index: int) -> Node | Number:
    if not isinstance(value, Number):
        return times(factor, value, index)
    finite(factor * value, index)
    return factor * value


def _divided(value: Node | Number, by: Node | Number, index: int) -> Node | Number:
    if not isinstance(by, Number):
        raise ExpressionError(index, "only a number can divide", "adapters have no inverse")
    if by == 0:
        raise ExpressionError(index, "cannot divide by zero")
    return finite(value / by, index) if isinstance(value, Number) else times(1 / by, value, index)
