"""Libraries that take long to import: whether another part of the program has done it already."""

from __future__ import annotations

import sys
from typing import Any


def imported_torch() -> Any:
    """torch, where it has been imported, and not only half, as another thread may be at it; else None."""
    module = sys.modules.get("torch")
    return None if module is None or getattr(module.__spec__, "_initializing", False) else module
