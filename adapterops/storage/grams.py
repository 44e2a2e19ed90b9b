"""A file of Gram matrices: one for each module, of what it takes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "adapterops-grams"
MARK = FORMAT.encode()


def grams_file(modules: Mapping[str, NDArray[Any]], tokens: int) -> bytes:
    """The file: for every module the mean of x xᵀ over so many tokens, [inputs, inputs] in float32, and in the header
    what it is.
    """
    from safetensors.numpy import save

    metadata = {"format": FORMAT, "schema": "1", "tokens": str(tokens)}
    data: bytes = save({name: np.ascontiguousarray(each) for name, each in modules.items()}, metadata=metadata)
    return data
