"""What is to go to the Hub from a folder, and what its card is written from."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from adapterops.errors import AdapterWarning, InputError, NotFoundError, UnsupportedError
from adapterops.formats.adapter_files import CONFIG, AdapterFiles
from adapterops.formats.diffusion.spellings import OF_IMAGES
from adapterops.formats.models.model_files import holds_model, read_config, read_model
from adapterops.formats.models.weight_files import INDEX, SINGLE, index_name
from adapterops.formats.peft.files import read_files
from adapterops.formats.peft.loaded import left_out, left_out_of
from adapterops.formats.registry import DEFAULT, format_of, read_adapter
from adapterops.hub.card import CardFacts
from adapterops.hub.client import api, ask, say, timeout
from adapterops.hub.snapshot import Known, blob_hash
from adapterops.operations.collections import COLLECTION
from adapterops.provenance.reader import read_manifest
from adapterops.regex import Regex
from adapterops.storage.checksums import BLAKE3, SHA256, digest, file_digests
from adapterops.storage.outputs import CARD, MANIFEST, MARK, RECIPE
from adapterops.storage.place import SEPARATOR, Place, check_inside
from adapterops.storage.strict import check_path, missing, read_all, read_json

SMALL = {
    "config.json", "generation_config.json", "quantization_config.json", RECIPE, MANIFEST,
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "chat_template.jinja", "chat_template.json",
    "preprocessor_config.json", "processor_config.json",
}  # fmt: skip
"""What goes along with the weights; anything else stays here."""

STALE = Regex(rf"model-\d{{5}}-of-\d{{5}}\.safetensors|{re.escape(SINGLE)}|{re.escape(INDEX)}")
"""Weights that an earlier push may have left: another program would load them instead of the new ones."""

DELTA, FILES, ADAPTERS = "delta.json", "files", "adapters"
OF_DELTA = Regex(rf"{re.escape(DELTA)}|(?:{FILES}|{ADAPTERS})/.+")
"""The files of a model that was pushed as a delta: `pull` would make that one."""

HEAD = Regex(r"(?:^|\.)(?:classifier|score)(?:\.out_proj)?\.weight$")
"""The full tensor of a classifier that has a row for each label."""

ABSOLUTE = Regex(r"^\s*path: ['\"]?/", re.MULTILINE)


@dataclass(frozen=True)
class Waiting:
    """A file that the repository has, on a branch."""

    branch: str


@dataclass(frozen=True)
class Payload:
    """A file that is to go: a path, or bytes, or what is there and waits."""

    source: Path | bytes | Waiting
    size: int
    sha256: str
    blake3: str
    blob: str | None = None

    @classmethod
    def of(cls, source: Path | bytes) -> Payload:
        if isinstance(source, Path):
            check_inside(source)  # a link must not publish what is elsewhere on this machine
        if isinstance(source, Path) and source.suffix == ".safetensors":
            return cls(source, source.stat().st_size, **file_digests(source, SHA256, BLAKE3))
        data = read_all(source) if isinstance(source, Path) else source
        return cls(data, len(data), digest(data, SHA256), digest(data), blob_hash(data))

    def same(self, known: Known | None) -> bool:
        """Whether it is the file that the Hub knows: a large one by its sha256, a small one by git's hash."""
        if known is None or known.sha256 is not None or known.size != self.size:
            return known is not None and known.sha256 == self.sha256
        return known.blob == (self.blob or blob_hash(read_all(Path(str(self.source)))))


PUSHED = ("peft", *OF_IMAGES)
"""The formats of adapters that a card tells how to load."""


