"""The registry of methods, and the one meaning that each parameter has in all of them.

Nothing here, and nothing at the top of the modules that register methods, imports torch: plans and help need the names.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from adapterops.errors import OptionError

SPACES = ("delta", "factors")
"""Where a method acts: on ΔW = BA, or on the A's and B's separately, as PEFT does."""


@dataclass(frozen=True)
class Parameter:
    """A number in [low, high], an integer, or one of `choices`."""

    help: str
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False

    def check(self, name: str, value: Any) -> Any:
        """`value`, as a method takes it.

        Raises:
            OptionError: it is of the wrong type or out of range.
        """
        if self.choices:
            if value not in self.choices:
                raise OptionError(f"{name} must be one of {', '.join(self.choices)}, got {value!r}")
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (self.whole and not isinstance(value, int)):
            raise OptionError(f"{name} must be {'a whole number' if self.whole else 'a number'}, got {value!r}")
        if not self.low <= value <= self.high:
            raise OptionError(f"{name} must be between {self.low:g} and {self.high:g}, got {value:g}")
        return value if self.whole else float(value)


PARAMETERS: dict[str, Parameter] = {
    "density": Parameter("Fraction of the entries kept.", low=0, high=1),
    "majority": Parameter("Elect the sign of the sum (total), or of most entries (frequency).", choices=("total", "frequency")),
    "convention": Parameter(
        "Reproduce the paper's, PEFT's or mergekit's answer where they differ from the default.", choices=("paper", "peft", "mergekit")
    ),
    "seed": Parameter("Seed of the random masks.", low=0, high=2**63 - 1, whole=True),
}


@dataclass(frozen=True)
class Method:
    """A named way to combine updates.

    `kernel(inputs, weights, **parameters)`. The inputs of an `entrywise` method are `Entries`, its result is a tensor; those
    of any other are anything that adds and scales, and so is its result.
    """

    name: str
    kernel: Callable[..., Any]
    source: str
    entrywise: bool
    spaces: tuple[str, ...]
    capped: bool
    """Whether a rank above that of the matrix is compressed away."""
    check: Callable[[Sequence[float], Mapping[str, Any]], None] | None = None
    """Raises OptionError for weights and parameters that do not go together."""

    @property
    def summary(self) -> str:
        return (self.kernel.__doc__ or "").strip().partition("\n")[0]

    @property
    def defaults(self) -> dict[str, Any]:
        """The parameters by name, with their default values."""
        signature = inspect.signature(self.kernel)
        return {p.name: p.default for p in signature.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters: those given, checked, and defaults for the rest.

        Raises:
            OptionError: a parameter is not one of this method's, or has an impossible value.
        """
        defaults = self.defaults
        for name in given:
            if name not in defaults:
                takes = f"it takes {', '.join(defaults)}" if defaults else "it takes none"
                raise OptionError(f"{self.name} has no parameter {name}", hint=takes)
        return {
            name: default if given.get(name) is None else PARAMETERS[name].check(name, given[name]) for name, default in defaults.items()
        }


METHODS: dict[str, Method] = {}


def method(
    name: str,
    *,
    source: str,
    entrywise: bool = True,
    spaces: tuple[str, ...] = SPACES,
    capped: bool = True,
    check: Callable[[Sequence[float], Mapping[str, Any]], None] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a kernel under `name`. Its keyword-only parameters must be in `PARAMETERS`.

    Raises:
        ValueError: the name is taken, or a parameter is unknown.
    """

    def register(kernel: Callable[..., Any]) -> Callable[..., Any]:
        if name in METHODS:
            raise ValueError(f"there is already a method {name!r}")
        entry = Method(name, kernel, source, entrywise, spaces, capped, check)
        unknown = entry.defaults.keys() - PARAMETERS.keys()
        if unknown:
            raise ValueError(f"method {name!r} has parameters without a meaning: {sorted(unknown)}")
        METHODS[name] = entry
        return kernel

    return register


def find(name: str) -> Method:
    """The method called `name`; dashes and underscores are the same.

    Raises:
        OptionError: there is none, with the name that was probably meant.
    """
    known = name.replace("-", "_")
    if known not in METHODS:
        close = get_close_matches(known, METHODS, n=1)
        raise OptionError(f"there is no method {name!r}", hint=f"did you mean {close[0]}?" if close else f"there are {', '.join(METHODS)}")
    return METHODS[known]
