"""The settings of a GGUF model as config.json has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.llama_cpp import CONSTANTS
from adapterops.storage.gguf import GgufFile

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array

SHARED = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "embedding_length": "hidden_size",
    "rope.freq_base": "rope_theta",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
}
GEMMA = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
ROUTED = {"expert_count": "num_experts", "expert_used_count": "num_experts_per_tok"}
SIZED = {**ROUTED, "expert_feed_forward_length": "moe_intermediate_size"}
KNOWN: Mapping[str, Mapping[str, str]] = {
    "llama": {"rope.dimension_count": "head_dim"},
    "mixtral": {"expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok"},
    "qwen2moe": {**SIZED, "expert_shared_feed_forward_length": "shared_expert_intermediate_size"},
    "qwen3moe": SIZED,
    "olmoe": ROUTED,
    "qwen2": {},
    "qwen3": {},
    "gemma2": GEMMA,
    "gemma3": GEMMA,
    "phi3": {"attention.sliding_window": "sliding_window"},
}
"""Family → its further fields, where all that config.json has to say is known."""

CLASSES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "gemma2": ("gemma2", "Gemma2ForCausalLM"),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM"),
    "phi3": ("phi3", "Phi3ForCausalLM"),
    "mixtral": ("mixtral", "MixtralForCausalLM"),
    "qwen2moe": ("qwen2_moe", "Qwen2MoeForCausalLM"),
    "qwen3moe": ("qwen3_moe", "Qwen3MoeForCausalLM"),
    "olmoe": ("olmoe", "OlmoeForCausalLM"),
    "gpt-oss": ("gpt_oss", "GptOssForCausalLM"),
    "glm4moe": ("glm4_moe", "Glm4MoeForCausalLM"),
    "llama4": ("llama4_text", "Llama4ForCausalLM"),
    "deepseek_v2": ("deepseek_v2", "DeepseekV2ForCausalLM"),
    "deepseek_v3": ("deepseek_v3", "DeepseekV3ForCausalLM"),
    "hunyuan-dense": ("hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM"),
}
SIGMOID = 2
"""`expert_gating_func` of llama.cpp."""

NORMALIZED: Mapping[str, bool] = {"qwen2moe": False, "qwen3moe": True, "olmoe": False}
"""Family → `norm_topk_prob`: whether llama.cpp divides the weights of the chosen experts by their sum.

