"""Two adapters of one training that are for two models: the transformers of Wan 2.2, for the first and the last steps."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from itertools import combinations

from adapterops.errors import AdapterWarning
from adapterops.formats.diffusion.spellings import OF_IMAGES

HIGH, LOW = "high", "low"
"""What tells the names of their files apart: how noisy the images are that a transformer gets."""


def warn_of_pairs(adapters: Sequence[tuple[str, str, Collection[str]]]) -> None:
    """Warn of two image adapters, of which the name of the file, the format and the modules are given, that change the same
    modules, and whose names differ by high and low noise alone.
    """
    named = [(name, modules) for name, form, modules in adapters if form in OF_IMAGES]
    for (one, mine), (other, its) in combinations(named, 2):
        alike = one.lower().replace(HIGH, LOW) == other.lower().replace(HIGH, LOW)
        if one != other and alike and not set(mine).isdisjoint(its):
            warnings.warn(
                f"{one} and {other} are named as the two adapters of a pair, one for each transformer of Wan 2.2 (high"
                " and low noise): here both are added to one transformer; fuse each into its own:"
                " --component transformer, and --component transformer_2",
                AdapterWarning,
                stacklevel=3,
            )
