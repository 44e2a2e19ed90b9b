"""An adapter that is saved as it was read: the same files, byte for byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from adapterops.adapters.adapter import Adapter
from adapterops.formats.registry import FORMATS, Arrangement, format_of
from adapterops.provenance.history import Source
from adapterops.storage.place import Place
from adapterops.storage.tensors import Header

ALPHA = ".alpha"


def unchanged(adapter: Adapter, arranged: Arrangement, format: str, dtype: str | None) -> dict[str, Path]:
    """The file that each file of the output is a copy of; none where something is to be written anew.

    An adapter is copied if nothing was done to it, it is in the `format` that is asked for, and that would have the same
    tensors, under the same names and in the same dtype, and the same other files; the alpha of a module whose scale is 1
    may be missing.
    Its scales stay where they are, and so does all that its header says. What a base made another kind of update of, such
    as LoRA of PiSSA, is written anew.
    """
    source = adapter.history
    if not isinstance(source, Source) or len(source.tensors) != 1 or source.alpha is not None:
        return {}
    (file,), place = source.tensors, Place(source.path, source.remote)
    if file.path.suffix != Path(arranged.file).suffix or format_of(place) != format:  # a pickle stays one
        return {}
    own = FORMATS[format].read(place, None)
    if Counter(each.kind.name for each in own.modules.values()) != Counter(
        each.kind for each in adapter.layout.values()
    ):
        return {}
    documents = arranged.documents(dict.fromkeys(arranged.groups, 1))
    there = {path.name: path for path in source.others}
    stored: Header = getattr(file, "raw", file)  # of what is decoded when it is read
    tensors, other = {*arranged.tensors, *arranged.full}, {entry.dtype for entry in stored.entries.values()} - {dtype}
    scaled = [
        name
        for module, parts in own.modules.items()
        if own.scalings[module].scale != 1
        for name in parts.tensors.values()
    ]
    missing = [name for name in tensors - file.entries.keys() if not _may_be_missing(name, scaled)]
    others = [
        name
        for name, spec in arranged.tensors.items()
        if not name.endswith(ALPHA) and name in file.entries and file.entries[name].shape != spec.shape
    ]
    if missing or others or not file.entries.keys() <= tensors or documents.keys() != there.keys() or (dtype and other):
        return {}
    return {arranged.file: file.path, **there}


def _may_be_missing(name: str, scaled: Collection[str]) -> bool:
    """Whether a tensor is an alpha, and of none of the modules that have the tensors `scaled`.

    >>> _may_be_missing("a.alpha", ["b.lora_up.weight"]), _may_be_missing("a.alpha", ["a.lora_up.weight"])
    (True, False)
    """
    start = f"{name.removesuffix(ALPHA)}."
    return name.endswith(ALPHA) and not any(each.startswith(start) for each in scaled)
