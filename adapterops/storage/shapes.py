"""What a value of JSON has to look like: for files of ours, in which a checksum that fits proves arithmetic and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from adapterops.regex import Regex

HASH = Regex(r"[0-9a-f]{64}")

Shape: TypeAlias = "type | tuple[Any, ...] | list[Any] | Mapping[Any, Any] | Callable[[Any], bool]"
"""A type; several shapes, one of which is enough; a list of one, for any number of such; a mapping of `str` to one, for any names,
or of all names that there have to be; or what says it of a value."""


def fits(value: Any, shape: Shape) -> bool:
    """Whether a value has a shape.

    >>> fits({"a": [1, 2]}, {str: [int]}), fits({"a": True}, {"a": int}), fits({}, {"a": int})
    (True, False, False)
    """
    if isinstance(shape, type):
        return type(value) is shape
    if isinstance(shape, tuple):
        return any(fits(value, each) for each in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(each, shape[0]) for each in value)
    if not isinstance(shape, Mapping):
        return shape(value)
    if not isinstance(value, dict):
        return False
    if str in shape:
        return all(fits(each, shape[str]) for each in value.values())
    return value.keys() == shape.keys() and all(fits(each, shape[name]) for name, each in value.items())


def number(value: Any) -> bool:
    """A finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def counted(value: Any) -> bool:
    """A whole number from 0 on."""
    return type(value) is int and value >= 0


def hashed(value: Any) -> bool:
    """A hash of 256 bits, in hexadecimal digits."""
    return isinstance(value, str) and HASH.fullmatch(value) is not None
