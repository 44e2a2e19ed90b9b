"""What is installed: by the files on the path, where they say it. The standard library knows in any case, and its import takes longer
than to read a header.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

INFO = (".dist-info", ".egg-info")
"""How the folders end in which packages say what they are."""


def version(package: str) -> str:
    """The version of a package that is installed.

    Raises:
        PackageNotFoundError: it is not.
    """
    for folder in _folders(tuple(sys.path)) or ():
        if folder.name.lower().startswith(f"{package}-"):
            with suppress(OSError), open(folder / "METADATA", encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.startswith("Version: "):
                        return line.removeprefix("Version: ").strip()
    from importlib import metadata

    return metadata.version(package)


def points(group: str) -> Iterable[EntryPoint]:
    """What the packages on the path name in a group."""
    texts = _texts(tuple(sys.path))
    if texts is not None and f"[{group}]" not in texts:
        return ()
    found: Iterable[EntryPoint] = _of_all_groups(tuple(sys.path)).select(group=group)
    return found


@lru_cache(1)
def _folders(path: tuple[str, ...]) -> list[Path] | None:
    """Those of the packages on the path, in its order. None where some may be elsewhere, in an archive or by a finder of their own."""
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return None
    found = []
    for folder in path:
        if folder.lower().endswith(".egg"):
            return None
        try:
            found += [Path(folder, name) for name in os.listdir(folder or ".") if name.lower().endswith(INFO)]
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return found


@lru_cache(1)
def _texts(path: tuple[str, ...]) -> str | None:
    """The files in which the packages on the path name all that they do; None where only the standard library finds all of them."""
    folders = _folders(path)
    if folders is None:
        return None
    texts = []
    for folder in folders:
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            open(folder / "entry_points.txt", errors="replace") as file,
        ):
            texts.append(file.read())
    return "\n".join(texts)


@lru_cache(1)
def _of_all_groups(path: tuple[str, ...]) -> Any:
    """The same of all groups: looking through all packages takes longer than reading a header, and is done once."""
    from importlib.metadata import entry_points

    return entry_points()