Source: src/models of llama.cpp.
"""

TOKENS = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}
NEEDED: tuple[str, ...] = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

BIASES: Mapping[str, tuple[str, ...]] = dict.fromkeys(("qwen2", "qwen2moe"), ("attn_q", "attn_k", "attn_v"))
"""Architecture → the modules that always have one."""

LARGEST = {"gemma2": 46, "gemma3": 62}
"""Layers of the one size whose queries are scaled by the width of the model, not by that of a head."""


ORIGINAL = "give the checkpoint that it was converted from; fuse into the file itself needs no config.json"

FREQUENCIES = "rope_freqs.weight"
LLAMA3: Mapping[str, Any] = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def family(architecture: str, fields: Mapping[str, Any], tensors: Iterable[str]) -> str:
    """The architecture; of a llama with experts, mixtral; of deepseek2, which of the two models of transformers: the third
    version chooses experts by sigmoids, and has a bias for that.
    """
    if architecture == "deepseek2":
        third = fields.get("deepseek2.expert_gating_func") == SIGMOID or any("exp_probs_b" in each for each in tensors)
        return "deepseek_v3" if third else "deepseek_v2"
    return "mixtral" if architecture == "llama" and fields.get("llama.expert_count") else architecture


def config_of(architecture: str, files: Sequence[GgufFile]) -> dict[str, Any]:
    """What config.json would say, as far as the fields do; `complete` adds the rest."""
    fields = {name: value for name, value in files[0].fields.items() if value is not None}
    embedding = [file.shape("token_embd.weight")[0] for file in files if "token_embd.weight" in file.raw.entries]
    kin = family(architecture, fields, (name for file in files for name in file.raw.entries))
    kind, class_ = CLASSES.get(kin, (kin, None))
    dtypes = {
        file.raw.entries[name].dtype for file in files for name in file.raw.entries if not name.endswith("norm.weight")
    }
    half = not any(file.blocks for file in files) and "F16" in dtypes
    config: dict[str, Any] = {"model_type": kind, "dtype": "float16" if half else "bfloat16"}
    if class_:
        config["architectures"] = [class_]
    for field, name in {**KNOWN.get(kin, {}), **SHARED}.items():
        if (value := fields.get(f"{architecture}.{field}")) is not None:
            config[name] = value
    if embedding:
        config["vocab_size"] = embedding[0]
    for field, name in TOKENS.items():
        if (value := fields.get(f"tokenizer.ggml.{field}_token_id")) is not None:
            config[name] = value
    config["tie_word_embeddings"] = not any("output.weight" in file.raw.entries for file in files)
    return config


def complete(config: Mapping[str, Any], files: Sequence[GgufFile]) -> dict[str, Any]:
    """The config with what follows from its fields and from tensors.

    Raises:
        InputError: what every model has is missing.
        UnsupportedError: not all that it has to say is known.
    """
    fields, found = files[0].fields, dict(config)
    architecture = str(fields.get("general.architecture"))
    kin = family(architecture, fields, (name for file in files for name in file.raw.entries))
    if kin not in KNOWN:
        raise UnsupportedError(
            f"is of the architecture {kin!r}, and config.json is known for {', '.join(KNOWN)}", hint=ORIGINAL
        )
    scaling = fields.get(f"{architecture}.rope.scaling.type", "none")
    if scaling not in ("none", None):
        raise UnsupportedError(f"scales its positions ({scaling}), which is not written to config.json", hint=ORIGINAL)
    routed = [name for name in KNOWN[kin].values() if "expert" in name or "moe" in name]
    for name in (*NEEDED, *routed):
        if type(config.get(name)) is not int or config[name] < 1:
            raise InputError(f"says {config.get(name)!r} for {name}, expected a number", hint=ORIGINAL, code="E-GGUF")
    wide = config["hidden_size"] // config["num_attention_heads"]
    head = config.get("head_dim", wide)
    if (rotated := fields.get(f"{architecture}.rope.dimension_count", head)) != head:
        raise UnsupportedError(
            f"rotates {rotated} of the {head} dimensions of a head, which is not written to config.json", hint=ORIGINAL
        )
    if architecture in LARGEST:
        found["query_pre_attn_scalar"] = wide if config["num_hidden_layers"] == LARGEST[architecture] else head
    if kin in NORMALIZED:
        found["norm_topk_prob"] = NORMALIZED[kin]
    for file, name in ((each, name) for each in files for name in each.raw.entries):
        if name.endswith(".bias") and name.split(".")[-2] not in BIASES.get(kin, ()):
            raise UnsupportedError(
                "is a bias, and how config.json of this architecture states it is not known here",
                tensor=name,
                hint=ORIGINAL,
            )
        if name in CONSTANTS:
            stated = _llama3(config, file.array(name).reshape(-1)) if name == FREQUENCIES else None
            if stated is None:
                raise UnsupportedError(
                    "changes the frequencies of positions in an unknown way", tensor=name, hint=ORIGINAL
                )
            found["rope_scaling"] = stated
    return found


def _llama3(config: Mapping[str, Any], stored: Array) -> dict[str, Any] | None:
    """What Llama 3.1 and 3.2 say of positions, if the stored divisors of frequencies are those that follow from it."""
    import numpy as np

    stated = {**LLAMA3, "factor": float(stored.max())}
    rate = float(config.get("rope_theta", 10000)) ** (-np.arange(0, 2 * len(stored), 2) / (2 * len(stored)))
    turns = stated["original_max_position_embeddings"] * rate / (2 * np.pi)
    low, high = stated["low_freq_factor"], stated["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    with np.errstate(all="ignore"):
        expected = 1 / ((1 - smooth) / stated["factor"] + smooth)
    return stated if np.allclose(stored, expected, rtol=1e-4) else None
