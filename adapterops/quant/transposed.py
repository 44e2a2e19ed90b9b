"""A weight that is stored transposed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from adapterops.quant.scheme import Encoder, Kept, Part, Read, Scheme, Writable

if TYPE_CHECKING:
    from torch import Tensor

S = TypeVar("S", bound=Scheme, covariant=True)


@dataclass(frozen=True)
class Transposed(Generic[S]):
    """Wᵀ, in a scheme: what transformers makes of the Conv1D of GPT-2, whose W is (in, out). One whole weight at a
    time.

    It is written, or its grid kept, if that of the scheme is.
    """

    scheme: S

    @property
    def name(self) -> str:
        return self.scheme.name

    @property
    def dtype(self) -> str:
        return self.scheme.dtype

    @property
    def bits(self) -> float:
        return self.scheme.bits

    def parts(self, shape: tuple[int, ...]) -> Mapping[str, Part]:
        return self.scheme.parts(shape[::-1])

    def granularity(self, shape: tuple[int, ...]) -> int:
        return shape[0]

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        return self.scheme.decode(shape[::-1], read, 0, shape[1]).T[begin:end].contiguous()

    @property
    def parameters(self: Transposed[Writable]) -> Mapping[str, Any]:
        return self.scheme.parameters

    def describe(self: Transposed[Writable], skip: list[str]) -> dict[str, Any]:
        return self.scheme.describe(skip)

    def encoder(self: Transposed[Writable], shape: tuple[int, ...]) -> Encoder:
        return TransposedEncoder(self.scheme.encoder(shape[::-1]))

    def on_grid(self: Transposed[Kept], shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        return TransposedEncoder(self.scheme.on_grid(shape[::-1], read, key))

    def changed(
        self: Transposed[Kept], shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]
    ) -> Tensor:
        return self.scheme.changed(shape[::-1], read, 0, parts).T


@dataclass(frozen=True)
class TransposedEncoder:
    """An encoder of Wᵀ, for the whole of W."""

    inner: Encoder

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        parts, stored = self.inner.rows(values.T.contiguous(), begin)
        return parts, lambda: stored().T

    def written(self, pieces: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self.inner.written(pieces)

    def rest(self) -> Mapping[str, Tensor]:
        return self.inner.rest()
