"""The tokenizer that a fused model is saved with."""

from __future__ import annotations

import warnings
from pathlib import Path

from adapterops.errors import AdapterWarning
from adapterops.provenance.history import Source, Step, sources
from adapterops.storage.place import Place
from adapterops.storage.strict import read_all


def agreed_tokenizer(history: Step | Source) -> dict[str, Path]:
    """The files of the tokenizer that adapters were trained with, which may have words that the base's lacks: name →
    file. None where several adapters differ in one of them; the base keeps its own then.

    Warns:
        AdapterWarning: they differ.
    """
    found: dict[str, Path] = {}
    origin: dict[str, Source] = {}
    for source in sources(history):
        for path in source.tokenizer:
            first = found.setdefault(path.name, path)
            owner = origin.setdefault(path.name, source)
            if first != path and _content(owner, first) != _content(source, path):
                warnings.warn(
                    f"{path.name} next to {owner.name} and {source.name} differ: the model keeps the base's tokenizer",
                    AdapterWarning,
                    stacklevel=3,
                )
                return {}
    return found


def _content(source: Source, path: Path) -> bytes:
    return read_all(Place(source.path, source.remote).here(path))
