"""What a scheme of quantization is: the parts that a weight is stored as, and the way there and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from adapterops.arrays.dtypes import FLOATS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ROUNDINGS = NEAREST, STOCHASTIC, CALIBRATED = "nearest", "stochastic", "calibrated"
"""How a changed weight is rounded to the numbers that can be stored."""

LONG_NAMES = {name: FLOATS[name] for name in ("BF16", "F16", "F32")}
"""What the numbers of a scheme are used as."""

Read = Callable[[str, int, int], "Tensor"]
"""Bytes [begin, end) of a part, by its role, as uint8."""


class Part(NamedTuple):
    """A stored tensor that belongs to a weight: dtype, as safetensors spells it, and shape."""

    dtype: str
    shape: tuple[int, ...]


class Scheme(Protocol):
    """One way to store a weight of a given shape.

    Roles name parts: relative to the module (`SCB`, `weight.absmax`), or after the name of the tensor (`_blocks`). Rows
    are those of a matrix: all dimensions but the last are taken for one. `dtype` is what the stored numbers stand for
    when they are used, as safetensors spells it.
    """

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def bits(self) -> float:
        """Bits that an entry takes, those of its scales included."""

    def parts(self, shape: tuple[int, ...]) -> Mapping[str, Part]:
        """Role → dtype and shape."""

    def granularity(self, shape: tuple[int, ...]) -> int:
        """Rows that share a scale or a stored number: whole groups of so many are decoded and encoded at a time."""

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        """Rows [begin, end), as a matrix of the numbers that a model computes with, and not further rounded: those of
        NF4 and FP4 in `dtype`, as bitsandbytes decodes them; all others in float32. It is good until this thread
        decodes the next.
        """


class Encoder(Protocol):
    """Rows of one weight → the bytes of its parts, some rows at a time, from the first to the last."""

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        """What is made of some rows, by its part, and what the stored rows stand for, in float32.

        Args:
            values: rows from `begin` on, in float32; a whole number of `Scheme.granularity`, or up to the last row.

        Raises:
            InputError: a number is NaN or infinite.
        """

    def written(self, pieces: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What parts go on with, of what `rows` made of the rows that follow those before: where they are stored as
        columns nothing, until all rows of a column are there.
        """

    def rest(self) -> Mapping[str, Tensor]:
        """The parts that are known when all rows are.
        On an existing grid the parts that are not named stay what they are.
        """


class Kept(Scheme, Protocol):
    """A scheme whose stored grid takes other numbers: scales stay, codes are written."""

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        """Each number to one of its two neighbours on the stored grid, at random, so that the mean is right; where some
        are past its ends, that of ⟨W' - W, ΔW⟩ in each row.

        The scales stay what they are, and a number that is on the grid keeps its code: decode(on_grid(W)) = W for the
        stored W.

        Args:
            key: what the random numbers depend on.
        """

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        """Which entries of the rows from `begin` on have another code than is stored;
        `parts` is what an encoder made of them.
        """


class Writable(Kept, Protocol):
    """A scheme that is made again, too.
    Its class has a classmethod `make(name, dtype, **options)`, which the registry calls.
    """

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What a manifest notes of it."""

    def describe(self, skip: list[str]) -> dict[str, Any]:
        """The `quantization_config` that a model in this scheme loads with;
        `skip` are the modules that are not quantized.
        """

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        """Each number to the nearest on a new grid."""


def at_once(encoder: Encoder, pieces: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """`written` of what is stored row by row: all of it."""
    return pieces


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
