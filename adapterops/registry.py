"""Named things of one kind, ours and those of other packages: methods, formats, schemes, kinds of update."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from adapterops.errors import OptionError

Member = TypeVar("Member")


class Registry(Mapping[str, Member], Generic[Member]):
    """Members by name. A name that is taken is an error.

    A member registers itself when its module is imported. The modules are found, and imported when the first member is asked
    for: all of a package of ours, in alphabetical order, then what other packages name in entry points of the group.

    Args:
        what: the kind of thing, for messages.
        package: ours, each module of which registers members.
        group: of the entry points.
    """

    def __init__(self, what: str, package: str, group: str) -> None:
        self._what, self._package, self._group = what, package, group
        self._members: dict[str, Member] = {}
        self._loaded = False

    def add(self, name: str, member: Member) -> None:
        """Register a member.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._members:
            raise ValueError(f"there is already a {self._what} {name!r}")
        self._members[name] = member

    def remove(self, name: str) -> None:
        """Forget a member; for tests."""
        del self._members[name]

    def registered(self) -> list[Member]:
        """The members so far, without importing any."""
        return list(self._members.values())

    def _all(self) -> dict[str, Member]:
        if not self._loaded:
            self._loaded = True
            for module in sorted(found.name for found in pkgutil.iter_modules(import_module(self._package).__path__)):
                import_module(f"{self._package}.{module}")
            for point in entry_points(group=self._group):
                try:
                    point.load()
                except Exception as error:  # whatever another package does when it is imported
                    raise OptionError(
                        f"the {self._what} {point.name!r} of another package ({point.value}) cannot be loaded: {error}",
                        hint="update or uninstall that package",
                        code="E-PLUGIN",
                    ) from error
        return self._members

    def __getitem__(self, name: str) -> Member:
        return self._all()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
