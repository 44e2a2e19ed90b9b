"""Models that transformers loads from folders which nothing changes: read once, and copied for each that asks."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM


def causal(folder: Path, **options: Any) -> Any:
    """A model of its own, as `from_pretrained` gives it."""
    return deepcopy(_loaded(folder, tuple(options.items())))


@lru_cache(16)
def _loaded(folder: Path, options: tuple[tuple[str, Any], ...]) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, **dict(options))
