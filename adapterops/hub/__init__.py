"""The Hugging Face Hub: references, read as far as needed; pushing; model cards.

The only part that imports huggingface_hub, and only when the Hub is asked: nothing local waits for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {"locate": "snapshot", "pull": "pulling", "push": "pushing"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
