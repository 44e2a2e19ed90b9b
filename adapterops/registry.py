"""Named things of one kind, ours and those of other packages: methods, formats, schemes, kinds of update."""

from __future__ import annotations

import os
import pkgutil
import sys
import warnings
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from adapterops.errors import AdapterWarning

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Member = TypeVar("Member")


class Registry(Mapping[str, Member], Generic[Member]):
    """Members by name. A name that is taken is an error.

    A member registers itself when its module is imported. The modules are found, and imported when the first member is
    asked for: all of a package of ours, then what other packages name in entry points of the group. Ours, and
    what was imported before them, are in the order of their names; the others follow.

    Args:
        what: the kind of thing, for messages.
        package: ours, each module of which registers members.
        group: of the entry points.
    """

    def __init__(self, what: str, package: str, group: str) -> None:
        self._what, self._package, self._group = what, package, group
        self._members: dict[str, Member] = {}
        self._loaded_own = self._loaded_others = False

    def add(self, names: str | tuple[str, ...], member: Member) -> None:
        """Register a member under its name, or under all of its names.

        Raises:
            ValueError: a name is taken; then none is registered.
        """
        names = (names,) if isinstance(names, str) else names
        for name in names:
            if name in self._members:
                raise ValueError(f"there is already a {self._what} {name!r}")
        self._members |= dict.fromkeys(names, member)

    def remove(self, name: str) -> None:
        """Forget a member; for tests."""
        del self._members[name]

    def registered(self) -> list[Member]:
        """The members so far, without importing any."""
        return list(self._members.values())

    def own(self) -> list[Member]:
        """The members so far, those of our package among them, in an order that does not depend on what was imported first.
        Other packages are not imported for it.
        """
        self._load_own()
        return self.registered()

    def _load_own(self) -> None:
        if not self._loaded_own:
            self._loaded_own = True
            import_modules(self._package)
            self._members = dict(sorted(self._members.items()))

    def _all(self) -> dict[str, Member]:
        self._load_own()  # first: their names are theirs
        if not self._loaded_others:
            self._loaded_others = True
            load_outside(self._what, self._group)
        return self._members

    def __getitem__(self, name: str) -> Member:
        return self._all()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def values(self) -> ValuesView[Member]:  # here and below: a mapping's own look every member up by its name
        return self._all().values()

    def items(self) -> ItemsView[str, Member]:
        return self._all().items()


def import_modules(package: str) -> None:
    """Import all modules of a package and of its folders, in alphabetical order."""
    for module in sorted(found.name for found in pkgutil.walk_packages(import_module(package).__path__, f"{package}.")):
        import_module(module)


def points(group: str) -> Iterable[EntryPoint]:
    """What the packages on the path name in a group."""
    texts = _texts(tuple(sys.path))
    if texts is not None and f"[{group}]" not in texts:
        return ()
    found: Iterable[EntryPoint] = _of_all_groups(tuple(sys.path)).select(group=group)
    return found


@lru_cache(1)
def _texts(path: tuple[str, ...]) -> str | None:
    """The files in which the packages on the path name all that they do. None where some may be elsewhere, in an archive
    or by a finder of their own: then the standard library is asked. Its import takes longer than all of this.
    """
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return None
    texts = []
    for folder in path:
        try:
            with os.scandir(folder or ".") as entries:
                names = [each.name for each in entries if each.name.lower().endswith((".dist-info", ".egg-info"))]
        except FileNotFoundError:
            continue
        except OSError:
            return None
        if folder.lower().endswith(".egg"):
            return None
        for name in names:
            with suppress(FileNotFoundError, NotADirectoryError):
                texts.append(Path(folder, name, "entry_points.txt").read_text("utf-8", "replace"))
    return "\n".join(texts)


@lru_cache(1)
def _of_all_groups(path: tuple[str, ...]) -> Any:
    """The same of all groups: looking through all packages takes longer than reading a header, and is done once."""
    from importlib.metadata import entry_points

    return entry_points()


def load_outside(what: str, group: str) -> None:
    """Import what other packages name in the entry points of a group, in alphabetical order. What cannot be imported is warned of, and
    is not there; all else works.
    """
    for point in sorted(points(group)):
        try:
            point.load()
        except (Exception, SystemExit) as error:  # whatever another package does when it is imported
            warnings.warn(
                f"the {what} {point.name} of another package is not there: it cannot be loaded from {point.value}: {error}; update "
                "that package, or uninstall it",
                AdapterWarning,
                stacklevel=2,
            )
