"""Random numbers that depend on a key and a place, so that any part can be computed by itself: those of numpy, which are the same
on every machine, and those of torch; and plain ones for what needs no more.
"""

from __future__ import annotations

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
    import hashlib  # here and below: it brings all of OpenSSL, and most commands have no use for it

    count = int(np.prod(shape, dtype=np.int64))
    seed = int.from_bytes(hashlib.sha256(f"{key}:{begin}".encode()).digest()[:16], "little")
    raw: NDArray[Any] = np.random.Philox(key=seed).random_raw((count + 1) // 2)
    return (raw.astype("<u8", copy=False).view("<u4")[:count] * 2.0**-32).reshape(shape)


def generator(key: str, begin: int) -> torch.Generator:
    """For the rows from `begin` on of what `key` names."""
    import hashlib

    import torch

    return torch.Generator().manual_seed(
        int.from_bytes(hashlib.sha256(f"{key}:{begin}".encode()).digest()[:8], "little") >> 1
    )


def scattered(begin: int, count: int) -> NDArray[Any]:
    """Numbers from -√3 to √3, of mean 0 and variance 1, which follow no pattern: those from the place `begin` on of one sequence.

    >>> numbers = scattered(0, 10000)
    >>> bool(abs(numbers.mean()) < 0.02), bool(abs(numbers.var() - 1) < 0.02), bool((scattered(5, 2) == numbers[5:7]).all())
    (True, True, True)

    Source: Steele et al., Fast splittable pseudorandom number generators (SplitMix), 2014: a hash of the place. numpy's own take 10 ms
    to import.
    """
    z = np.arange(begin + 1, begin + 1 + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z ^= z >> np.uint64(31)
    return (z * 2.0**-63 - 1.0) * 3.0**0.5  # type: ignore[no-any-return]
