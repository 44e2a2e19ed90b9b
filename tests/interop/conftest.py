from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from peft_models import CONFIGS, make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the adapter with a name in `CONFIGS`."""
    place = tmp_path_factory.mktemp("trained")

    def folder(name: str) -> Path:
        path = place / name
        return path if path.exists() else make(path, list(CONFIGS).index(name), **CONFIGS[name])

    return folder
