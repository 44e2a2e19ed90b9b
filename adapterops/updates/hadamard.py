"""LoHa: the product, entry by entry, of two updates of low rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from adapterops.errors import InputError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.lowrank import LowRank, measure
from adapterops.updates.protocol import Array, Part, all_rows, change_by_rows
from adapterops.updates.sums import added, added_to
from adapterops.updates.tucker import measure_transposed, product

KERNELS = ("hada_t1", "hada_t2")
"""Of a convolution in Tucker's form, where each product is Σ_mn B[i, m] t[m, n, k, l] A[n, j], and B is stored transposed."""

ROLES = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


@dataclass(frozen=True, eq=False)
class Hadamard:
    """ΔW = scale · (B₁ A₁) ∘ (B₂ A₂), of rank r₁ r₂ at most.

    Source: Hyeon-Woo et al. 2022, arXiv:2108.06098 (FedPara); LyCORIS.
    """

    first: LowRank
    second: LowRank
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.first.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(self.first.dtype, self.second.dtype)

    error: ClassVar[float] = 0.0

    @property
    def near(self) -> LowRank:
        return self.lowrank()

    @property
    def T(self) -> Hadamard:
        return replace(self, first=self.first.T, second=self.second.T)

    def lowrank(self) -> LowRank:
        """Exact factors of rank r₁ r₂:
        entry (i, j) of the product is Σ_kl B₁[i,k] B₂[i,l] · A₁[k,j] A₂[l,j] (Khatri-Rao).
        """
        (out, into), rank = self.shape, self.first.rank * self.second.rank
        B = (self.first.folded()[:, :, None] * self.second.folded()[:, None, :]).reshape(out, rank)
        A = (self.first.A[:, None, :] * self.second.A[None, :, :]).reshape(rank, into)
        return LowRank(B, A, self.scale)

    dense, change = all_rows, change_by_rows

    def norm(self) -> float:
        return self.lowrank().norm()

    def rows(self, part: Part, out: Array) -> Array:
        self.first.rows(part, out)
        with np.errstate(all="ignore"):  # what is not finite is found when it is stored
            np.multiply(out, self.second.rows(part, np.empty_like(out)), out=out)
            return np.multiply(out, self.scale, out=out)

    __add__, __radd__ = added, added_to

    def __mul__(self, factor: float) -> Hadamard:
        return replace(self, scale=factor * self.scale)

    __rmul__ = __mul__


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    first, second = (
        measure_transposed(shapes, f"hada_w{n}_a", f"hada_t{n}", f"hada_w{n}_b")
        if KERNELS[0] in shapes
        else measure(shapes, f"hada_w{n}_b", f"hada_w{n}_a")
        for n in (1, 2)
    )
    if first.shape != second.shape:
        raise InputError(
            f"its two products have the shapes {list(first.shape)} and {list(second.shape)}",
            hint="save the adapter again",
            code="E-SHAPE",
        )
    return Measure(first.shape, first.rank, min(first.bound * second.bound, *first.shape), first.kernel)


def _build(arrays: Mapping[str, Array], scale: float) -> Hadamard:
    first, second = (
        product(arrays[f"hada_w{n}_a"].T, arrays[f"hada_t{n}"], arrays[f"hada_w{n}_b"])
        if KERNELS[0] in arrays
        else LowRank(arrays[f"hada_w{n}_a"], arrays[f"hada_w{n}_b"])
        for n in (1, 2)
    )
    return Hadamard(first, second, scale)


for _name, _roles in (("LoHa", ROLES), ("LoHa with kernels", (*ROLES, *KERNELS))):
    KINDS.add(
        _name,
        Kind(
            "LoHa",
            dict.fromkeys(_roles, ""),
            _measure,
            _build,
            peft_type="LOHA",
            alpha="alpha",
            fields=("rank_dropout", "module_dropout", "use_effective_conv2d", "init_weights"),
        ),
    )
