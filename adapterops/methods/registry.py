"""The registry of methods. A method is a kernel and what is declared with it: its source, what it acts on, its
parameters.

A package of one's own registers methods by an entry point of the group `adapterops.methods`, which names a module that
does so.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from functools import cached_property
from numbers import Integral, Real
from typing import Any, TypeAlias, TypeVar

from adapterops.errors import OptionError, factor
from adapterops.registry import Registry

BORNE = 0.08
"""What most methods bear: see `Method.borne`."""


@dataclass(frozen=True)
class Parameter:
    """A number in [low, high], or in (low, high] where it is `above` low; an integer; or one of `choices`.

    `neutral` is the value with which it takes nothing from one adapter alone, where its default may.
    """

    help: str
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    neutral: float | None = None
    above: bool = False

    def check(self, name: str, value: Any) -> Any:
        """`value`, as a method takes it.

        Raises:
            OptionError: it is of the wrong type or out of range.
        """
        if self.choices:
            if value not in self.choices:
                raise OptionError(f"{name} must be one of {', '.join(self.choices)}, got {value!r}")
            return value
        expected: Any = Integral if self.whole else Real  # those of numpy, too
        if isinstance(value, bool) or not isinstance(value, expected):
            raise OptionError(f"{name} must be {'a whole number' if self.whole else 'a number'}, got {value!r}")
        value = int(value) if self.whole or isinstance(value, int) else float(value)
        bounded = (self.low, self.high) != (-math.inf, math.inf)
        if bounded and not (self.low <= value <= self.high and not (self.above and value == self.low)):
            hint = f"{value:g} % is {value / 100:g}" if self.high == 1 and 2 <= value <= 100 else None
            raise OptionError(f"{name} must be {self._span()}, got {_shown(value)}", hint=hint)
        if self.whole:
            if abs(value) > sys.maxsize:
                raise OptionError(f"{name} must be a finite number, at most {sys.maxsize:g}, got {_shown(value)}")
            return value
        return factor(value, name, self.above)

    def _span(self) -> str:
        """What a number may be, where not every one may."""
        if self.high == math.inf:
            return f"{'above' if self.above else 'at least'} {self.low:g}"
        if self.low == -math.inf:
            return f"at most {self.high:g}"
        return (
            f"above {self.low:g} and at most {self.high:g}" if self.above else f"between {self.low:g} and {self.high:g}"
        )


def _shown(value: float) -> str:
    return f"{value:g}" if not abs(value) > sys.float_info.max else "one too large for float64"


Kernel: TypeAlias = Callable[..., Any]
K = TypeVar("K", bound=Callable[..., Any])
"""`kernel(inputs, weights, **parameters)`, its own parameters keyword-only, with defaults.

