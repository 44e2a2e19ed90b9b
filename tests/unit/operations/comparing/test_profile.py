"""One adapter by itself: what it is called."""

from __future__ import annotations

from pathlib import Path

from corpus import write_adapter

import adapterops as ao
from adapterops.operations.comparing.profile import labels


def test_labels_tell_adapters_apart(tmp_path: Path):
    paths = [write_adapter(tmp_path / name) for name in ("x/lora", "y/lora", "z")]
    opened = [ao.open_adapter(path) for path in (*paths, paths[2])]
    assert labels(opened) == ["x/lora", "y/lora", "z (1)", "z (2)"]
    assert labels([2.0 * opened[0], opened[2]]) == ["lora", "z"]
