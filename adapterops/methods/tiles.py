"""A tile of entries, and a threshold on them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Cut:
    """A threshold on magnitudes. Of the entries equal to it, those up to the flat index `last` are kept; None: all."""

    value: float
    last: int | None = None

    def apply(self, x: Tensor, start: int) -> Tensor:
        """`x` with everything below the cut set to zero; its first entry has the flat index `start`."""
        below = np.nextafter(np.asarray(self.value, dtype=x.numpy().dtype), 0)
        kept: Tensor = torch.nn.functional.hardshrink(x, float(below))
        if self.last is not None and start + x.numel() > self.last + 1:
            flat = kept.view(-1)
            tail = flat[max(self.last + 1 - start, 0) :]
            tail[tail.abs() == self.value] = 0
        return kept


@dataclass(frozen=True)
class Tile:
    """Some rows of each update: (rows, in) each. `start` is the flat index of their first entry."""

    values: list[Tensor]
    start: int
    names: Sequence[str]

    def uniform(self, index: int, seed: int) -> Tensor:
        """Numbers in [0, 1), a function of the seed, the name of the update, and where the tile lies."""
        key = hashlib.sha256(f"{seed}/{self.start}/{self.names[index]}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
        return torch.from_numpy(generator.random(self.values[index].shape, dtype=np.float32))
