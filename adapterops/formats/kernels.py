"""Factors of convolutions as files hold them: A (r, in, height, width) and B (out, r, 1, 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch
from adapterops.updates.layout import Layout

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array

Shape = tuple[int, ...]


def kernel_shapes(layout: Layout) -> tuple[Shape, Shape]:
    """The largest shapes that A and B of a module can have.

    >>> kernel_shapes(Layout((8, 36), 2, "F32", kernel=(4, 3, 3))), kernel_shapes(Layout((8, 36), 2, "F32"))
    (((2, 4, 3, 3), (8, 2, 1, 1)), ((2, 36), (8, 2)))
    """
    kernel = layout.kernel or layout.shape[1:]
    return (layout.rank, *kernel), (layout.shape[0], layout.rank, *(1,) * (len(kernel) - 1))


def as_kernels(A: Array, B: Array, layout: Layout) -> tuple[Array, Array]:
    """A (r, in) and B (out, r) in the dimensions that the weight has."""
    kernel = layout.kernel or layout.shape[1:]
    return A.reshape(len(A), *kernel), B.reshape(*B.shape, *(1,) * (len(kernel) - 1))


def entries(A: Array, B: Array, dtype: str) -> Array:
    """B A as it is stored, of factors as they are stored, one of which is the identity: exact."""
    from adapterops.arrays.floats import checked, widened

    return checked(widened(B, dtype, Scratch()) @ widened(A, dtype, Scratch()), dtype, Scratch())
