"""Thousands of tiny models and adapters are loaded and saved here: without the threads, bars and texts for a log that
transformers makes for each, and with one card of PEFT's, compiled once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jinja2
import pytest
import transformers
from peft_models import CONFIGS, make

os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
transformers.utils.logging.disable_progress_bar()
transformers.PreTrainedConfig.__repr__ = object.__repr__
jinja2.Template = cache(jinja2.Template)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the adapter with a name in `CONFIGS`."""
    place = tmp_path_factory.mktemp("trained")

    def folder(name: str) -> Path:
        path = place / name
        return path if path.exists() else make(path, list(CONFIGS).index(name), **CONFIGS[name])

    return folder
