"""Which weights transformers quantizes when it loads a model, and what config.json says of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from adapterops.errors import VerificationError
from adapterops.formats.naming import EMBEDDINGS, HEAD, WEIGHT
from adapterops.formats.quantized import CONFIG
from adapterops.quant.fourbit import FourBit
from adapterops.quant.scheme import LONG_NAMES, Scheme
from adapterops.quant.transposed import Transposed
from adapterops.storage.safetensors import Spec

STAYS = {
    *EMBEDDINGS, HEAD, "wpe", "embed_positions", "position_embeddings", "token_type_embeddings", "tok_embeddings", "shared",
    "relative_attention_bias", "embed_out", "output", "score", "classifier", "classification_head", "qa_outputs", "pooler",
    "gate", "router", "shared_expert_gate", "patch_embed", "position_embedding", "pos_embed", "tile_embedding", "embedding",
}  # fmt: skip
"""Last names of modules that have a matrix and are not quantized: embeddings, heads, routers."""

OWN_LINEAR = {"falcon"}
"""Model types whose linear layers are classes of their own, which transformers does not quantize."""

STAYS_IN = {"t5": {"wo"}, "mt5": {"wo"}, "umt5": {"wo"}}
"""Model type → modules that transformers keeps in 32 bits."""

TIED_HEADS = {"cls.predictions.": "cls.predictions.decoder"}
"""Start of tensor names → an output embedding that may not be in the file."""

NUMBERED = re.compile(r"\.\d+\.")
EXPERT = re.compile(r"\.experts\.\d+\.")


def convertible(layout: Mapping[str, Spec], config: Mapping[str, Any] | None) -> list[str]:
    """The weights that transformers replaces when it loads a model in 4 or 8 bits: those of Linear layers, and of GPT-2's Conv1D.

    Embeddings, output heads, routers and routed experts stay as they are: transformers holds the latter in one parameter
    for all, which is never quantized.
    """
    config = config or {}
    model_type, found = str(config.get("model_type")), []
    if model_type in OWN_LINEAR:
        return []
    stays = STAYS | STAYS_IN.get(model_type, set())
    for name, spec in layout.items():
        module = name.removesuffix(WEIGHT)
        parent, _, last = module.rpartition(".")
        matrix = name.endswith(WEIGHT) and len(spec.shape) == 2 and spec.dtype in LONG_NAMES
        vocabulary = spec.shape and spec.shape[0] == config.get("vocab_size") and not NUMBERED.search(name)
        inside = f"{parent}.in_proj_weight" in layout or HEAD in parent.split(".")  # of an attention of torch's own, or of a head
        if matrix and not vocabulary and not inside and last not in stays and not EXPERT.search(name):
            found.append(name)
    return found


def skipped(layout: Mapping[str, Spec], chosen: Iterable[str]) -> list[str]:
    """The modules to name as not quantized: all others that have a matrix, and the output embedding. Never an empty list,
    and never null: transformers then chooses by itself.

    Raises:
        VerificationError: transformers would take one of the chosen for one of these.
    """
    quantized = set(chosen)
    left = {
        EXPERT.split(name)[0] + ".experts" if EXPERT.search(name) else name.removesuffix(WEIGHT)
        for name, spec in layout.items()
        if name not in quantized and name.endswith(WEIGHT) and len(spec.shape) == 2
    }
    heads = {head for start, head in TIED_HEADS.items() if any(name.startswith(start) for name in layout)}
    skip = sorted({*left, *heads, HEAD})
    for name in quantized:
        module = name.removesuffix(WEIGHT)
        hit = next((entry for entry in skip if matches(entry, module)), None)
        if hit:
            raise VerificationError(
                f"would be taken for {hit}, which is not quantized: transformers matches ends of names", tensor=name, code="E-SKIP"
            )
    return skip


def matches(entry: str, module: str) -> bool:
    """How transformers applies an entry of llm_int8_skip_modules to a module.

    >>> matches("lm_head", "lm_head"), matches("model.layers.1", "model.layers.1.mlp"), matches("model.layers.1", "model.layers.10.mlp")
    (True, True, False)
    """
    return module.endswith(entry) or module == entry or module.startswith(entry + ".")


def described(config: Mapping[str, Any] | None, scheme: Scheme, skip: list[str]) -> dict[str, Any]:
    """config.json with what transformers needs to load the weights in `scheme`."""
    four = scheme.scheme if isinstance(scheme, Transposed) else scheme
    is_four = isinstance(four, FourBit)
    section = {
        "quant_method": "bitsandbytes",
        "load_in_4bit": is_four,
        "load_in_8bit": not is_four,
        "_load_in_4bit": is_four,
        "_load_in_8bit": not is_four,
        "bnb_4bit_quant_type": four.kind if isinstance(four, FourBit) else "fp4",
        "bnb_4bit_use_double_quant": isinstance(four, FourBit) and four.nested,
        "bnb_4bit_compute_dtype": LONG_NAMES[four.dtype] if is_four else "float32",
        "bnb_4bit_quant_storage": "uint8",
        "llm_int8_skip_modules": skip,
        "llm_int8_threshold": 6.0,
        "llm_int8_has_fp16_weight": False,
        "llm_int8_enable_fp32_cpu_offload": False,
    }
    return {**(config or {}), CONFIG: section}


def without(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """config.json of the same model in 16 or 32 bits."""
    return None if config is None else {name: value for name, value in config.items() if name != CONFIG}
