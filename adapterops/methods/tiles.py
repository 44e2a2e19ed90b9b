"""A tile of entries, and a threshold on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from adapterops.arrays.device import own, placed_like
from adapterops.updates.protocol import Array


def passing(array: Array, dtype: DTypeLike | None = None) -> Any:
    """Memory of the shape of an array, until such memory is asked for next, for numbers of as many bytes: the fewer there are, the
    more of a tile is in the cache.
    """
    return own(f"passing {(array.dtype if dtype is None else np.dtype(dtype)).itemsize}", array, dtype)


@dataclass(frozen=True)
class Cut:
    """A threshold on magnitudes. Of the entries equal to it, those up to the flat index `last` are kept; None: all."""

    value: float
    last: int | None = None

    def kept(self, x: Array, start: int) -> Array:
        """Which entries of `x` are not below the cut; the first has the flat index `start`."""
        size = np.abs(x, out=passing(x))
        kept: Array = size >= self.value
        if self.last is not None and start + x.size > self.last + 1:
            tail = slice(max(self.last + 1 - start, 0), None)
            kept.reshape(-1)[tail] &= size.reshape(-1)[tail] != self.value
        return kept


@dataclass(frozen=True)
class Tile:
    """Some rows of each update: (rows, in) each. `start` is the flat index of their first entry; random numbers are of `height`
    rows at a time, by default of all of these. The values are the tile's own, and what is made of them may take their place.
    """

    values: list[Array]
    start: int
    names: Sequence[str]
    height: int | None = None

    def uniform(self, index: int, seed: int) -> Array:
        """Numbers in [0, 1), a function of the seed, the name of the update, and where the rows are."""
        from hashlib import sha256  # here: it brings all of OpenSSL, and few methods have a use for it

        values = self.values[index]
        drawn = np.empty(values.shape, np.float32)
        height = self.height or max(1, len(drawn))
        for first in range(0, len(drawn), height):
            start = self.start + first * values.shape[1]
            key = sha256(f"{seed}/{start}/{self.names[index]}".encode()).digest()
            generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
            generator.random(dtype=np.float32, out=drawn[first : first + height])
        return placed_like(drawn, values)  # type: ignore[no-any-return]  # an array on a device is one
