"""Numbers with a unit, as people type them: sizes in bytes, and budgets of parameters or bytes."""

from __future__ import annotations

import re
import sys

from adapterops.errors import OptionError

UNITS = "kmgt"


def size(text: str, name: str = "--max-shard-size") -> int:
    """Bytes, at least one.

    >>> size("2GB"), size("300mb"), size("1KiB")
    (2000000000, 300000000, 1024)
    """
    expected = "a size such as 500MB or 2GB"
    number, unit = _amount(text, name, expected)
    if unit != "bytes" or not number:
        raise _unlike(text, name, expected)
    return number


def budget(text: str | None) -> tuple[int | None, str]:
    """A number and its unit, `parameters` or `bytes`.

    >>> budget("2M"), budget("1.5GB"), budget("300")
    ((2000000, 'parameters'), (1500000000, 'bytes'), (300, 'parameters'))
    """
    if text is None:
        return None, "parameters"
    return _amount(text, "--budget", "a number such as 500k, 2M (parameters) or 8MB (bytes)")


def _amount(text: str, name: str, expected: str) -> tuple[int, str]:
    """A rounded number, and `bytes` where a B follows it, or else `parameters`: in thousands and more or, with an i, in units
    of 1024, in capitals or not, as transformers reads them.

    Raises:
        OptionError: it is none, or more than a computer can count.
    """
    from fractions import Fraction  # here: it takes long to import

    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([kmgt])(i?))?(b?)", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        raise _unlike(text, name, expected)
    factor = (1024 if match[3] else 1000) ** (1 + UNITS.index(match[2].lower()) if match[2] else 0)
    value = round(Fraction(match[1]) * factor) if len(match[1]) < 1000 else sys.maxsize + 1
    if value > sys.maxsize:
        digits = len(match[1].partition(".")[0])
        raise OptionError(f"{name} is a number of {digits} digits times {factor}, expected at most {sys.maxsize}")
    return value, "bytes" if match[4] else "parameters"


def _unlike(text: str, name: str, expected: str) -> OptionError:
    return OptionError(f"{name} is {text[:80]!r}, expected {expected}")
