"""llama.cpp's format: a GGUF file with one alpha for all, `blk.0.attn_q.weight.lora_a` (r, in) and `.lora_b` (out, r).

ΔW = alpha / r · B A, with the rank r of each tensor; 1 · B A where alpha is 0 or not there. Of architectures that
llama.cpp rotates by neighbouring rows, those of q and k are in an order that depends on the number of heads.

Source: convert_lora_to_gguf.py and llama-adapter.cpp of llama.cpp.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from adapterops.errors import InputError, UnsupportedError, at
from adapterops.formats.adapter_files import AdapterFiles
from adapterops.formats.peft.config import AdapterConfig, Scaling
from adapterops.formats.peft.parts import parts_of
from adapterops.formats.registry import FORMATS, Arrangement
from adapterops.storage.gguf import SUFFIX, GgufFile
from adapterops.storage.place import Place
from adapterops.storage.safetensors import Stored
from adapterops.updates.layout import Layout

NAME = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<tensor>[a-z0-9_]+)\.weight\.(?P<role>lora_[ab])")
ROLES = {"lora_a": "lora_A", "lora_b": "lora_B"}

BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's name of a module of a layer → that of transformers."""

FUSED = {
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_up": "mlp.gate_up_proj",
    "ffn_down": "mlp.down_proj",
}
INTERLEAVED = ("llama", "granite", "smollm3", "arcee")
ARCHITECTURES = {
    **dict.fromkeys(INTERLEAVED, BLOCK),
    **dict.fromkeys(("qwen2", "qwen3", "gemma", "gemma2", "gemma3", "olmo2"), BLOCK),
    "phi3": FUSED,
}
"""Architecture → the names of its modules."""

HEADS = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
"""The modules whose rows are in another order → the field of config.json that says how many heads they are of."""

TRAINED = "ask for the adapter in PEFT's format, which it was converted from"


class Gguf:
    """What convert_lora_to_gguf.py of llama.cpp writes, and llama-server --lora loads."""

    def claims(self, place: Place) -> bool:
        return place.path.suffix == SUFFIX and not place.folder

    def read(self, place: Place, alpha: float | None) -> AdapterFiles:
        file = place.open(place.path)
        assert isinstance(file, GgufFile)
        with at(path=place.path):
            architecture = _architecture(file.fields)
            found, interleaved = _modules(file, architecture)
            modules = {module: parts_of(module, roles, file.entries) for module, roles in sorted(found.items())}
            if not modules:
                raise InputError("holds no LoRA", hint=TRAINED, code="E-KEY")
            stated = _alpha(file.fields)
        ranks = {module: parts.rank or parts.bound for module, parts in modules.items()}
        scalings = {module: Scaling(stated or rank, rank) for module, rank in ranks.items()}
        return AdapterFiles(file, (place.path,), AdapterConfig(), modules, scalings, {}, interleaved=interleaved)

    def arranged(
        self, layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored], dtype: str | None
    ) -> Arrangement:
        raise UnsupportedError(
            "GGUF is read, and not written here",
            hint="write PEFT's format with adapterops normalize, and convert that with llama.cpp's convert_lora_to_gguf.py",
        )


def _architecture(fields: Mapping[str, Any]) -> str:
    """The architecture of the model that an adapter of LoRA is for."""
    kind = fields.get("general.type", "model")
    if kind != "adapter":
        raise UnsupportedError(
            f"general.type is {kind!r}: GGUF is read for adapters alone",
            hint="give the checkpoint that the model was converted from",
        )
    if fields.get("adapter.type") != "lora":
        raise UnsupportedError(f"adapter.type is {fields.get('adapter.type')!r}, and only lora is handled")
    if "adapter.alora.invocation_tokens" in fields:
        raise UnsupportedError("is an aLoRA, which is active only after certain tokens, and cannot be added")
    found = fields.get("general.architecture")
    if not isinstance(found, str) or found not in ARCHITECTURES:
        raise UnsupportedError(
            f"is for the architecture {found!r}, and the names of {', '.join(ARCHITECTURES)} are known", hint=TRAINED
        )
    return found


def _modules(file: GgufFile, architecture: str) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The tensors of each module by their roles, and the modules whose rows are in another order."""
    found: dict[str, dict[str, str]] = {}
    interleaved = {}
    for name in sorted(file.entries):
        match = NAME.fullmatch(name)
        module = _module(match["layer"], match["tensor"], architecture) if match else None
        if match is None or module is None:
            raise UnsupportedError(
                f"is not the name of a LoRA of a linear layer of {architecture}", tensor=name, hint=TRAINED
            )
        found.setdefault(module, {})[ROLES[match["role"]]] = name
        if architecture in INTERLEAVED and match["tensor"] in HEADS:
            interleaved[module] = HEADS[match["tensor"]]
    return found, interleaved


def _module(layer: str | None, tensor: str, architecture: str) -> str | None:
    if layer is None:
        return "lm_head" if tensor == "output" else None
    inner = ARCHITECTURES[architecture].get(tensor)
    return inner and f"model.layers.{int(layer)}.{inner}"


def _alpha(fields: Mapping[str, Any]) -> float | None:
    """The numerator of the scale; None where the scale is 1."""
    value = fields.get("adapter.lora.alpha", 0.0)
    if not isinstance(value, float) or not math.isfinite(value):
        raise InputError(f"adapter.lora.alpha is {value!r}, expected a number in float32", code="E-ALPHA")
    return value or None


FORMATS.add("gguf", Gguf())
