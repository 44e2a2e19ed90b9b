"""Random numbers that depend on a key and a place, so that any part can be computed by itself."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def generator(key: str, begin: int) -> torch.Generator:
    """For the rows from `begin` on of what `key` names."""
    import torch

    return torch.Generator().manual_seed(
        int.from_bytes(hashlib.sha256(f"{key}:{begin}".encode()).digest()[:8], "little") >> 1
    )
