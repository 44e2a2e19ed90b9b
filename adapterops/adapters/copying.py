"""An adapter that is saved as it was read: the same files, byte for byte."""

from __future__ import annotations

from pathlib import Path

from adapterops.adapters.adapter import Adapter
from adapterops.formats.registry import Arrangement
from adapterops.provenance.history import Source


def unchanged(adapter: Adapter, arranged: Arrangement, dtype: str | None) -> dict[str, Path] | None:
    """The file that each file of the output is a copy of; None where something is to be written anew.

    An adapter is copied if nothing was done to it, and its format would have the same tensors, under the same names and
    in the same dtype, and the same other files. Its scales stay where they are, and so does all that its header says.
    """
    source = adapter.history
    if not isinstance(source, Source) or len(source.tensors) != 1 or source.alpha is not None:
        return None
    (file,) = source.tensors
    documents = arranged.documents(dict.fromkeys(arranged.groups, 1))
    there = {path.name: path for path in source.others}
    same = file.entries.keys() == {*arranged.tensors, *arranged.full} and documents.keys() == there.keys()
    planned = {name: spec.dtype for name, spec in arranged.tensors.items()} if dtype else {}
    if not same or any(file.entries[name].dtype != each for name, each in planned.items()):
        return None
    return {arranged.file: file.path, **there}
