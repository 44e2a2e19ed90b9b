"""Two adapters of one training that are for two models: the transformers of Wan 2.2, for the first and the last steps."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations

from adapterops.errors import AdapterWarning
from adapterops.formats.diffusion.spellings import OF_IMAGES

HIGH, LOW = "high", "low"
"""What tells the names of their files apart: how noisy the images are that a transformer gets."""


def warn_of_pairs(adapters: Sequence[tuple[str, str]]) -> None:
    """Warn of two image adapters, of which the name of the file and the format are given, whose names differ by high and
    low noise alone.
    """
    named = [name for name, form in adapters if form in OF_IMAGES]
    for one, other in combinations(named, 2):
        if one != other and one.lower().replace(HIGH, LOW) == other.lower().replace(HIGH, LOW):
            warnings.warn(
                f"{one} and {other} are named as the two adapters of a pair, one for each transformer of Wan 2.2 (high"
                " and low noise): here both are added to one transformer; fuse each into its own",
                AdapterWarning,
                stacklevel=3,
            )
