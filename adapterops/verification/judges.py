"""Whether the numbers or codes of a tensor are what a sum is rounded to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from adapterops.checkpoints.stored import StoredTensor
from adapterops.verification.codes import JUDGES, aligned, as_new_blocks, neighbours, off_grid
from adapterops.verification.decoding import decoder, grid
from adapterops.verification.ggml import TERMS
from adapterops.verification.grids import Grid
from adapterops.verification.numbers import Decoder
from adapterops.verification.rounding import Matrix, half_step


@dataclass(frozen=True)
class Judge:
    """What a stored tensor is compared with its sum by: half a step of its dtype, or the neighbours of its codes."""

    found: StoredTensor
    value: Decoder
    stochastic: bool
    fresh: bool = False
    grid: Grid | None = None
    """Of a scheme whose entries have a number and a scale each, in the order in which it is stored."""

    @property
    def _plain(self) -> Any:
        scheme: Any = self.found.scheme
        return getattr(scheme, "scheme", scheme)

    @property
    def rows(self) -> int:
        """That are judged together."""
        return judged_rows(self.found)

    def __call__(self, S: Matrix, slack: Matrix, begin: int, end: int) -> tuple[Matrix, Matrix]:
        """Which of the rows [begin, end) are not what S is rounded to, and what they stand for."""
        transposed = self._plain is not self.found.scheme
        stored = np.ascontiguousarray(S.T) if transposed else S
        if self.grid is not None:
            entries = self.grid(begin, begin + len(stored))
            value, off = entries.number * entries.scale, neighbours(entries, stored, self.stochastic)
            return (off.T, value.T) if transposed else (off, value)
        value = self.value(begin, end)
        if self.found.scheme is None:
            away = 2 * half_step(S, self.found.dtype) if self.stochastic else half_step(value, self.found.dtype)
            return ~(np.abs(value - S) <= away + slack), value
        off = JUDGES[self._plain.name](self.found, self._plain, stored, begin, self.stochastic)
        if self.fresh and self._plain.name in TERMS:
            off &= ~as_new_blocks(self.found, self._plain, stored, begin)
            off |= off_grid(self.found, self._plain, stored, begin, self.stochastic)
        return (off.T if transposed else off), value


def judged_rows(found: StoredTensor) -> int:
    """Rows of a stored tensor that are judged together."""
    scheme: Any = found.scheme
    if scheme is None:
        return 1
    return found.shape[0] if hasattr(scheme, "scheme") else aligned(scheme, found.shape)


def judge_of(found: StoredTensor, stochastic: bool = False, fresh: bool = False) -> Judge | None:
    """What judges a stored tensor; None for a scheme that is not written, or whose codes no formula judges: those of other packages."""
    scheme: Any = found.scheme
    numbers = grid(found)
    known = scheme is None or numbers or getattr(scheme, "scheme", scheme).name in JUDGES
    return Judge(found, decoder(found), stochastic, fresh, numbers) if known else None
