"""From the Hub: a folder of its files, complete or absent, with a manifest that says which commit it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterops.errors import InputError
from adapterops.formats.adapter_files import CONFIG
from adapterops.hub.references import Reference
from adapterops.hub.snapshot import locate, wanted
from adapterops.provenance.history import Source
from adapterops.provenance.manifest import Origin, described, write_manifest
from adapterops.provenance.reader import read_manifest
from adapterops.storage.outputs import MANIFEST, check_output
from adapterops.storage.place import Place
from adapterops.storage.staging import staged
from adapterops.storage.writer import read_back

READ = ("config.json", CONFIG)
"""What every command reads that opens what was pulled."""


@dataclass(frozen=True)
class Pulled:
    """What `pull` wrote, of which commit."""

    path: Path
    reference: str
    revision: str
    files: tuple[str, ...]
    bytes: int


def pull(
    source: Place | Reference | str,
    out: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    dry_run: bool = False,
    command: Sequence[str] = (),
) -> Pulled:
    """Write the files of an adapter or a model on the Hub to a folder: no pickles, and nothing from folders inside.

    Args:
        out: left out, a folder of its name in the current one.
        dry_run: only say what would be written.

    Every file has the hash that the Hub states. A manifest is written where none came along.

    Raises:
        InputError: there is nothing to take, or a file is not what the Hub says, or a config or a manifest cannot be read.
        NotFoundError, OutputExistsError, OptionError, ResourceError: as `locate`, `check_output` and `staged` do.
    """
    place = source if isinstance(source, Place) else locate(source)
    assert place.remote is not None
    out = place.sibling("") if out is None else Path(out)
    files = wanted(place)
    if not any(path.suffix == ".safetensors" for path in files):
        shown = ", ".join(path.name for path in place.entries()[:8])
        raise InputError(
            f"has no safetensors; it has {shown}",
            path=place,
            hint="name a folder in it: owner/name:folder",
            code="E-FOLDER",
        )
    check_output(out, [place.path], force)
    sizes = {path.name: place.remote.sizes[path] for path in files}
    pulled = Pulled(out, place.remote.reference, place.remote.revision, tuple(sizes), sum(sizes.values()))
    if dry_run:
        return pulled
    for path in files:
        if path.name in READ:
            place.json(path)
        place.here(path)
    tensors = tuple(place.open(path) for path in files if path.suffix == ".safetensors")
    others = tuple(path for path in files if path.suffix != ".safetensors")
    history = Source(place.path, tensors, others, remote=place.remote, seen=place.seen)
    read = history.as_json()
    with staged(out, force=force) as folder:
        outputs = {path.name: _copied(path, folder, read["files"][path.name]) for path in files}
        if MANIFEST in outputs:
            _check_manifest(folder, place)
        else:
            write_manifest(folder, history, [read], Origin(command), {}, outputs, torch=False)
            with read_back():
                read_manifest(folder)
    return pulled


def _check_manifest(folder: Path, place: Place) -> None:
    """Raise InputError for a manifest that came along and that no command would read."""
    assert place.remote is not None
    try:
        read_manifest(folder)
    except InputError as error:
        error.path, error.hint = (
            f"{place}/{MANIFEST}",
            f"hf download {place.remote.reference} takes the files as they are",
        )
        raise


def _copied(path: Path, folder: Path, read: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of the copy of a file, which has to be what was read."""
    shutil.copyfile(path, folder / path.name)
    with open(folder / path.name, "rb") as copied:
        os.fsync(copied.fileno())
    found = described(folder / path.name)
    if not found.items() <= read.items():
        raise InputError("changed while it was copied", path=folder / path.name, hint="run it again", code="E-CHANGED")
    return found
