"""An adapter that is saved as it was read: the same files, byte for byte."""

from __future__ import annotations

from pathlib import Path

from adapterops.adapters.adapter import Adapter
from adapterops.formats.registry import Arrangement, format_of
from adapterops.provenance.history import Source
from adapterops.storage.place import Place

ALPHA = ".alpha"


def unchanged(adapter: Adapter, arranged: Arrangement, format: str, dtype: str | None) -> dict[str, Path] | None:
    """The file that each file of the output is a copy of; None where something is to be written anew.

    An adapter is copied if nothing was done to it, it is in the `format` that is asked for, and that would have the same
    tensors, under the same names and in the same dtype, and the same other files; an alpha of a scale of 1 may be missing.
    Its scales stay where they are, and so does all that its header says.
    """
    source = adapter.history
    if not isinstance(source, Source) or len(source.tensors) != 1 or source.alpha is not None:
        return None
    if format_of(Place(source.path, source.remote)) != format:
        return None
    (file,) = source.tensors
    documents = arranged.documents(dict.fromkeys(arranged.groups, 1))
    there = {path.name: path for path in source.others}
    tensors, other = {*arranged.tensors, *arranged.full}, {entry.dtype for entry in file.entries.values()} - {dtype}
    plain = all(each.scale == 1 for each in adapter.scalings.values())
    missing = [name for name in tensors - file.entries.keys() if not (plain and name.endswith(ALPHA))]
    others = [
        name
        for name, spec in arranged.tensors.items()
        if name in file.entries and file.entries[name].shape != spec.shape
    ]
    if missing or others or not file.entries.keys() <= tensors or documents.keys() != there.keys() or (dtype and other):
        return None
    return {arranged.file: file.path, **there}
