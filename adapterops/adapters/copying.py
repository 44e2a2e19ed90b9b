"""An adapter that is saved as it was read: the same files, byte for byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adapterops.adapters.adapter import Adapter
from adapterops.formats.adapter_files import CONFIG, AdapterFiles
from adapterops.formats.registry import DEFAULT, FORMATS, Arrangement, format_of
from adapterops.provenance.history import Source
from adapterops.storage.place import PICKLES, Place
from adapterops.storage.tensors import TensorHeader
from adapterops.updates.layout import Layout

ALPHA = ".alpha"


@dataclass(frozen=True)
class Verbatim(Arrangement):
    """The files of an adapter as they are: of what no format has another form than its own. `others` are those next to the
    tensors, by name.
    """

    others: Mapping[str, Path] = field(default_factory=dict)


def verbatim(adapter: Adapter, format: str, dtype: str | None) -> Verbatim | None:
    """How an adapter is written to which nothing was done and which is in this `format` and `dtype` already, its modules by
    their names there: as it is. None for any other.

    This is how an adapter is kept that cannot be written as factors, such as (IA)³, OFT, or full tensors alone: nothing
    has to be known of its updates.
    """
    own = _own(adapter, format)
    if own is None or not adapter.layout.keys() <= own.modules.keys() or own.full.keys() != adapter.full.keys():
        return None  # a base may lack biases that (IA)³ scales
    if _kinds(map(own.layout, adapter.layout)) != _kinds(adapter.layout.values()):
        return None
    assert isinstance(adapter.history, Source)
    others = {path.name: path for path in adapter.history.others}
    stored: TensorHeader = getattr(own.file, "raw", own.file)
    entries = stored.entries
    if format == DEFAULT and CONFIG not in others:
        return None
    if dtype is not None and {entry.dtype for entry in entries.values()} != {dtype}:
        return None
    file = getattr(FORMATS[format], "file", own.file.path.name)
    groups: dict[str, Sequence[str]] = {module: [module] for module in own.modules}
    dtypes = {name: own.layout(name).dtype for name in own.modules}
    specs = {name: entry.spec for name, entry in entries.items()}
    return Verbatim(file, groups, dtypes, specs, {}, lambda _, __: ({}, 0), lambda _: others, others=others)


def _own(adapter: Adapter, format: str) -> AdapterFiles | None:
    """What the file of an adapter says; None where that is not its only one, or not in this format, or does not say its
    scale, or something was done to the adapter.
    """
    source = adapter.history
    if not isinstance(source, Source) or len(source.tensors) != 1 or source.alpha is not None or source.member:
        return None
    if source.tensors[0].path.suffix in PICKLES:
        return None
    file = source.tensors[0]
    place = Place(source.path, source.remote, opened={file.path: file})
    return FORMATS[format].read(place, None) if format_of(place) == format else None


def _kinds(layouts: Iterable[Layout]) -> Counter[tuple[str, str]]:
    """How many modules are of each kind, and what these see of the weight: a base may have made another of one."""
    return Counter((each.kind, each.reads) for each in layouts)


def unchanged(adapter: Adapter, arranged: Arrangement, format: str, dtype: str | None) -> dict[str, Path]:
    """The file that each file of the output is a copy of; none where something is to be written again.

    An adapter is copied if nothing was done to it, it is in the `format` that is asked for, and that would have the same
    tensors, under the same names and in the same dtype, and the same other files; the alpha of a module whose scale is 1
    may be missing. Its scales stay where they are, if the program of the format reads them there, and so does all that its
    header says. What a base made another kind of update of, such as LoRA of PiSSA, is rewritten.
    """
    own = _own(adapter, format)
    if own is None or own.file.path.suffix != Path(arranged.file).suffix:  # a pickle stays one
        return {}
    stands = getattr(FORMATS[format], "stands", None)
    if stands and not stands(own):
        return {}
    if isinstance(arranged, Verbatim):
        return {arranged.file: own.file.path, **arranged.others}
    assert isinstance(adapter.history, Source)
    source, (file,) = adapter.history, adapter.history.tensors
    if _kinds(map(own.layout, own.modules)) != _kinds(adapter.layout.values()):
        return {}
    documents = arranged.documents(dict.fromkeys(arranged.groups, 1))
    there = {path.name: path for path in source.others}
    stored: TensorHeader = getattr(file, "raw", file)  # of what is decoded when it is read
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
