"""Random numbers that depend on a key and a place, so that any part can be computed by itself: those of numpy, which are the same
on every machine, and those of torch.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def uniform(key: str, begin: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Numbers in [0, 1), multiples of 2^-32, for the block of rows of what `key` names that begins with row `begin`.
    A block that begins elsewhere has other numbers, in rows that both have, too.

    >>> float(uniform("0:w", 0, (2, 2))[1, 1]) == float(uniform("0:w", 0, (4,))[3])
    True

    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (Philox), 2011; numpy promises its bits.
    """
    count = int(np.prod(shape, dtype=np.int64))
    seed = int.from_bytes(hashlib.sha256(f"{key}:{begin}".encode()).digest()[:16], "little")
    raw: NDArray[Any] = np.random.Philox(key=seed).random_raw((count + 1) // 2)
    return (raw.astype("<u8", copy=False).view("<u4")[:count] * 2.0**-32).reshape(shape)


def generator(key: str, begin: int) -> torch.Generator:
    """For the rows from `begin` on of what `key` names."""
    import torch

    return torch.Generator().manual_seed(
        int.from_bytes(hashlib.sha256(f"{key}:{begin}".encode()).digest()[:8], "little") >> 1
    )
