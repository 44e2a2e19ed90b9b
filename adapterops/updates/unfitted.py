"""LoRA that depends on how wide its weight is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array, Part, TransposedUpdate, no_factors


@dataclass(frozen=True, eq=False)
class Unfitted:
    """`on` a number of inputs it is LoRA, exactly; without a weight it has no entries. Raises IncompatibleError for a number
    that does not fit. `held` is what its file holds, for who computes it another time: by the roles of the arrays, the scale,
    and what else it is of.
    """

    on: Callable[[int], LowRank]
    outputs: int
    dtype: np.dtype[Any]
    kind: str = ""
    held: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        return self.outputs, 0

    @property
    def T(self) -> TransposedUpdate:
        return TransposedUpdate(self)

    lowrank = no_factors

    def change(self, part: Part, W: Array, out: Array) -> Array:
        """W has whole rows."""
        return self.on(W.shape[1]).rows(part, out)
