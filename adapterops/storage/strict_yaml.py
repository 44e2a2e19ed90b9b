"""YAML from strangers: one meaning or none.
What versions of YAML read differently is refused, and so is whatever takes long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeAlias

import yaml

from adapterops.errors import InputError
from adapterops.regex import Regex

LIMIT, VALUES, DEPTH = 1 << 20, 10_000, 20
"""Bytes that a caller should hand over, values, and how deep they are nested, at most."""

WHOLE = Regex(r"[-+]?(?:0|[1-9][0-9]{0,18})")
REAL = Regex(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
SURPRISES = [
    (re.compile(r"yes|no|on|off", re.IGNORECASE), "is true or false in YAML 1.1 and text in YAML 1.2"),
    (
        re.compile(r"[-+]?0[0-9_]+(?:\.[0-9_]*)?|[-+]?0[xob][0-9a-fA-F_]+"),
        "is octal, hexadecimal or binary in some versions of YAML",
    ),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "is a number to the base 60 in YAML 1.1"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?"), "is a date in YAML 1.1"),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_.]*"), "is a number in YAML 1.1 and text in YAML 1.2"),
    (re.compile(r"[-+]?\.(?:inf|nan)", re.IGNORECASE), "is not a finite number"),
    (re.compile(r"<<|="), "has a meaning of its own in YAML 1.1"),
    (re.compile(r"[-+]?[0-9]+"), "is too large for a whole number"),
]
"""Plain text that has several meanings, and why."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Place: TypeAlias = tuple[str | int, ...]
"""Keys and numbers of items, from the outermost inwards."""

Marks: TypeAlias = dict[Place, tuple[int, int]]


def parse_yaml(data: bytes) -> tuple[Any, Marks]:
    """The value of a YAML document, and the line and the column of each value in it, or of its key.

    Mappings with text for keys, sequences, text, null, true, false, decimal numbers. Everything in quotes is text.

    >>> parse_yaml(b"a: [1, 2.5, 'no']")
    ({'a': [1, 2.5, 'no']}, {(): (1, 1), ('a',): (1, 1), ('a', 0): (1, 5), ('a', 1): (1, 8), ('a', 2): (1, 13)})

    Raises:
        InputError: it is not YAML, or has duplicate keys, keys that are not text, anchors, aliases, tags, several
            documents, or plain text that versions of YAML read differently.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 (byte {error.start})", code="E-YAML") from None
    reader = _Reader(text)
    try:
        return reader.document(), reader.marks
    except yaml.reader.ReaderError as error:
        number = error.character if isinstance(error.character, int) else ord(error.character)
        raise InputError(f"has the character U+{number:04X}, which YAML does not allow", code="E-YAML") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = error.problem or error.context
        hint = "text with a colon and a space in it goes in quotes" if "mapping values" in str(problem) else None
        raise InputError(f"{where}is not YAML: {problem}", hint=hint, code="E-YAML") from None


class _Reader:
    """Makes values of what the parser reports, as it reports it:
    nothing is expanded, and nothing is read after a mistake.
    """

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=LOADER)
        self._values = 0
        self.marks: Marks = {}

    def document(self) -> Any:
        event = next(self._events)
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise InputError("is empty", code="E-YAML")
        value = self._value(event, ())
        next(self._events)
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._fail(event, "a second document begins here", "keep one of them")
        return value

    def _fail(self, event: Any, fact: str, hint: str | None = None) -> NoReturn:
        mark = event.start_mark
        raise InputError(f"line {mark.line + 1}, column {mark.column + 1}: {fact}", hint=hint, code="E-YAML")

    def _value(self, event: Any, place: Place) -> Any:
        self._values += 1
        self.marks.setdefault(place, (event.start_mark.line + 1, event.start_mark.column + 1))
        if isinstance(event, yaml.AliasEvent):
            self._fail(event, f"the alias *{event.anchor[:40]} is not followed", "write the value again")
        if event.anchor is not None:
            self._fail(event, f"the anchor &{event.anchor[:40]} is not followed", "write the value where it is needed")
        if event.tag is not None:
            self._fail(
                event, f"the tag {event.tag[:40]!a} is not followed", "write the value without it; text goes in quotes"
            )
        if self._values > VALUES or len(place) > DEPTH:
            self._fail(event, f"more than {VALUES} values, or nested more than {DEPTH} deep")
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style else self._plain(event)
        return self._mapping(place) if isinstance(event, yaml.MappingStartEvent) else self._sequence(place)

    def _mapping(self, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                self._fail(event, "a key must be text")
            key = self._value(event, (*place, ""))
            if not isinstance(key, str):
                self._fail(event, f"the key {event.value} is not text", f'put it in quotes: "{event.value}"')
            if key in found:
                self._fail(event, f"the key {key[:40]!r} appears twice", "remove one of them")
            self.marks[*place, key] = event.start_mark.line + 1, event.start_mark.column + 1
            found[key] = self._value(next(self._events), (*place, key))
        self.marks.pop((*place, ""), None)
        return found

    def _sequence(self, place: Place) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*place, len(found))))
        return found

    def _plain(self, event: Any) -> Any:
        text: str = event.value
        if text in WORDS:
            return WORDS[text]
        if WHOLE.fullmatch(text):
            return int(text)
        for surprise, why in SURPRISES:
            if surprise.fullmatch(text):
                self._fail(event, f"{text[:40]} {why}", f"put it in quotes to mean the text: '{text[:40]}'")
        if REAL.fullmatch(text):
            if not math.isfinite(value := float(text)):
                self._fail(event, f"{text[:40]} is too large")
            return value
        return text
