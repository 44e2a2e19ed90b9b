"""A file of Gram matrices: one for each module, of what it takes in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapterops.storage.tensors import Spec
from adapterops.storage.writer import header_text

FORMAT = "adapterops-grams"
MARK = FORMAT.encode()


def holds_grams(path: Path) -> bool:
    """Whether a file is one of Gram matrices: its metadata are at the begin of the header."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARK in file.read(256)


def grams_file(modules: Mapping[str, NDArray[Any]], tokens: int) -> bytes:
    """The file: for every module the mean of x xᵀ over so many tokens, [inputs, inputs] in float32, and in the header
    what it is. The same matrices are the same bytes.
    """
    metadata = {"format": FORMAT, "schema": "1", "tokens": str(tokens)}
    arrays = {name: np.ascontiguousarray(modules[name], "<f4") for name in sorted(modules)}
    header = header_text({name: Spec("F32", each.shape) for name, each in arrays.items()}, metadata, 0)
    return b"".join([len(header).to_bytes(8, "little"), header, *(each.tobytes() for each in arrays.values())])
