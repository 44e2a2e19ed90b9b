"""The version is that of the installed distribution."""

from __future__ import annotations

from importlib.metadata import version

import adapterops


def test_it_is_what_pip_shows() -> None:
    assert adapterops.__version__ == version("adapterops")
