"""How two adapters relate, module by module and over all."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapterops.linalg.geometry import Signs

SAME_START = 0.5
"""A's whose cosine is above this had one random initialisation: that of independent ones is 0 ± 1/sqrt(r · in)."""

SAME_END = 0.9
"""B's whose cosine is above this are those of one training, not of two."""


@dataclass(frozen=True)
class SharedModule:
    """A module that two adapters have. `dot` is ⟨ΔW₁, ΔW₂⟩ and `norms` are ‖ΔW‖_F.

    Of the spaces of columns and of rows: Σ cos² of the principal angles, and what chance makes of it; `smaller` is the
    number of dimensions of the smaller one. `A` and `B`: inner product of the factors and their norms, where the ranks
    are equal.
    """

    dot: float
    norms: tuple[float, float]
    columns: float
    rows: float
    chance: tuple[float, float]
    smaller: int
    signs: Signs
    A: tuple[float, float, float] | None
    B: tuple[float, float, float] | None

    @property
    def cosine(self) -> float:
        return _ratio(self.dot, *self.norms)

    def as_json(self) -> dict[str, Any]:
        from adapterops.linalg.geometry import conflict

        overlaps = {"columns": self.columns / self.smaller, "rows": self.rows / self.smaller} if self.smaller else {}
        opposed = conflict([self.signs])
        return {"cosine": self.cosine, **overlaps, "sign_conflict": opposed[0] if opposed else None}


@dataclass(frozen=True)
class Pair:
    """Two adapters, by their numbers in the comparison; a module that one lacks is zero there."""

    first: int
    second: int
    norms: tuple[float, float]
    modules: Mapping[str, SharedModule]

    @cached_property
    def cosine(self) -> float:
        """Of the whole updates: ⟨ΔW₁, ΔW₂⟩ / (‖ΔW₁‖ ‖ΔW₂‖)."""
        return _ratio(sum(each.dot for each in self.modules.values()), *self.norms)

    @property
    def smaller(self) -> int:
        """Dimensions of the smaller space, summed over the modules."""
        return sum(each.smaller for each in self.modules.values())

    @property
    def columns(self) -> float | None:
        """‖Q₁ᵀQ₂‖_F² / min(r₁, r₂) of the column spaces, over all modules:
        0 where they are orthogonal, 1 where one holds the other.
        """
        return self._overlap([each.columns for each in self.modules.values()])

    @property
    def rows(self) -> float | None:
        """The same of the row spaces."""
        return self._overlap([each.rows for each in self.modules.values()])

    @property
    def chance(self) -> tuple[float, float] | None:
        """What the overlaps of columns and rows are on average for random spaces."""
        columns, rows = (self._overlap([each.chance[side] for each in self.modules.values()]) for side in (0, 1))
        return None if columns is None or rows is None else (columns, rows)

    @cached_property
    def conflict(self) -> tuple[float, float] | None:
        """The fraction of entries with opposite signs, from a sample of rows, and its standard error."""
        from adapterops.linalg.geometry import conflict

        return conflict([each.signs for each in self.modules.values()])

    @cached_property
    def factors(self) -> tuple[float, float] | None:
        """The cosines of the A's and of the B's as they are stored; None where no module has equal ranks."""
        sides = []
        for side in ("A", "B"):
            known = [factor for each in self.modules.values() if (factor := getattr(each, side))]
            sides.append(
                _ratio(sum(k[0] for k in known), math.hypot(*(k[1] for k in known)), math.hypot(*(k[2] for k in known)))
            )
            if not known:
                return None
        return sides[0], sides[1]

    @property
    def shared_start(self) -> bool:
        """Whether the A's are nearly equal although the B's differ: both trainings began with one random A."""
        return self.factors is not None and self.factors[0] > SAME_START and self.factors[1] < SAME_END

    def within(self, modules: Collection[str]) -> Pair:
        """The same of some of the modules that both have."""
        chosen = {module: self.modules[module] for module in modules}
        first, second = (math.hypot(*(each.norms[side] for each in chosen.values())) for side in (0, 1))
        return replace(self, norms=(first, second), modules=chosen)

    def _overlap(self, energies: Iterable[float]) -> float | None:
        return sum(energies) / self.smaller if self.smaller else None


def _ratio(dot: float, *norms: float) -> float:
    size = math.prod(norms)
    return max(-1.0, min(1.0, dot / size)) if size else 0.0
