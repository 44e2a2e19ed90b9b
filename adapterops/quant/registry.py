"""The schemes: each is a class in a file of its own that registers itself, here or in another package.

A file of this folder is found because it is there; one of another package because that has an entry point in the group
`adapterops.schemes`, which names the module. Nothing here, and nothing at the top of the files, imports torch or numpy:
help and plans need the names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar

from adapterops.errors import OptionError, UnsupportedError
from adapterops.quant.header import Claim, Header
from adapterops.quant.scheme import Kept, Scheme, Writable
from adapterops.registry import Registry


class Detecting(Protocol):
    """What the class of a scheme has: a classmethod that finds its weights."""

    def detect(self, header: Header, tensor: str, role: str) -> Claim | None:
        """What a weight that has a part of role `role`, one of the marks, is stored as; None for a weight of another
        scheme.

        Raises:
            InputError, UnsupportedError: it is of this scheme, and broken, or of a variant that is not read.
        """


class Remainder(NamedTuple):
    """How a part that belongs to no weight is known: the end of its name and perhaps its dtype; and what is missing."""

    end: str
    missing: str
    dtype: str | None = None


@dataclass(frozen=True)
class Registered:
    """A registered class, and what is known of its schemes without a weight.

    Attributes:
        names: of its schemes.
        module: where the class is.
        marks: roles of parts; a weight of these schemes has one of them.
        methods: what a config calls them: its `quant_method`.
        remains: parts that may be left over where a weight is incomplete.
        make: a scheme by its name, a dtype and options; None where none is made again.
        keeps: whether the stored grid takes other numbers.
    """

    names: tuple[str, ...]
    module: str
    detect: Callable[[Header, str, str], Claim | None]
    marks: tuple[str, ...]
    methods: frozenset[str]
    remains: tuple[Remainder, ...]
    make: Callable[..., Writable] | None
    keeps: bool


SCHEMES: Registry[Registered] = Registry("scheme", "adapterops.quant", "adapterops.schemes")
Class = TypeVar("Class", bound=Detecting)


def scheme(
    *names: str, marks: tuple[str, ...], methods: tuple[str, ...] = (), remains: tuple[Remainder, ...] = ()
) -> Callable[[Class], Class]:
    """Register the class of the schemes `names`; the attributes are those of `Registered`.

    Raises:
        ValueError: a name is taken.
    """

    def register(kind: Class) -> Class:
        module, make, keeps = kind.detect.__module__, getattr(kind, "make", None), hasattr(kind, "on_grid")
        SCHEMES.add(names, Registered(names, module, kind.detect, marks, frozenset(methods), remains, make, keeps))
        return kind

    return register


def own() -> list[Registered]:
    """The schemes of this package, sorted by their files. No other package is imported for it."""
    return _by_file(each for each in SCHEMES.own() if _is_own(each))


def schemes() -> list[Registered]:
    """All schemes, those of other packages last."""
    return _by_file(SCHEMES.values())


def _by_file(members: Iterable[Registered]) -> list[Registered]:
    return sorted(dict.fromkeys(members), key=lambda each: (not _is_own(each), each.module))


def _is_own(each: Registered) -> bool:
    return each.module.startswith(f"{__package__}.")


def written() -> dict[str, Callable[..., Writable]]:
    """The names of the schemes that are written, and what makes one."""
    return {name: each.make for each in schemes() if each.make for name in each.names}


def is_written(scheme: Scheme) -> TypeGuard[Writable]:
    """Whether a scheme is made again."""
    return scheme.name in written()


def is_kept(scheme: Scheme) -> TypeGuard[Kept]:
    """Whether the stored grid of a scheme takes other numbers."""
    return SCHEMES[scheme.name].keeps


def has_codes(scheme: Scheme) -> bool:
    """Whether each of its entries has a code, a scale and a zero point; see `grid.CodeScheme`."""
    plain = getattr(scheme, "scheme", scheme)
    return all(hasattr(plain, part) for part in ("numbers", "codes", "scales", "encoded_parts"))


def kept(scheme: Scheme) -> Kept:
    """The scheme, whose stored grid is to take other numbers.

    Raises:
        UnsupportedError: it is read only.
    """
    if not is_kept(scheme):
        raise UnsupportedError(f"{scheme.name} is read, not written", hint=_ways())
    return scheme


def writable(scheme: Scheme) -> Writable:
    """The scheme, which is to encode something on a grid of its own.

    Raises:
        UnsupportedError: it is not written with new codes.
    """
    if not is_written(scheme):
        stays = "--rounding stochastic keeps its grid; or " if is_kept(scheme) else ""
        raise UnsupportedError(f"{scheme.name} is not written with new codes", hint=stays + _ways())
    return scheme


def _ways() -> str:
    ways = " or ".join(f"--quantize {name}" for name in written())
    return f"write 16 bits with --dtype bfloat16, or fewer with {ways}"


def make(name: str, dtype: str = "BF16", **options: Any) -> Writable:
    """A scheme by its name.

    Args:
        dtype: what its numbers are used as.
        options: of the scheme; None and False leave one at its default.

    Raises:
        OptionError: there is no such scheme, it has no such option, or an option has an impossible value.

    >>> make("nf4", double_quant=True).bits
    4.126953125
    """
    makers = written()
    if name not in makers:
        raise OptionError(f"the scheme must be one of {', '.join(makers)}, got {name!r}")
    given = {option: value for option, value in options.items() if value is not None and value is not False}
    known = inspect.signature(makers[name]).parameters
    for option in given:
        if option not in known:
            raise OptionError(f"{name} has no option {option}", hint="leave it out")
    return makers[name](name, dtype, **given)
