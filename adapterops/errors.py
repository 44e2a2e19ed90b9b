"""Everything that can go wrong for a known reason, and the exit code it ends a command with.

    AdapterOpsError                       1
    ├── OptionError                       2   an option or argument that makes no sense
    ├── InputError                        3   a file that is invalid, damaged or unsafe
    ├── IncompatibleError                 4   inputs that do not fit together
    │   ├── ShapeError                    4
    │   └── UnsupportedError              4   a kind of adapter that is known by name and not handled
    ├── NotFoundError                     5
    ├── OutputExistsError                 6
    ├── ResourceError                     7   disk or memory
    │   └── DiskError                     7   of the place that is written to
    ├── VerificationError                 8
    └── UnjudgedError                     9   what was asked cannot be told from these files

Inner functions raise the fact; whoever knows the file or the tensor adds it with `at`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


class AdapterOpsError(Exception):
    """A failure with a reason: what was attempted, where, and what to do about it.

    Args:
        message: the fact: expected and found.
        path: the file it is about.
        tensor: the tensor or module it is about.
        hint: the remedy, one sentence.
        code: a stable name for scripts, such as ``E-ST-TRUNCATED``.
        details: more for scripts, which ``--json`` prints.
    """

    exit_code = 1
    default_code = "E-INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        path: object = None,
        tensor: str | None = None,
        hint: str | None = None,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = None if path is None else str(path)
        self.tensor = tensor
        self.hint = hint
        self.code = code or self.default_code
        self.details = details

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.path, self.tensor) if part)
        lines = [f"{place}: {self.message}" if place else self.message]
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The error as ``--json`` prints it."""
        found = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "path": self.path,
            "tensor": self.tensor,
        }
        return found if self.details is None else {**found, "details": dict(self.details)}


class OptionError(AdapterOpsError):
    exit_code = 2
    default_code = "E-OPTION"


class InputError(AdapterOpsError):
    exit_code = 3
    default_code = "E-INPUT"


class IncompatibleError(AdapterOpsError):
    exit_code = 4
    default_code = "E-INCOMPATIBLE"


class ShapeError(IncompatibleError):
    default_code = "E-SHAPE"


class UnsupportedError(IncompatibleError):
    default_code = "E-UNSUPPORTED"


class NotFoundError(AdapterOpsError):
    exit_code = 5
    default_code = "E-NOT-FOUND"


class OutputExistsError(AdapterOpsError):
    exit_code = 6
    default_code = "E-EXISTS"


class ResourceError(AdapterOpsError):
    exit_code = 7
    default_code = "E-RESOURCE"


class DiskError(ResourceError):
    """Of the place that is written to."""

    default_code = "E-DISK"


class VerificationError(AdapterOpsError):
    exit_code = 8
    default_code = "E-VERIFY"


class UnjudgedError(AdapterOpsError):
    exit_code = 9
    default_code = "E-UNJUDGED"


class AdapterWarning(UserWarning):
    """Something a person should know that does not make the result wrong; an error under ``--strict``."""


LEAST = 1e-30
"""The least number above 0: its inverse is one of float32."""


def factor(value: Any, name: str, above: bool = False) -> float:
    """A number that something is multiplied or divided by.

    Raises:
        OptionError: it is not finite, or between 0 and `LEAST`.

    >>> factor(2, "the weight")
    2.0
    """
    try:
        number = float(value)
    except OverflowError:  # of a whole number
        number = math.inf
    except (TypeError, ValueError):
        raise OptionError(f"{name} must be a number, got {value!r}") from None
    if not abs(number) <= sys.float_info.max:
        raise OptionError(f"{name} must be a finite number, at most {sys.float_info.max:g}, got {number:g}")
    if 0 < abs(number) < LEAST:
        least = f"{'' if above else '0, or '}{LEAST:g} and more"
        raise OptionError(f"{name} is {number:g}, too small for arithmetic in float32: expected {least}")
    return number


def check_opened(value: object, kind: type, opener: str) -> None:
    """Raise OptionError for an argument of the library that is not what `opener` returns, such as a path.

    >>> check_opened(1, int, "open_adapter")
    """
    if not isinstance(value, kind):
        raise OptionError(
            f"expected what {opener} returns, got {printable(repr(value)[:80])}",
            hint=f"open it first: ao.{opener}(PATH)",
        )


def count(number: int, noun: str) -> str:
    """
    >>> count(1, "file"), count(1200, "file")
    ('1 file', '1200 files')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str], most: int, *, by: str = ", ") -> str:
    """
    >>> listed(["a", "b"], 2), listed(["a", "b", "c"], 2), listed(["a.", "b.", "c."], 1, by="; ")
    ('a, b', 'a, b and 1 more', 'a.; and 2 more')
    """
    more = f"{by.strip(', ')} and {len(names) - most} more" if len(names) > most else ""
    return by.join(names[:most]) + more


def printable(text: str) -> str:
    """Text from strangers' files without what a terminal would obey.

    >>> printable("a\\x1b[31mb") == "a\\ufffd[31mb"
    True
    """
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


SHOWN = 200
"""Characters of a value of a config in a message."""


def in_json(value: Any) -> str:
    """A value of a config, as its file has it, and a word by itself in single quotes.

    >>> in_json(None), in_json([True]), in_json("all")
    ('null', '[true]', "'all'")
    """
    text = repr(value) if isinstance(value, str) else printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


@contextmanager
def at(*, path: object = None, tensor: str | None = None, hint: str | None = None) -> Iterator[None]:
    """Add the place and a remedy to an error raised inside, where it has none yet."""
    try:
        yield
    except AdapterOpsError as error:
        error.path = error.path or (None if path is None else str(path))
        error.tensor = error.tensor or tensor
        error.hint = error.hint or hint
        raise
