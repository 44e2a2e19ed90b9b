"""Numbers onto a stored grid by what is known of the inputs: the error of each column is undone in those that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from adapterops.errors import InputError
from adapterops.quant.checks import check_finite
from adapterops.quant.grid import SMALLEST, CodeScheme, at, below, grid_of
from adapterops.quant.scheme import Encoder, Kept, Read, at_once, torch_dtype
from adapterops.quant.transposed import Transposed, TransposedEncoder
from adapterops.quant.used import decoded_to

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.arrays.floats import Array

RIDGE = 0.01
"""Of the mean of the diagonal, added to it."""

AT_ONCE = 1 << 23
"""Entries that are rounded together, of whole rows: ten matrices of so many are held."""

COLUMNS = 64
"""Columns whose error is put into all that follow by one product."""


class Calibrated:
    """Codes ŵ that make ‖(Ŵ - T) X‖ small rather than ‖Ŵ - T‖: column after column to nearest, in the order of their
    power, and the error e of each, seen by the inputs, taken from the columns that are to come (GPTQ):

        H = XXᵀ / tr + ΔᵀΔ / tr + ridge,   Uᵀ U = H⁻¹,   T_k ← T_k - e U_jk / U_jj  for k after j

    Δ = T - W is the update: its term keeps what it does to inputs that the Gram matrix XXᵀ does not know. The scales stay
    what they are, and rows without an update keep their codes.

    Source: Frantar et al. 2022, arXiv:2210.17323.
    Differs: the grid is the one that is there, and the update is a part of H.
    """

    written = at_once

    def __init__(self, scheme: CodeScheme, shape: tuple[int, ...], read: Read, gram: Callable[[], Array]) -> None:
        self.scheme, self.shape, self.read, self.gram = scheme, shape, read, gram

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        """All rows.

        Cost: rows · columns² operations, and one inversion; memory for H three times in float64.
        """
        import torch

        values = values.cpu()
        check_finite(values)
        scheme, shape, height = self.scheme, self.shape, len(values)
        update = values - scheme.decode(shape, self.read, begin, begin + height)
        order, U = _factor(torch.from_numpy(self.gram()).double(), update)
        step = max(1, AT_ONCE // max(1, values.shape[1]))
        codes, found = torch.empty(values.shape, dtype=torch.uint8), torch.empty_like(values)
        codes[:] = scheme.codes(shape, self.read, begin, begin + height)
        scales, zeros = scheme.scales(shape, self.read, begin, begin + height)
        zeros = torch.as_tensor(zeros, dtype=torch.float32)
        scales, zeros = (each.expand(values.shape) for each in (scales, zeros))
        for first in range(0, height, step):
            part = slice(first, first + step)
            columns = [each[part][:, order].T.contiguous() for each in (values, update, codes, scales, zeros)]
            made, numbers = _rounded(scheme, U, *columns)
            codes[part, order], found[part, order] = made.T, numbers.T
        return scheme.encoded_parts(shape, codes, self.read, begin), lambda: found

    def rest(self) -> dict[str, Tensor]:
        return {}


def calibrated(scheme: Kept, shape: tuple[int, ...], read: Read, gram: Callable[[], Array]) -> Encoder:
    """The encoder onto the stored grid of a scheme, for inputs with the Gram matrix `gram`, of the shape of the columns."""
    if isinstance(scheme, Transposed):
        return TransposedEncoder(Calibrated(cast(CodeScheme, scheme.scheme), shape[::-1], read, gram))
    return Calibrated(cast(CodeScheme, scheme), shape, read, gram)


def hessian(gram: Tensor, update: Tensor) -> Tensor:
    """H of `Calibrated`, in float64."""
    import torch

    delta = update.double()
    inner = delta.T @ delta
    H = sum(each / each.trace() for each in (gram, inner) if float(each.trace()) > 0)
    H = H if isinstance(H, torch.Tensor) else torch.zeros_like(gram)
    return H + (RIDGE * H.diagonal().mean() if float(H.trace()) else 1.0) * torch.eye(len(H), dtype=H.dtype)


def _factor(gram: Tensor, update: Tensor) -> tuple[Tensor, Tensor]:
    """The order of the columns, and U of `Calibrated`, its rows divided by the diagonal."""
    import torch

    H = hessian(gram, update)
    order = torch.argsort(H.diagonal(), descending=True, stable=True)
    try:
        U = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H[order][:, order])), upper=True)
    except RuntimeError as error:  # torch's own class for it is not exported
        if "positive-definite" not in str(error):
            raise
        fact = "the Gram matrix of its inputs is none: its products are those of no inputs"
        raise InputError(fact, hint="make it again with adapterops gram", code="E-GRAM") from None
    return order, (U / U.diagonal()[:, None]).float()


def _rounded(
    scheme: CodeScheme, U: Tensor, values: Tensor, update: Tensor, codes: Tensor, scales: Tensor, zeros: Tensor
) -> tuple[Tensor, Tensor]:
    """Codes of some rows, and what they stand for; all by columns. The values are used up."""
    import torch

    numbers, dtype = scheme.numbers(), torch_dtype(decoded_to(scheme))
    grid = grid_of(numbers)
    inverse = torch.where(scales.abs() < SMALLEST, 0, 1 / scales)
    changed = (update != 0).any(dim=0)
    made, found, error = torch.empty_like(codes), torch.empty_like(values), torch.empty(COLUMNS, values.shape[1])
    for first in range(0, len(values), COLUMNS):
        last = min(first + COLUMNS, len(values))
        for j in range(first, last):
            stored = at(numbers, codes[j].int())
            s = (values[j] * inverse[j]).add_(zeros[j])
            place = below(s, grid.values, at(grid.places, codes[j].int()))
            place += (s > at(grid.middles, place)).int()
            moved = at(grid.codes, place)
            same = ~changed | (at(numbers, moved.int()) == stored)
            made[j] = torch.where(same, codes[j], moved)
            found[j] = (torch.where(same, stored, at(numbers, moved.int())) - zeros[j]) * scales[j]
            error[j - first] = torch.where(changed, values[j] - found[j].to(dtype).float(), 0)
            values[j + 1 : last].addr_(U[j, j + 1 : last], error[j - first], alpha=-1)
        values[last:].addmm_(U[first:last, last:].T, error[: last - first], alpha=-1)
    return made, found
