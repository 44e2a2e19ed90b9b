"""A model that was saved with an adapter in it, opened as its base and its adapter."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.opening import checkpoint_of
from adapterops.errors import InputError, OptionError, UnsupportedError, at
from adapterops.formats.adapter_files import CONFIG
from adapterops.formats.models.model_files import read_model
from adapterops.formats.models.unmerged import Division, divided, is_adapters
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.contents import contents
from adapterops.formats.peft.keys import PREFIX, ROWS
from adapterops.formats.peft.parts import parts
from adapterops.formats.peft.scaling import check_alpha
from adapterops.formats.peft.written import write_config
from adapterops.provenance.history import Source, Step
from adapterops.storage.place import Place
from adapterops.storage.tensors import Entry, Stored


@dataclass(frozen=True)
class Unmerged:
    """A base, and the adapter that was saved in it.

    Attributes:
        tensors: those of the adapter by PEFT's names, as they are stored.
        full: the full tensors among them.
        config: the adapter's: that of the folder, word for word, where it has one.
        modules: module → the rank of its update.
        source: the files of both.
    """

    base: Checkpoint
    tensors: Mapping[str, Stored]
    full: Collection[str]
    config: Mapping[str, Any]
    modules: Mapping[str, int]
    source: Source


class _Names:
    """The header of a file of these tensors."""

    def __init__(self, path: Path, tensors: Mapping[str, Stored]) -> None:
        self.path, self._tensors = path, tensors
        self.metadata: dict[str, str] = {}
        self.entries = {name: Entry(*stored.spec, 0, stored.spec.bytes) for name, stored in tensors.items()}

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        stored = self._tensors[name]
        return stored.file.read(stored.name, begin, end)


def open_unmerged(
    source: str | os.PathLike[str], *, alpha: float | None = None, allow_pickle: bool = False
) -> Unmerged:
    """The base and the adapter of a model in which an adapter is not merged. Reads and checks the headers.

    Args:
        alpha: the lora_alpha, where there is no adapter_config.json. A module is scaled by alpha / its rank.

    Raises:
        NotFoundError, InputError, UnsupportedError: as `open_checkpoint` and `open_adapter` do.
        InputError: there is no adapter in it, or nothing says its lora_alpha.
        OptionError: the config says the lora_alpha, and another was given.
    """
    place = replace(Place.of(source), seen={})
    files = read_model(place, allow_pickle)
    tensors = files.tensors()
    with at(path=files.path):
        if not any(map(is_adapters, tensors)):
            raise InputError(
                "has no adapter in it: no tensor is one of PEFT's layers",
                hint="it is a base as it is, or an adapter was merged into it: adapterops unfuse MODEL ADAPTER takes that out, and "
                "adapterops extract MODEL --base BASE writes it",
                code="E-KEY",
            )
        division = divided(tensors)
    adapter = {name: tensors[there] for name, there in {**division.updates, **division.full}.items()}
    header = _Names(files.path, adapter)
    config_path = (files.path if place.folder else files.path.parent) / CONFIG
    stated = place.has(config_path)
    if stated and alpha is not None:
        raise OptionError(
            f"--alpha is for a model without {CONFIG}, and this has one", path=files.path, hint="leave it out"
        )
    config = place.json(config_path) if stated else _config(header, division, alpha)
    found = contents(header, config, config_path)
    base = checkpoint_of(files, {name: tensors[there] for name, there in division.base.items()}, place)
    others = (*files.others, config_path) if stated else files.others
    whole = Source(files.path, tuple(files.shards.values()), others, remote=place.remote, seen=place.seen)
    base = replace(base, history=Step("split", {"part": "base"}, (whole,)))
    ranks = {module: each.rank or each.bound for module, each in found.modules.items()}
    return Unmerged(base, adapter, found.full, config, ranks, whole)


def _config(header: _Names, division: Division, alpha: float | None) -> dict[str, Any]:
    """The config under which PEFT scales each update by alpha / its rank.

    Raises:
        InputError: there is no alpha.
        UnsupportedError: the updates need a config that says more.
    """
    if alpha is None:
        raise InputError(
            f"does not state the scale of its adapter: it has no {CONFIG}",
            path=header.path,
            hint="give the lora_alpha it was trained with, such as --alpha 16, "
            f"or put the {CONFIG} of the training into its folder",
            code="E-ALPHA",
        )
    if rows := [name for name in division.full if ROWS.search(name)]:
        raise UnsupportedError(
            "has trained rows of an embedding, and only the config says which rows",
            path=header.path,
            tensor=rows[0],
            hint=f"put the {CONFIG} of the training into its folder",
        )
    found = parts(header, division.full)
    kinds = {each.kind.name: each.kind for each in found.values()}
    strange = [name for name, kind in kinds.items() if kind.peft_type != "LORA"]
    if len(kinds) > 1 or strange:
        raise UnsupportedError(
            f"has updates of {' and '.join(kinds)}, which lora_alpha alone does not describe",
            path=header.path,
            hint=f"put the {CONFIG} of the training into its folder",
        )
    fields = write_config(AdapterConfig(), {module: each.rank or each.bound for module, each in found.items()})
    flags = {kind.flag: True for kind in kinds.values() if kind.flag}
    saved = [module.removeprefix(PREFIX) for module in division.saved]
    return {
        **fields,
        **flags,
        "lora_alpha": check_alpha("--alpha", alpha),
        "alpha_pattern": {},
        **({"modules_to_save": saved} if saved else {}),
    }