def files(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """What is to go from a folder, by its name there, and the names of what stays; or one file, an adapter by itself."""
    check_path(folder)
    if folder.is_file() and not holds_model(folder):
        if format_of(Place.of(folder)) == DEFAULT:
            raise UnsupportedError(
                "is a file by itself, and PEFT loads folders",
                path=folder,
                hint=f"name its folder, or make one: adapterops convert {quote(str(folder))} --to {DEFAULT}",
            )
        _adapter(folder)
        return {folder.name: folder}, ()
    if folder.is_file():
        hint = "name the folder that holds the model"
        raise InputError("is a file of a model, and its folder is pushed", path=folder, hint=hint, code="E-FOLDER")
    if not folder.is_dir():
        raise missing(folder, "name the folder that holds the adapter or the model")
    if holds_model(folder):
        model = read_model(folder)
        if model.components:
            raise UnsupportedError(
                f"is a pipeline of {', '.join(model.components)}, and only single models and adapters are pushed",
                path=folder,
                hint=f"hf upload REPO {folder} sends the whole folder",
            )
        weights = [file.path.name for file in model.shards.values()]
        names = {*weights, *([index_name(weights)] if len(weights) > 1 else [])}
    else:
        found = _adapter(folder)
        path = found.paths[0]
        if format_of(Place.of(folder)) == DEFAULT and (lost := left_out(found)):
            warnings.warn(left_out_of(lost, len(found.modules)), AdapterWarning, stacklevel=3)
        if found.further:
            raise InputError(
                f"has files that may hold trained weights, which would not be sent: {', '.join(found.further)}",
                path=folder,
                hint=f"move them away, or send all of it: hf upload REPO {folder}",
                code="E-FURTHER",
            )
        if path.parent != folder:
            raise InputError(
                "has the adapter in a folder of its own", path=folder, hint=f"name {path.parent}", code="E-FOLDER"
            )
        names = {each.name for each in found.paths}
    there = sorted(path.name for path in folder.iterdir() if path.name != CARD or not _ours(path))
    taken = [name for name in there if (name in names or name in SMALL or name == CARD) and (folder / name).is_file()]
    if RECIPE in taken and ABSOLUTE.search(read_all(folder / RECIPE).decode(errors="replace")):
        warnings.warn(f"{RECIPE} is not sent: it has absolute paths of this machine", AdapterWarning, stacklevel=3)
        taken.remove(RECIPE)
    return {name: folder / name for name in taken}, tuple(name for name in there if name not in taken)


def _adapter(source: Path) -> AdapterFiles:
    """The adapter in a folder or a file, of a format that a card tells how to load."""
    form = format_of(Place.of(source))
    if form not in PUSHED:
        quoted = quote(str(source))
        one = f"{source}{SEPARATOR}NAME" if form == COLLECTION else str(source)
        raise UnsupportedError(
            f"is an adapter in the format {form}, and only {', '.join(PUSHED)} are pushed",
            path=source,
            hint=f"hf upload REPO {quoted} sends it as it is; adapterops convert {quote(one)} --to peft makes one that is",
        )
    return read_adapter(Place.of(source))


def small_files(folder: Path) -> dict[str, Payload]:
    """What goes along with the weights of a folder, by its name there."""
    there = sorted(path for path in folder.iterdir() if path.name in SMALL or path.suffixes[-2:] == [".index", ".json"])
    return {path.name: Payload.of(path) for path in there}


def _ours(card: Path) -> bool:
    """Whether a card is one that adapterops wrote, and will rewrite."""
    return card.is_file() and not card.is_symlink() and MARK.encode() in read_all(card)


def made(
    folder: Path, repo: str, contents: Mapping[str, Payload], base: Place | None = None, *, licensed: bool = True
) -> CardFacts:
    """What the card is about, after a check that the manifest describes these files.

    Args:
        base: the model of an adapter, which names it and whose config says what loads it.
        licensed: ask the Hub for the licenses of the inputs.
    """
    manifest = read_manifest(folder) or {}
    if RECIPE not in contents and any(str(each).endswith(RECIPE) for each in manifest.get("command", ())):
        manifest = {**manifest, "command": []}  # which would run what is not sent
    for name, expected in manifest.get("outputs", {}).items():
        there = contents.get(name)
        if there is not None and expected != {"size": there.size, BLAKE3: there.blake3}:
            raise InputError(
                f"is not the file that {MANIFEST} describes: one of them was changed",
                path=folder / name,
                hint="make the output again",
                code="E-HASH",
            )
    licenses = [_license(given) for given in manifest.get("inputs", ())] if licensed else []
    named = {"base_model_name_or_path": base.remote.reference} if base and base.remote else {}
    if weights := _lone(contents, folder):
        found = CardFacts(repo, manifest, named, licenses, file=weights)
        if not found.bases:
            warnings.warn(f"{weights} names no base: {SAY}", AdapterWarning, stacklevel=3)
        return found
    adapter = {**read_json(folder / CONFIG), **named} if CONFIG in contents else None
    model = (base or _named(adapter)) if adapter is not None else Place(folder)
    config = read_config(model, model.path if model.folder else model.path.parent) if model else None
    found = CardFacts(repo, manifest, adapter, licenses, config, _labels(folder) if adapter is not None else 0)
    if adapter is not None and not found.bases:
        own = adapter.get("base_model_name_or_path")
        fact = f"the base in {CONFIG}, {own!r}, is not a Hub repository" if own else f"{CONFIG} names no base"
        warnings.warn(f"{fact}: {SAY}", AdapterWarning, stacklevel=3)
    return found


SAY = "say in README.md which model this is for"


def _lone(contents: Mapping[str, Payload], folder: Path) -> str:
    """The file of an adapter of an image or video model, which has no config; "" for anything else."""
    if holds_model(folder) or format_of(Place.of(folder)) == DEFAULT:
        return ""
    return next(name for name in contents if name.endswith(".safetensors"))


def _named(adapter: Mapping[str, Any]) -> Place | None:
    """The base that an adapter names, where it is a folder here."""
    path = Path(str(adapter.get("base_model_name_or_path") or "."))
    return Place(path) if path.is_absolute() and path.is_dir() else None


def _labels(folder: Path) -> int:
    """The rows of a classifier that was trained with an adapter; 0 where it has none."""
    files = read_files(folder)
    heads = [stored for name, stored in files.full.items() if HEAD.search(name)]
    return files.file.entries[heads[-1]].shape[0] if heads else 0


def _license(given: Mapping[str, Any]) -> str | None:
    """The license in the card of an input that came from the Hub."""
    if "reference" not in given:
        return None
    repo = given["reference"].partition(":")[0]
    try:
        card = ask(repo, lambda: api().model_info(repo, revision=given["revision"], timeout=timeout())).card_data
    except NotFoundError as error:
        say(f"the license of {repo} is not known: {error.message}")
        return None
    license_ = card.get("license") if card is not None else None
    return license_ if isinstance(license_, str) else None
