"""GGUF models of llama.cpp: one file, or `name-00001-of-00003.gguf` and the rest; named and ordered as transformers does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapterops.errors import InputError, UnsupportedError, at
from adapterops.formats.gguf_parts import PART, first_files, opened, opened_parts, part_paths
from adapterops.formats.llama_cpp import (
    ADAPTER,
    ARCHITECTURES,
    ONE_ROW,
    SECTIONS,
    SEVERAL,
    field_of_heads,
    named,
    one_added,
)
from adapterops.formats.models.gguf_settings import config_of
from adapterops.formats.models.quantized import Weight
from adapterops.quant.ggml import Ggml
from adapterops.quant.one_added import OneAdded
from adapterops.storage.gguf import GgufFile
from adapterops.storage.gguf_rows import GgufRows, Span
from adapterops.storage.place import Place

IMAGES = (
    *("aura", "cosmos", "flux", "hidream", "hyvid", "ltxv", "lumina2", "qwen_image", "sd1", "sd3", "sdxl", "wan"),
)
"""What ComfyUI-GGUF calls the architectures of image and video models, whose tensors keep the names of their authors."""

ORIGINAL = "give the checkpoint that it was converted from"


def gguf_files(place: Place) -> list[Path]:
    """The GGUF files of the model at a place: those of a folder where they belong to one, or a file and what it goes on in.

    Raises:
        InputError: a part is missing.
    """
    if place.folder:
        first = [path for path in first_files(place) if not _adapter(place, path)]
        return part_paths(place, first[0]) if len(first) == 1 else []
    return part_paths(place, place.path)


def _adapter(place: Place, path: Path) -> bool:
    """Whether a file next to a model is an adapter, by a name that such files have and by what it says."""
    named = path.name == ADAPTER or PART.fullmatch(path.name)
    return bool(named) and opened(place, path).fields.get("general.type") == "adapter"


def read_gguf_model(
    place: Place, paths: list[Path]
) -> tuple[dict[str, GgufRows], Mapping[str, Any], dict[str, Weight]]:
    """The files of a GGUF model by their names, its settings as config.json has them, and its quantized weights.

    Raises:
        InputError, UnsupportedError: a file is damaged, or the model is of a kind whose names are not known.
    """
    files = opened_parts(place, paths)
    fields = files[0].fields
    with at(path=paths[0]):
        architecture = _architecture(fields)
        config = {} if architecture in IMAGES else config_of(architecture, files)
    shards: dict[str, GgufRows] = {}
    weights: dict[str, Weight] = {}
    for file in files:
        with at(path=file.path):
            shards[file.path.name] = rows = _rows(file, architecture, config)
            weights |= _weights(rows, architecture)
    owners = [name for rows in shards.values() for name in rows.entries]
    if len(set(owners)) < len(owners):
        twice = next(name for name in owners if owners.count(name) > 1)
        raise InputError(
            "is in two files",
            path=paths[0],
            tensor=twice,
            hint="download the files of one conversion again",
            code="E-GGUF",
        )
    return shards, config, weights


def _architecture(fields: Mapping[str, Any]) -> str:
    kind = fields.get("general.type", "model")
    if kind != "model":
        raise InputError(
            f"general.type is {kind!r}, where a model is expected", hint="name the model before it", code="E-ADAPTER"
        )
    found = fields.get("general.architecture")
    if not isinstance(found, str) or found not in (*ARCHITECTURES, *IMAGES):
        known = ", ".join((*ARCHITECTURES, *IMAGES))
        raise UnsupportedError(
            f"is a model of the architecture {found!r}, and the names of {known} are known",
            hint=ORIGINAL,
        )
    if f"{found}.{SECTIONS.get(found)}" in fields:
        raise UnsupportedError(
            f"is a model of the architecture {found!r} with {SECTIONS[found]}, whose rows of q and k are in another order",
            hint=ORIGINAL,
        )
    return found


def _rows(file: GgufFile, architecture: str, config: Mapping[str, Any]) -> GgufRows:
    spans: dict[str, Span] = {}
    heads: dict[str, int] = {}
    for stored, entry in file.raw.entries.items():
        names = [stored] if architecture in IMAGES else named(stored, architecture)
        if not names:
            raise UnsupportedError(
                f"is not a tensor of {architecture} whose name in transformers is known", tensor=stored, hint=ORIGINAL
            )
        for name, span in _spans(stored, entry.shape, names):
            if name in spans:
                raise InputError(
                    f"is {name}, and so is {spans[name].stored}", tensor=stored, hint=ORIGINAL, code="E-GGUF"
                )
            spans[name] = span
        if field := architecture not in IMAGES and field_of_heads(stored, architecture):
            count, rows = config.get(field), entry.shape[0]
            if type(count) is not int or count < 1 or rows % (2 * count):
                raise InputError(
                    f"has {rows} rows, stored in pairs, and the file says that {field} is {count!r}",
                    tensor=stored,
                    hint=ORIGINAL,
                    code="E-HEADS",
                )
            heads[names[0]] = count
    return GgufRows(file, spans, heads)


def _spans(stored: str, shape: tuple[int, ...], names: Sequence[str]) -> Iterator[tuple[str, Span]]:
    """The weights in a tensor, of these names: it, or the rows that each expert has of each module."""
    if SEVERAL not in names[0]:
        one_row = len(shape) == 1 and stored.endswith(ONE_ROW)
        yield names[0], Span(stored, 0, (1, *shape) if one_row else shape)
        return
    if len(shape) != 3 or shape[1] % len(names):
        raise InputError(
            f"has the shape {list(shape)}, expected experts, rows and columns",
            tensor=stored,
            hint=ORIGINAL,
            code="E-GGUF",
        )
    height = shape[1] // len(names)
    for first in range(0, shape[0] * shape[1], height):
        expert, part = divmod(first // height, len(names))
        yield names[part].replace(SEVERAL, str(expert)), Span(stored, first, (height, shape[2]))


def _weights(rows: GgufRows, architecture: str) -> dict[str, Weight]:
    """Tensors whose numbers are not what is stored: blocks, and 1 + w."""
    found = {}
    for name, span in rows.spans.items():
        if span.stored in rows.file.blocks:
            kind = rows.file.blocks[span.stored]
            shape = (*span.shape[:-1], span.shape[-1] // kind.bytes * kind.entries)
            found[name] = Weight(Ggml(kind.name), shape, {"": name})
        if architecture not in IMAGES and one_added(span.stored, architecture):
            if rows.entries[name].dtype != "F32":
                raise UnsupportedError(
                    f"is a norm in {rows.entries[name].dtype}, expected F32", tensor=span.stored, hint=ORIGINAL
                )
            found[name] = Weight(OneAdded(), span.shape, {"": name})
    return found
