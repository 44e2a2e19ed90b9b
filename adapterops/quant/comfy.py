"""What ComfyUI says of a weight that it quantized: a tensor next to it, or the file's header, has its format in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from adapterops.quant.checks import damaged, foreign
from adapterops.quant.header import WEIGHT, Header, key

ROLE = "comfy_quant"
LAYERS = "_quantization_metadata"
"""The entry of a header that has the formats of all layers."""

READ = ("float8_e4m3fn", "float8_e5m2")
"""Formats that are a byte an entry times one scale. All others have rotated weights, or scales in the order of its kernels."""


def check_formats(header: Header, metadata: Mapping[str, str]) -> None:
    """Raise UnsupportedError for a weight in a format of ComfyUI's that is not read.

    Source: ComfyUI, `comfy/quant_ops.py` and `convert_old_quants` of `comfy/utils.py`.
    """
    for tensor, entry in _entries(header, metadata):
        form = entry.get("format") if isinstance(entry, dict) else entry
        if form not in READ or (isinstance(entry, dict) and entry.get("convrot")):
            raise foreign(f"ComfyUI's {form}", tensor)


def _entries(header: Header, metadata: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for tensor in header.weights(ROLE):
        yield tensor, header.json_of(key(tensor, ROLE))
    for layer, entry in layers(metadata).items():
        yield f"{layer}{WEIGHT}", entry


def layers(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """The layers that a header says a format of."""
    try:
        found = json.loads(metadata.get(LAYERS, "{}"))
    except (ValueError, RecursionError) as error:
        raise damaged(f"its header entry {LAYERS} cannot be read: {error}") from None
    found = found.get("layers", {}) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise damaged(f"its header entry {LAYERS} has no layers by their names")
    return found


def without(metadata: Mapping[str, str], quantized: frozenset[str]) -> dict[str, str]:
    """A header that says formats of those weights alone that are `quantized` still.

    >>> without({"_quantization_metadata": '{"layers": {"a": {"format": "float8_e4m3fn"}}}', "x": "y"}, frozenset())
    {'x': 'y'}
    """
    if LAYERS not in metadata:
        return dict(metadata)
    left = {layer: entry for layer, entry in layers(metadata).items() if f"{layer}{WEIGHT}" in quantized}
    kept = {name: text for name, text in metadata.items() if name != LAYERS}
    return kept | ({LAYERS: json.dumps({**json.loads(metadata[LAYERS]), "layers": left})} if left else {})
