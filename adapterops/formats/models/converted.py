"""Which weights transformers quantizes when it loads a model, and what config.json says of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from adapterops.formats.models.architectures import HEAD, WEIGHT
from adapterops.quant.header import CONFIG
from adapterops.quant.scheme import LONG_NAMES, Writable
from adapterops.regex import Regex
from adapterops.storage.tensors import Spec

EMBEDDING = Regex(
    r"^embed_|(?<!patch_)embed(s|s_layers?|der|dings?)?(_\d+)?$|_(emb|tokens?|table)$|^codebook$", re.IGNORECASE
)
"""Last names of embeddings, which are not quantized."""

STAYS = {
    "wte", "wpe", "shared", "relative_attention_bias", "bias_values", "pe_k", "query_feat", "queries_features", "reference_points",
    HEAD, "lm_heads", "output", "score", "classifier", "classification_head", "qa_outputs", "pooler",
    "patch_embed", "gate", "router", "layer", "shared_expert_gate", "weights_proj", "o_a_proj", "wo_a", "scale", "shift",
}  # fmt: skip
"""Last names of other modules that have a matrix and are not quantized:
embeddings, heads, routers, and what is no plain Linear.
"""

OWN_LINEAR = {"falcon", "ibert"}
"""Model types whose linear layers are classes of their own, which transformers does not quantize."""

KEPT = {
    "wo": {"t5", "mt5", "umt5", "pop2piano", "udop"},
    "qformer": {"blip-2"},
    "compressor": {"deepseek_v4"},
    "codec_model": {"kyutai_speech_to_text"},
    "audio_tower": {"nemo_speechlm"},
    "multi_modal_projector": {"nemo_speechlm"},
}
"""Part of a name → model types in which transformers keeps what has it in 32 bits."""

TIED_HEADS = {
    HEAD, "lm_head.decoder", "lm_head.out_proj", "generator_lm_head", "fine_acoustics.lm_heads", "ctc_head", "head.decoder",
    "predictions.decoder", "cls.predictions.decoder", "entity_predictions.decoder",
    "embed_out", "proj_out", "output_projection", "unembedding_projection",
}  # fmt: skip
"""Names of output embeddings.
One that shares its weight with the input embedding is in the model and not in the file.
"""

DESCRIBED = "hf_quant_config.json"
"""Where modelopt says of a model that it is quantized, next to config.json or instead of it."""

NUMBERED = Regex(r"\.\d+\.")
EXPERT = Regex(r"\.experts\.\d+\.")
TORCHS_OWN = ".in_proj_weight"
"""What the weight of an attention of torch's own is called, which is not quantized with all that belongs to it."""


def convertible(layout: Mapping[str, Spec], config: Mapping[str, Any] | None) -> list[str]:
    """The weights that transformers replaces when it loads a model in 4 or 8 bits: those of Linear layers, and of
    GPT-2's Conv1D.

    Embeddings, output heads, routers and routed experts stay as they are: transformers holds the latter in one
    parameter for all, which is never quantized. So does what no skip list could tell from one of these.
    """
    if not OWN_LINEAR.isdisjoint(_types(config)):
        return []
    sizes, kept, found = list(_values(config or {}, "vocab_size")), _kept(config), []
    for name, spec in layout.items():
        if not _matrix(name, spec) or spec.dtype not in LONG_NAMES or EXPERT.search(name):
            continue
        *above, _ = parts = name.removesuffix(WEIGHT).split(".")
        last = next((part for part in reversed(parts) if not part.isdecimal()), "")
        vocabulary = spec.shape[0] in sizes and not NUMBERED.search(name)
        inside = ".".join(above) + TORCHS_OWN in layout or HEAD in above or not kept.isdisjoint(parts)
        if not (vocabulary or inside or last in STAYS or EMBEDDING.search(last)):
            found.append(name)
    left = {HEAD, *_left(layout, found)}
    return [name for name in found if not any(matches(entry, name.removesuffix(WEIGHT)) for entry in left)]


def skipped(layout: Mapping[str, Spec], chosen: Collection[str], config: Mapping[str, Any] | None) -> list[str]:
    """The modules to name as not quantized: all others that have a matrix, and output embeddings whose weight is not in
    the file.

    By their last names where these tell them from the chosen: transformers may load a model under other prefixes. Never
    an empty list, and never null: transformers then chooses by itself.
    """
    modules = [name.removesuffix(WEIGHT) for name in chosen]

    def harmless(entry: str) -> bool:
        return not any(matches(entry, module) for module in modules)

    left = _left(layout, chosen)
    lasts = {
        module: last
        for module in left
        if module + WEIGHT in layout and not (last := module.rpartition(".")[2]).isdecimal()
    }
    shared = {
        module for name in layout if name != (module := name.removesuffix(".bias")) and module + WEIGHT not in layout
    }
    safe = set(filter(harmless, TIED_HEADS | _kept(config) | shared | set(lasts.values())))
    return sorted(safe | {module for module in left if lasts.get(module) not in safe})


def matches(entry: str, module: str) -> bool:
    """Whether transformers may take a module for an entry of llm_int8_skip_modules.

    Version 5 compares starts and ends of names, version 4 any part.

    >>> matches("lm_head", "audio_lm_head"), matches("model.layers.1", "model.layers.1.mlp"), matches("model.layers.1", "model.layers.10")
    (True, True, False)
    """
    return module.endswith(entry) or f"{entry}." in module


def _left(layout: Mapping[str, Spec], chosen: Iterable[str]) -> set[str]:
    """The modules that have a matrix and are not chosen: experts as one, and so an attention of torch's own."""
    quantized = set(chosen)
    left = {
        EXPERT.split(name)[0] + ".experts" if EXPERT.search(name) else name.removesuffix(WEIGHT)
        for name, spec in layout.items()
        if _matrix(name, spec) and name not in quantized
    }
    return left | {name.removesuffix(TORCHS_OWN) for name in layout if name.endswith(TORCHS_OWN)}


def _kept(config: Mapping[str, Any] | None) -> set[str]:
    types = _types(config)
    return {part for part, those in KEPT.items() if not those.isdisjoint(types)}


def _types(config: Mapping[str, Any] | None) -> set[str]:
    """The model types of a model and of its parts."""
    return set(map(str, _values(config or {}, "model_type")))


def _matrix(name: str, spec: Spec) -> bool:
    return name.endswith(WEIGHT) and len(spec.shape) == 2 and 0 not in spec.shape


def _values(config: Mapping[str, Any], word: str) -> Iterator[Any]:
    """The values of all keys that begin with a word, in the configs of the parts of a model, too."""
    for key, value in config.items():
        if str(key).startswith(word):
            yield value
        if isinstance(value, Mapping):
            yield from _values(value, word)


def described(config: Mapping[str, Any] | None, scheme: Writable, skip: list[str]) -> dict[str, Any]:
    """config.json with what transformers needs to load the weights in `scheme`."""
    return {**(config or {}), CONFIG: scheme.describe(skip)}


def without(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """config.json of the same model in 16 or 32 bits."""
    return None if config is None else {name: value for name, value in config.items() if name != CONFIG}
