"""LoKr: the Kronecker product of two small matrices, each stored whole or as two factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product as pairs
from typing import Any, ClassVar

import numpy as np

from adapterops.errors import InputError
from adapterops.updates.dense import Dense
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.lowrank import LowRank, matrix, measure
from adapterops.updates.protocol import Array, Part, all_rows, change_by_rows
from adapterops.updates.sums import added, added_to
from adapterops.updates.tucker import measure_transposed, product

KERNEL = "lokr_t2"
"""Of a convolution in Tucker's form: W₂ is Σ_mn B[i, m] t[m, n, k, l] A[n, j] then, and B is stored transposed."""


@dataclass(frozen=True, eq=False)
class Kronecker:
    """ΔW = scale · W₁ ⊗ W₂: entry (i k + p, j n + q) is scale · W₁[i, j] · W₂[p, q], where W₂ is (k, n).

    Source: Yeh et al. 2024, arXiv:2309.14859 (LyCORIS).
    """

    outer: LowRank | Dense
    inner: LowRank | Dense
    scale: float = 1.0
    _sides: dict[Any, tuple[Array, Array]] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        (above, across), (high, wide) = self.outer.shape, self.inner.shape
        return above * high, across * wide

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(self.outer.dtype, self.inner.dtype)

    error: ClassVar[float] = 0.0

    @property
    def near(self) -> LowRank:
        return self.lowrank()

    @property
    def T(self) -> Kronecker:
        return replace(self, outer=self.outer.T, inner=self.inner.T)

    def lowrank(self) -> LowRank:
        """Exact factors of rank r₁ r₂: (B₁ A₁) ⊗ (B₂ A₂) = (B₁ ⊗ B₂) (A₁ ⊗ A₂)."""
        one, two = thin(self.outer), thin(self.inner)
        return LowRank(np.kron(one.folded(), two.folded()), np.kron(one.A, two.A), self.scale)

    dense, change = all_rows, change_by_rows

    def norm(self) -> float:
        """‖scale · W₁‖_F ‖W₂‖_F, in float64. Cost: that of the two."""
        one, two = (float(np.linalg.norm(side)) for side in self.sides(np.dtype(np.float64)))
        return one * two

    def rows(self, part: Part, out: Array) -> Array:
        """The entries of ΔW in a part, and no others. Cost: one multiplication for each."""
        down, across = (np.arange(length)[each] for length, each in zip(self.shape, part, strict=True))
        one, two = self.sides(out.dtype)
        high, wide = two.shape
        one, two = one[down // high], two[down % high]
        with np.errstate(all="ignore"):  # what is not finite is found when it is stored
            if len(across) < self.shape[1]:
                np.multiply(one[:, across // wide], two[:, across % wide], out=out)
            else:  # a row of W₁ times one of W₂ is a row: a tenth of the time that choosing takes
                blocks = out.reshape(*one.shape, wide)  # a view, whatever `out` is a part of
                np.multiply(one[:, :, None], two[:, None, :], out=blocks)
        return out

    def sides(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """scale · W₁ and W₂ in a dtype: computed once."""
        if dtype not in self._sides:
            one, two = (all_rows(each, dtype) for each in (self.outer, self.inner))
            with np.errstate(all="ignore"):
                self._sides[dtype] = np.multiply(one, self.scale, dtype=dtype), two
        return self._sides[dtype]

    __add__, __radd__ = added, added_to

    def __mul__(self, factor: float) -> Kronecker:
        return replace(self, scale=factor * self.scale)

    __rmul__ = __mul__


def thin(side: Any) -> LowRank:
    """Exact factors of no more dimensions than the matrix has: of one without any, the identity and itself."""
    least = min(side.shape)
    if isinstance(side, LowRank) and side.rank <= least:
        return side
    entries, one = side.dense(), np.eye(least, dtype=side.dtype)
    return LowRank(entries, one) if entries.shape[1] == least else LowRank(one, entries)


def _side(number: int, shapes: Mapping[str, Shape]) -> Measure:
    """That of W₁ or W₂; without a rank where it is stored whole."""
    role = f"lokr_w{number}"
    if KERNEL in shapes and number == 2:
        return measure_transposed(shapes, f"{role}_a", KERNEL, f"{role}_b")
    if role not in shapes:
        return measure(shapes, f"{role}_b", f"{role}_a")
    shape = matrix(shapes, role)
    return Measure(shape, None, min(shape), shapes[role][1:] if len(shapes[role]) > 2 else ())


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    one, two = _side(1, shapes), _side(2, shapes)
    if one.rank and two.rank and one.rank != two.rank:
        raise InputError(
            f"its two matrices have the ranks {one.rank} and {two.rank}",
            hint="both must come from one training",
            code="E-SHAPE",
        )
    shape = one.shape[0] * two.shape[0], one.shape[1] * two.shape[1]
    bound = min(one.bound, *one.shape) * min(two.bound, *two.shape)
    kernel = (one.shape[1] * two.kernel[0], *two.kernel[1:]) if two.kernel else ()
    return Measure(shape, one.rank or two.rank, bound, kernel)


def _build(arrays: Mapping[str, Array], scale: float) -> Kronecker:
    outer, inner = (
        Dense(arrays[role]) if role in arrays else _product(role, arrays) for role in ("lokr_w1", "lokr_w2")
    )
    return Kronecker(outer, inner, scale)


def _product(role: str, arrays: Mapping[str, Array]) -> LowRank:
    B, A = arrays[f"{role}_a"], arrays[f"{role}_b"]
    return product(B.T, arrays[KERNEL], A) if role == "lokr_w2" and KERNEL in arrays else LowRank(B, A)


FIELDS = (
    "rank_dropout",
    "rank_dropout_scale",
    "module_dropout",
    "init_weights",
    "decompose_both",
    "decompose_factor",
)
REFUSED = {
    "use_effective_conv2d": "LoKr of convolutions is not handled; Linear layers ignore the field, and it can be removed"
}


def _forms(role: str) -> Sequence[tuple[str, ...]]:
    return (role,), (f"{role}_a", f"{role}_b")


TUCKER = ("lokr_w2_a", "lokr_w2_b", KERNEL)
for _one, _two in pairs(_forms("lokr_w1"), (*_forms("lokr_w2"), TUCKER)):
    KINDS.add(
        f"LoKr of {', '.join((*_one, *_two))}",
        Kind(
            "LoKr",
            dict.fromkeys((*_one, *_two), ""),
            _measure,
            _build,
            untrained=_one[0],
            peft_type="LOKR",
            alpha="alpha",
            fields=FIELDS,
            refused=REFUSED,
        ),
    )