What acts on updates gets anything that has + and scalar *, updates or matrices, and returns such a thing. What acts on
products gets the inner products of the updates, (T, T) in float64, and returns what each of them is multiplied by before they
are added. What acts on matrices gets one in float64 for each adapter, zeros where it lacks the module, and returns one: in
core space small ones. What acts on inputs gets the factors of the updates, and after the weights the Gram matrices of their
inputs, (in, in) for each, and returns factors. What acts on entries gets `Entries`, may look at all of them, and returns what
its `map` makes of a function of a `Tile`.
"""


@dataclass(frozen=True)
class Method:
    """A named way to combine updates.

    Attributes:
        acts: on `updates`, on `products`, on `matrices`, on `inputs` or on `entries`.
        spaces: where it may act: see `spaces`. The first is its own, where no other is asked for.
        parameters: its own, by name.
        capped: whether a rank above that of the matrix is compressed away.
        rank: of its results, by its parameters and the ranks of the inputs; None: their sum.
        sized: whether the size of its result is part of its answer, which no scale is then multiplied to by default.
        borne: what the norm of a module is at most at the scale `auto`, relative to sqrt(out), unless the mean is larger.
        order: of that norm, (Σ σ^order)^(1/order) over the singular values σ: 2, or 4, which large ones count for more in.
        disturbs: whether that bound is on what the others add to the update that they disturb most, and not on the norm.
        adds: whether a module is `linear` where an update of an adapter has no lower rank than the matrix.
        small: what the median norm of the updates of a module is at most, relative to sqrt(out): at the scale `auto` a module
            is `linear` where it is larger.
        check: raises OptionError for weights and parameters that do not go together.
        whole_model: whether, with these parameters, it needs the entries of all modules before the first result.
    """

    name: str
    kernel: Kernel
    source: str
    acts: str
    spaces: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    capped: bool = True
    rank: Callable[[Mapping[str, Any], Sequence[int]], int] | None = None
    sized: bool = False
    borne: float = BORNE
    order: int = 2
    adds: bool = False
    check: Callable[[Sequence[float], Mapping[str, Any]], None] | None = None
    whole_model: Callable[[Mapping[str, Any]], bool] = lambda parameters: False
    disturbs: bool = False
    small: float = math.inf

    @property
    def summary(self) -> str:
        return (self.kernel.__doc__ or "").strip().partition("\n")[0]

    @cached_property
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
                others = ", ".join(other for other, each in METHODS.items() if name in each.defaults)
                hint = f"{takes}; {name} is a parameter of {others}" if others else takes
                raise OptionError(f"{self.name} has no parameter {name}", hint=hint)
        return {
            name: default if given.get(name) is None else self.parameters[name].check(name, given[name])
            for name, default in defaults.items()
        }


RESERVED = {
    "method",
    "weights",
    "scale",
    "space",
    "full",
    "allow_base_mismatch",
    "how",
    *(each.name for each in fields(Method)),
}
"""What `merge` takes for every method, and `method` declares of each: no parameters of one."""

OPTIONS = {
    "accept_loss", "adapter", "address", "allow_nonfinite", "allow_pickle", "alpha", "as_delta", "as_json", "base",
    "base_view", "block_size", "budget", "component", "components", "device", "double_quant", "dry_run", "dtype",
    "energy", "engine", "exact", "force", "format", "grams", "help", "inputs_of", "json", "logits", "made_by",
    "max_shard_size", "memory", "model", "no_sync", "original", "out", "output", "part", "precision", "private",
    "public", "push", "quantize", "quiet", "resume", "rounding", "sarif", "sources", "strict", "tensor_type",
    "tensor_types", "tuned", "verbose", "verify_inputs", "weight", "workers", "written_as",
}  # fmt: skip
"""Other options of the commands that have one for every method and parameter: no names of either."""

FACTS = {each.name for each in fields(Method) if each.default is not MISSING}
"""What is declared of a method where it is not the default."""

FUNCTIONS = {"truncate", "select", "drop", "scale"}
"""What expressions have besides methods: no names of methods."""

ANYWHERE = ("delta", "core", "knots", "factors")
MATRICES = ("core", "delta")
"""A method on matrices has one answer in both, where f(P X Qᵀ) = P f(X) Qᵀ: fast in the core, slow in all entries."""

SPACES_OF = {"matrices": MATRICES, "products": (*MATRICES, "weights"), "inputs": ("delta",)}

ACTS = ("updates", "products", "matrices", "inputs", "entries")

METHODS: Registry[Method] = Registry("method", "adapterops.methods.families", "adapterops.methods")


def method(
    name: str,
    *,
    source: str,
    acts: str = "entries",
    spaces: tuple[str, ...] | None = None,
    **declared: Any,
) -> Callable[[K], K]:
    """Register a kernel under `name`.

    Args:
        declared: a `Parameter` for each of its keyword-only arguments; and of the attributes of `Method` what is not the default.

    >>> from functools import reduce
    >>> from operator import add
    >>> @method("half", source="an example", acts="updates", share=Parameter("Of each update.", low=0, high=1))
    ... def half(updates, weights, *, share=0.5):
    ...     return reduce(add, (share * weight * update for update, weight in zip(updates, weights)))
    >>> METHODS["half"].complete({"share": 0.25})
    {'share': 0.25}
    >>> METHODS["half"].kernel([4.0, 2.0], [1.0, 0.5])
    2.5
    >>> METHODS.remove("half")

    Raises:
        ValueError: the name is taken, `acts` is none of `ACTS`, an argument has no `Parameter`, a name that every method has,
            or a `Parameter` that is another one in another method; or a name is that of another option of `merge`.
    """

    facts = {fact: declared.pop(fact) for fact in FACTS & declared.keys()}
    where = spaces or SPACES_OF.get(acts, ANYWHERE)

    def register(kernel: K) -> K:
        entry = Method(name, kernel, source, acts, where, declared, **facts)
        _check(entry)
        METHODS.add(name, entry)
        return kernel

    return register


def _check(entry: Method) -> None:
    """Raise what `method` says."""
    name, parameters = entry.name, entry.parameters
    if entry.acts not in ACTS:
        raise ValueError(f"method {name!r} acts on {entry.acts!r}: expected one of {', '.join(ACTS)}")
    if name in FUNCTIONS:
        raise ValueError(f"method {name!r} has the name of another function of expressions: take another name")
    if taken := RESERVED & entry.defaults.keys():
        raise ValueError(f"method {name!r} has a parameter {min(taken)!r}, as every method has: take another name")
    if taken := OPTIONS & {name, *parameters}:
        raise ValueError(f"{min(taken)!r}, of the method {name!r}, is the name of another option: take another name")
    if entry.defaults.keys() != parameters.keys():
        raise ValueError(f"method {name!r} takes {sorted(entry.defaults)}, and declares {sorted(parameters)}")
    for other in METHODS.registered():
        if taken := {name, other.name} & {*parameters, *other.parameters}:
            raise ValueError(
                f"{min(taken)!r} is both a method and a parameter, of {name!r} and {other.name!r}: take another name"
            )
        for each in parameters.keys() & other.parameters.keys():
            if parameters[each] != other.parameters[each]:
                raise ValueError(
                    f"the parameter {each!r} of {name!r} is another in {other.name!r}: take its Parameter, or another name"
                )


def parameters() -> dict[str, Parameter]:
    """The parameters of all methods, by name."""
    return {name: parameter for entry in METHODS.values() for name, parameter in entry.parameters.items()}


def find(name: str) -> Method:
    """The method called `name`; dashes and underscores are the same.

    Raises:
        OptionError: there is none, with the name that was probably meant.
    """
    known = name.replace("-", "_")
    if known not in METHODS:
        close = get_close_matches(known, METHODS, n=1)
        raise OptionError(
            f"there is no method {name!r}",
            hint=f"did you mean {close[0]}?" if close else f"there are {', '.join(METHODS)}",
        )
    return METHODS[known]
