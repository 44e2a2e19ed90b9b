"""A file of Gram matrices: one for each module, of what it takes in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapterops.arrays.finite import all_finite
from adapterops.errors import InputError
from adapterops.storage.tensors import Spec
from adapterops.storage.writer import header_text

FORMAT = "adapterops-grams"
ADAPTER = "adapter"
MARK = FORMAT.encode()
NEARLY = 1e-3
"""How far two numbers of a Gram matrix may be apart that are equal, relative to the largest that they can be."""

ROWS = 1 << 10
"""Rows that are checked together."""

AGAIN = "make it again with adapterops gram"


def holds_grams(path: Path) -> bool:
    """Whether a file is one of Gram matrices: its metadata are at the begin of the header."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARK in file.read(256)


def grams_file(modules: Mapping[str, NDArray[Any]], tokens: int, adapter: str | None = None) -> bytes:
    """The file: for every module the mean of x xᵀ over so many tokens, [inputs, inputs] in float32, and in the header
    what it is. The same matrices are the same bytes.

    Args:
        adapter: by what the content of the adapter is known that was active, if one was: see `provenance.history.key`.
    """
    metadata = {"format": FORMAT, "schema": "1", "tokens": str(tokens)} | ({ADAPTER: adapter} if adapter else {})
    arrays = {name: np.ascontiguousarray(modules[name], "<f4") for name in sorted(modules)}
    header = header_text({name: Spec("F32", each.shape) for name, each in arrays.items()}, metadata, 0)
    return b"".join([len(header).to_bytes(8, "little"), header, *(each.tobytes() for each in arrays.values())])


def check_gram(gram: NDArray[Any]) -> None:
    """Raise InputError for what is the mean of no products x xᵀ: g_ij = g_ji, and g_ij² is at most g_ii g_jj.

    Cost: reads the matrix twice, and holds `ROWS` rows of it.
    """
    if not all_finite(gram):
        fact = "has numbers that are NaN or infinite, and should be the mean of products of inputs"
        raise InputError(fact, hint=AGAIN, code="E-NONFINITE")
    powers = gram.diagonal().astype(np.float64)
    least = float(powers.min(initial=0))
    lengths = np.sqrt(powers.clip(0))
    for begin in range(0, len(gram) if least >= 0 else 0, ROWS):
        rows, most = gram[begin : begin + ROWS], np.outer(lengths[begin : begin + ROWS], lengths)
        asymmetry = np.abs(rows - gram[:, begin : begin + ROWS].T)
        if (asymmetry > NEARLY * most).any() or (np.abs(rows) > (1 + NEARLY) * most).any():
            least = -1
    if least < 0:
        raise InputError("is no Gram matrix: no inputs have these products", hint=AGAIN, code="E-GRAM")
