"""The version that is installed, which a build takes from the tag."""

from __future__ import annotations

from adapterops.installed import version

try:
    __version__ = version("adapterops")
except ModuleNotFoundError:  # run from a folder that nobody installed
    __version__ = "0+unknown"
