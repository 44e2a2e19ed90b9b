"""Named things of one kind, ours and those of other packages: methods, formats, schemes, kinds of update."""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Collection, ItemsView, Iterator, Mapping, ValuesView
from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar

from adapterops.errors import AdapterWarning
from adapterops.installed import points

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
        without: folders of the package in which nothing registers.
    """

    def __init__(self, what: str, package: str, group: str, without: Collection[str] = ()) -> None:
        self._what, self._package, self._group, self._without = what, package, group, without
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
            import_modules(self._package, self._without)
            self._members = dict(sorted(self._members.items()))

    def _all(self) -> dict[str, Member]:
        self._load_own()  # first: their names are theirs
        if not self._loaded_others:
            self._loaded_others = True
            for point in sorted(points(self._group)):
                self._load(point)
        return self._members

    def _load(self, point: EntryPoint) -> None:
        """Import what another package names. What cannot be imported is warned of, and nothing that it registered here stays; all else
        works.
        """
        before = dict(self._members)
        try:
            point.load()
        except (Exception, SystemExit) as error:  # whatever another package does when it is imported
            self._members = before
            package = f"the package {point.dist.name}" if point.dist else "another package"
            warnings.warn(
                f"the {self._what} {point.name} of {package} is not there: it cannot be loaded from {point.value}: {error}; update "
                "that package, or uninstall it",
                AdapterWarning,
                stacklevel=2,
            )

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


def import_modules(package: str, without: Collection[str] = ()) -> None:
    """Import all modules of a package and of its folders, in alphabetical order, but for those folders."""
    found = pkgutil.iter_modules(import_module(package).__path__)
    for module, is_folder in sorted((each.name, each.ispkg) for each in found):
        if is_folder and module not in without:
            import_modules(f"{package}.{module}")
        elif not is_folder:
            import_module(f"{package}.{module}")
