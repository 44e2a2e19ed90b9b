"""What rounding explains: how far a stored sum may be from W0 + ΔW, and W'x from W0 x + B(Ax)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterops.operations.fusion import Piece

if TYPE_CHECKING:
    from torch import Tensor

PROBES = 2
"""Vectors on which the merge identity is tried."""


def near_sum(stored: Tensor, W0: Tensor, piece: Piece, begin: int, part: tuple[slice, slice]) -> Tensor:
    """Where `stored` is as good a rounding of W0 + ΔW as float32 can tell: the sum in float64 lies within half a step of it."""
    from adapterops.updates.dense import Dense

    rows = slice(begin + part[0].start - piece.place.row, begin + part[0].stop - piece.place.row)
    wide, update = W0.double(), piece.update()
    if isinstance(update, Dense):
        delta = update.weight[rows].double()
        size, terms = delta.abs(), 2
    else:
        B, A = update.scale * update.B[rows].double(), update.A.double()
        delta, size, terms = B @ A, B.abs() @ A.abs(), update.rank + 2
    uncertain = terms * 2.0**-24 * (wide.abs() + size)
    return (stored.double() - (wide + delta)).abs() <= _half_step(stored) + uncertain


def _half_step(x: Tensor) -> Tensor:
    """Half the distance of neighbouring numbers at x, in float64."""
    import torch

    info = torch.finfo(x.dtype)
    exponent = torch.frexp(x.double().abs().clamp(min=info.tiny)).exponent - 1
    return torch.ldexp(torch.tensor(info.eps / 2, dtype=torch.float64), exponent)


class Probe:
    """Random vectors, and what the update of a module makes of them."""

    def __init__(self, piece: Piece) -> None:
        import torch

        from adapterops.updates.lowrank import LowRank

        self.piece, self.update = piece, piece.update()
        generator = torch.Generator().manual_seed(int.from_bytes(piece.module.encode()[-7:], "little"))
        self.x = torch.randn(piece.shape[1], PROBES, generator=generator, dtype=torch.float64).float()
        self.size = torch.linalg.vector_norm(self.x, dim=0)
        if isinstance(self.update, LowRank):
            A = self.update.A.float()
            self.inner, self.inner_size = A @ self.x, torch.linalg.vector_norm(A, dim=1)

    def ratio(self, stored: Tensor, W0: Tensor, begin: int, part: tuple[slice, slice]) -> float:
        """The largest |W'x - (W0 x + B(Ax))| of these rows, as a fraction of what rounding allows: |w·x| is at most ‖w‖‖x‖."""
        import torch

        from adapterops.updates.dense import Dense

        norms = torch.linalg.vector_norm
        rows = slice(begin + part[0].start - self.piece.place.row, begin + part[0].stop - self.piece.place.row)
        update, fused, wide = self.update, stored.float(), W0.float()
        if isinstance(update, Dense):
            dense = update.weight[rows].float()
            delta, delta_size, rank = dense @ self.x, norms(dense, dim=1), 0
        else:
            B = update.scale * update.B[rows].float()
            delta, delta_size, rank = B @ self.inner, B.abs() @ self.inner_size, update.rank
        fused_size = norms(fused, dim=1)
        error = (fused.sub_(wide) @ self.x - delta).abs()
        info = torch.finfo(stored.dtype)
        width, terms = self.x.shape[0], self.x.shape[0] + rank + 4
        bound = info.eps / 2 * fused_size + info.tiny * info.eps * width**0.5  # one rounding of every entry
        bound += terms * 2.0**-24 * (fused_size + norms(wide, dim=1) + delta_size)  # and the arithmetic of this check
        return float((error / (bound[:, None] * self.size).clamp(min=torch.finfo(torch.float32).tiny)).max())
