"""Formats of adapters: how the files of one are recognised, read and written.
Each registers itself in a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adapterops.arrays.dtypes import FLOATS
from adapterops.errors import InputError
from adapterops.formats.further import check_whole
from adapterops.registry import Registry
from adapterops.storage.place import Place
from adapterops.storage.tensors import Spec, Stored
from adapterops.storage.writer import Tensors
from adapterops.updates.layout import Layout

if TYPE_CHECKING:
    from adapterops.formats.adapter_files import AdapterFiles
    from adapterops.formats.peft.config import AdapterConfig
    from adapterops.updates.protocol import Array

    Factors = tuple[Array, Array]

DEFAULT = "peft"
"""What is written, and what is taken for missing where no format knows what is there."""


@dataclass(frozen=True)
class Arrangement:
    """How an adapter is written.

    Attributes:
        file: the name of the file of tensors.
        groups: what is stored together → its modules.
        dtypes: group → dtype.
        up: group → dtype of B, where that is another one.
        by_columns: whether that is how the file has A and B, which are turned where they are computed: several at a time.
        note: what is stored otherwise than it was asked for.
        tensors: name → the largest that it can get.
        full: name → a tensor that is copied.
        joined: the tensors of a group, from A and B of its modules as they are stored, by name; and its rank, 0 for
            none.
        documents: other files, by the ranks of the groups: name → JSON.
        fields: of the header of a GGUF file; None where the tensors are stored as safetensors.
        metadata: entries of the header, by the ranks of the groups and the tensors that were written.
        room: how many bytes these take at most, as JSON.
    """

    file: str
    groups: Mapping[str, Sequence[str]]
    dtypes: Mapping[str, str]
    tensors: Mapping[str, Spec]
    full: Mapping[str, Stored]
    joined: Callable[[str, Mapping[str, Factors]], tuple[dict[str, Array], int]]
    documents: Callable[[Mapping[str, int]], Mapping[str, Any]]
    fields: Mapping[str, str | float] | None = None
    metadata: Callable[[Mapping[str, int], Tensors], Mapping[str, str]] | None = None
    room: int = 0
    up: Mapping[str, str] = field(default_factory=dict)
    by_columns: bool = False
    note: str | None = None

    def of_modules(self) -> dict[str, tuple[str, str]]:
        """The dtypes of A and B of every module."""
        return {
            module: (self.dtypes[name], self.up.get(name, self.dtypes[name]))
            for name, group in self.groups.items()
            for module in group
        }


class Format(Protocol):
    """One way in which adapters are stored. One that is written is a `WritableFormat`, too.

    It may have `file`, the name of its file of tensors in a folder, where one that is read by itself is called otherwise;
    and `over`, the names of formats that may claim what is its own, because they know less of that.
    """

    def claims(self, place: Place) -> bool:
        """Whether the files are in this format, by their names and headers."""

    def read(self, place: Place, alpha: float | None) -> AdapterFiles:
        """The adapter, from headers and config alone.

        Raises:
            NotFoundError, InputError, UnsupportedError: it is missing, damaged or of a kind that is not handled.
        """


@runtime_checkable
class WritableFormat(Format, Protocol):
    """One that an adapter can be saved in."""

    def arranged(
        self, layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored], dtype: str | None
    ) -> Arrangement:
        """How an adapter is written.

        Raises:
            UnsupportedError: the format cannot hold it; the message says what can.
        """


FORMATS: Registry[Format] = Registry("format", "adapterops.formats", "adapterops.formats", ("models", "runtimes"))


def dtypes_of(name: str) -> tuple[str, ...]:
    """The dtypes that a format is written in: those of `FLOATS`, where it does not say it."""
    return tuple(getattr(FORMATS[name], "dtypes", FLOATS))


def written() -> dict[str, WritableFormat]:
    """The formats that an adapter can be saved in."""
    return {name: each for name, each in FORMATS.items() if isinstance(each, WritableFormat)}


def format_of(place: Place) -> str:
    """The name of the format of the adapter at a place; `DEFAULT` where none knows what is there.

    Raises:
        InputError: several formats claim it.
    """
    place = place.once()
    claimed = [name for name, each in FORMATS.items() if each.claims(place)] if place.exists else []
    less = {name for each in claimed for name in getattr(FORMATS[each], "over", ())}
    claimed = [name for name in claimed if name not in less]
    if len(claimed) > 1:
        raise InputError(
            f"could be {' or '.join(claimed)}",
            path=place,
            hint="name the file of tensors that is meant",
            code="E-FORMAT",
        )
    return claimed[0] if claimed else DEFAULT


def read_adapter(place: Place, alpha: float | None = None) -> AdapterFiles:
    """The adapter at a place, in whichever format it is.

    Raises:
        NotFoundError, InputError, UnsupportedError: as `format_of` and `Format.read` do.
    """
    check_whole(place)
    place = place.once()
    return FORMATS[format_of(place)].read(place, alpha)
