"""What a scheme of quantization is: the parts a weight is stored as, and the way there and back. Needs no torch until used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from adapterops.dtypes import FLOATS
from adapterops.errors import InputError, UnsupportedError
from adapterops.finite import all_finite

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LONG_NAMES = {name: FLOATS[name] for name in ("BF16", "F16", "F32")}
"""What the numbers of a scheme are used as."""

Read = Callable[[str, int, int], "Tensor"]
"""Bytes [begin, end) of a part, by its role, as uint8."""


class Part(NamedTuple):
    """A stored tensor that belongs to a weight: dtype, as safetensors spells it, and shape."""

    dtype: str
    shape: tuple[int, ...]


class Encoder(Protocol):
    """Turns the rows of one weight into the bytes of its parts, some rows at a time, from the first to the last."""

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        """What each part goes on with, and what the stored rows stand for, in float32.

        Args:
            values: rows from `begin` on, in float32; a whole number of `Scheme.granularity`, or up to the last row.

        Raises:
            InputError: a number is NaN or infinite.
        """

    def rest(self) -> Mapping[str, Tensor]:
        """The parts that are known when all rows are. On a grid that is there already, other parts stay what they are."""


class Scheme(Protocol):
    """One way to store a weight of a given shape. Roles name parts: relative to the module, or `_…` after the tensor's name.

    `dtype` is what the stored numbers stand for when they are used, as safetensors spells it.
    """

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def bits(self) -> float:
        """Bits that an entry takes, those of its scales included."""

    def parts(self, shape: tuple[int, ...]) -> Mapping[str, Part]: ...
    def granularity(self, shape: tuple[int, ...]) -> int:
        """Rows that share a scale: all dimensions but the last taken for one, whole groups of so many are coded at a time."""

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        """Rows [begin, end), as a matrix in `dtype`. It is good until this thread decodes the next."""

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        """To nearest.

        Raises:
            UnsupportedError: the scheme is read only.
        """

    def moved(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        """Which entries of the rows from `begin` on have another code than before, `parts` being what an encoder made of them."""

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        """By chance to one of the two neighbours on the grid that is stored already, so that the mean is right.

        The scales stay what they are, and a number that is on the grid keeps its code: decode(on_grid(W)) = W for the stored W.

        Args:
            key: what the random numbers depend on.
        """


def torch_dtype(name: str) -> torch.dtype:
    """The dtype that stored numbers are used in."""
    import torch

    dtype: torch.dtype = getattr(torch, LONG_NAMES[name])
    return dtype


def powers_of_two(exponents: Tensor) -> Tensor:
    """2^(b - 127) for every byte b, and NaN for 255: E8M0.

    Source: OCP Microscaling Formats 1.0.
    """
    import torch

    powers = torch.ldexp(torch.ones(exponents.shape), exponents.int() - 127)
    return powers.masked_fill_(exponents == 255, torch.nan)


def check_finite(numbers: Tensor, what: str = "NaN or infinite") -> None:
    """Raise InputError for numbers that no code stands for."""
    if not all_finite(numbers):
        raise InputError(f"has numbers that are {what}, which no code stands for", hint="is the checkpoint damaged?", code="E-NONFINITE")


def check_decoded(numbers: Tensor) -> None:
    """Raise InputError for numbers that no weight has."""
    if not all_finite(numbers):
        hint = "the checkpoint is damaged; download it again"
        raise InputError("has codes or scales that stand for NaN or infinity", hint=hint, code="E-NONFINITE")


def read_only(name: str) -> UnsupportedError:
    return UnsupportedError(f"{name} is read, not written", hint="write 16 bits with --dtype bfloat16, or 4 with --quantize nf4")
