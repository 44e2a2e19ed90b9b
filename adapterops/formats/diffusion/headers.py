"""Headers of image adapters' files: what of one is kept, what is rewritten, and the hashes of kohya and modelspec."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from adapterops.formats.diffusion.spellings import is_own
from adapterops.formats.peft.header import EMBEDDED, packed
from adapterops.storage.checksums import SHA256, new
from adapterops.storage.strict import json_text
from adapterops.updates.layout import BY_OUTPUTS

if TYPE_CHECKING:
    from adapterops.storage.writer import Tensors

SCALES = {"lora_alpha", "network_alpha", "alpha", "r", "rank", "rank_pattern", "alpha_pattern", "use_rslora"}
"""Last words of entries that say scales, which are no longer true of factors that hold them."""

TARGETS = ("target_modules", "target_parameters")
MODULE, NETWORK = "ss_network_module", "networks.lora"
DIMENSIONS = {"ss_network_dim", "ss_network_alpha", "ss_network_args"}
HASHES = {"sshs_model_hash": 64, "sshs_legacy_hash": 8, "modelspec.hash_sha256": 66}
"""Entries that depend on the tensors, and how long they are."""

LEGACY = slice(0x100000, 0x110000)
"""The bytes of a file of which the older hash is."""

ORDER = ("F64", "F32", "BF16", "F16")
"""In which order the safetensors library stores tensors; those of one dtype by name."""


def kept(metadata: Mapping[str, str]) -> dict[str, str]:
    """What a header says besides scales, ranks and hashes.

    >>> kept({"ss_output_name": "x", "ss_network_dim": "8", "transformer.lora_alpha": "4", "modelspec.title": "X"})
    {'ss_output_name': 'x', 'modelspec.title': 'X'}
    """
    left = {EMBEDDED, "format", *DIMENSIONS, *HASHES}
    return {name: text for name, text in metadata.items() if name not in left and name.rpartition(".")[2] not in SCALES}


def untargeted(metadata: Mapping[str, str], names: Collection[str]) -> tuple[str, ...]:
    """The components of a pipeline, of those that the names begin with, of which a whole config in a header does not say the
    `target_modules`: diffusers hands it over to PEFT, which ends with an error.

    >>> untargeted({"lora_adapter_metadata": '{"unet.r": 4}'}, ["unet.conv_in.lora_A.weight"]), untargeted({}, ["unet.conv_in"])
    (('unet',), ())
    """
    config = packed(metadata)
    if not isinstance(config, dict):
        return ()
    own = sorted({name.partition(".")[0] for name in names})
    return tuple(part for part in own if not any(config.get(f"{part}.{field}") for field in TARGETS))


def room(metadata: Mapping[str, str], ranks: Mapping[str, int]) -> int:
    """How many bytes the entries take at most, as JSON."""
    every = {
        MODULE: NETWORK,
        **metadata,
        **dict.fromkeys(DIMENSIONS, "Dynamic"),
        **{name: "0" * size for name, size in HASHES.items()},
    }
    return len(json_text({"__metadata__": {"format": "pt", **every, **_patterns(ranks, 0, ["use_dora", "lora_bias"])}}))


def of_kohya(metadata: Mapping[str, str], ranks: Mapping[str, int], tensors: Tensors) -> dict[str, str]:
    """The header of a file of kohya's: alpha is the rank, in one number where that is one for all."""
    rank = str(*set(ranks.values())) if len(set(ranks.values())) == 1 else "Dynamic"
    sizes = {"ss_network_dim": rank, "ss_network_alpha": rank, "ss_network_args": "{}"}
    found = {"format": "pt", MODULE: NETWORK, **metadata, **sizes}
    found["sshs_model_hash"] = sha256 = tensors.sha256()
    if any(name.startswith("modelspec.") for name in metadata):
        found["modelspec.hash_sha256"] = f"0x{sha256}"  # over all tensors, in the order in which they are stored
    return {**found, "sshs_legacy_hash": legacy_hash(found, tensors)}


