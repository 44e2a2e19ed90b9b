"""How much of an update numbers hold that were rounded to a neighbour at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapterops.verification.rounding import Matrix

SIGMAS = 8.0
"""Standard deviations of what is left of an update that chance may explain."""


@dataclass(frozen=True)
class RoundingGain:
    """⟨W' - W, ΔW⟩ / ‖ΔW‖² and its standard deviation, of rounding at random."""

    dot: float = 0.0
    square: float = 0.0
    variance: float = 0.0

    def over(self, W: Matrix, S: Matrix, value: Matrix) -> RoundingGain:
        delta, error = S - W, value - S
        return RoundingGain(
            self.dot + float((delta * (value - W)).sum()),
            self.square + float((delta * delta).sum()),
            self.variance + float(np.square(delta * error).sum()),
        )

    @property
    def gain(self) -> float:
        return self.dot / self.square if self.square else 1.0

    @property
    def spread(self) -> float:
        return float(self.variance**0.5 / self.square) if self.square else 0.0

    def far(self) -> bool:
        return abs(self.gain - 1) > SIGMAS * self.spread + 0.05