def of_comfy(metadata: Mapping[str, str], ranks: Mapping[str, int], tensors: Tensors) -> dict[str, str]:
    """The header of a file of ComfyUI's names: kohya's, where the adapter came with that."""
    own = any(name.startswith(("ss_", "modelspec.")) for name in metadata)
    return of_kohya(metadata, ranks, tensors) if own else {"format": "pt", **metadata}


def of_diffusers(metadata: Mapping[str, str], ranks: Mapping[str, int], tensors: Tensors) -> dict[str, str]:
    """The header of a file of diffusers: ranks that differ, DoRA and biases are said to PEFT, which else divides one alpha by
    each, and takes no magnitude vectors and no biases; and so are those of names that do not show what they are of.
    """
    most = max(ranks.values())
    ends = {"use_dora": BY_OUTPUTS, "lora_bias": ".lora_B.bias"}
    found = [field for field, end in ends.items() if any(name.endswith(end) for name in tensors.layout)]
    stated = found or len(set(ranks.values())) > 1 or not is_own(tensors.layout, {}, False)
    patterns = _patterns(ranks, most, found) if stated else {}
    return {"format": "pt", **metadata, **patterns}


WRITTEN = {"kohya": of_kohya, "comfy": of_comfy, "diffusers": of_diffusers}
"""The header of a format, by what was kept of another, the rank of every module by its name there, and the tensors."""


def _patterns(ranks: Mapping[str, int], most: int, further: Collection[str]) -> dict[str, str]:
    """What diffusers hands over to PEFT's LoraConfig, for each component of a pipeline: alpha is the rank, and the `further`
    fields are true.
    """
    fields: dict[str, object] = {}
    for component in sorted({name.partition(".")[0] for name in ranks}):
        own = {name.partition(".")[2]: rank for name, rank in ranks.items() if name.startswith(f"{component}.")}
        others = {_pattern(name, own): rank for name, rank in own.items() if rank != most}
        named = {
            "rank_pattern": others,
            "alpha_pattern": others,
            "target_modules": sorted(own),
            **dict.fromkeys(further, True),
        }
        fields |= {f"{component}.{key}": value for key, value in {"r": most, "lora_alpha": most, **named}.items()}
    return {EMBEDDED: json.dumps(fields, sort_keys=True)}


def _pattern(name: str, modules: Collection[str]) -> str:
    """A name as PEFT takes patterns: for the end of any other name, too, unless it is anchored.

    >>> _pattern("proj_out", ["proj_out", "blocks.0.proj_out"]), _pattern("x.q", ["x.q"])
    ('^proj_out', 'x.q')
    """
    return f"^{re.escape(name)}" if any(other.endswith(f".{name}") for other in modules) else name


def legacy_hash(metadata: Mapping[str, str], tensors: Tensors) -> str:
    """The first 8 digits of SHA-256 over 64 kB, from 1 MiB on, of a file that has the entries `ss_*` alone, as the
    safetensors library would write it.

    Source: sd-scripts, `precalculate_safetensors_hashes`.
    """
    stored = tensors.layout
    names = sorted(stored, key=lambda name: (ORDER.index(stored[name].dtype), name))
    header: dict[str, object] = {"__metadata__": {n: text for n, text in metadata.items() if n.startswith("ss_")}}
    position = 0
    for name in names:
        end = position + stored[name].bytes
        header[name] = {"dtype": stored[name].dtype, "shape": stored[name].shape, "data_offsets": [position, end]}
        position = end
    position = 8 + -(-len(json_text(header, separators=(",", ":"))) // 8) * 8
    hashed = new(SHA256)
    for name in names:
        begin, end = max(LEGACY.start - position, 0), min(LEGACY.stop - position, stored[name].bytes)
        if begin < end:
            hashed.update(tensors.read(name)[begin:end])
        position += stored[name].bytes
    return hashed.hexdigest()[:8]
