"""Files of bare models: what a model with a head calls its inner one, and a file of that alone leaves out.

transformers loads `h.0.attn.c_attn` of such a file as `transformer.h.0.attn.c_attn` where the config names a class with a
head; PEFT has the names in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import classes

INNER = {
    "transformer": (
        "bloom", "codegen", "ctrl", "dbrx", "falcon", "flaubert", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neo", "gptj",
        "mpt", "openai-gpt", "squeezebert", "xlm", "xlnet",
    ),
    "roberta": ("camembert", "roberta", "xlm-roberta", "xlm-roberta-xl", "xmod"),
    "bert": ("bert", "bert-generation", "big_bird", "megatron-bert"),
    "backbone": ("falcon_mamba", "mamba", "mamba2", "xlstm"),
    "deberta": ("deberta", "deberta-v2"),
    **{
        each: (each,)
        for each in (
            "albert", "biogpt", "convbert", "distilbert", "electra", "ernie", "esm", "fnet", "funnel", "gpt_neox", "ibert",
            "layoutlm", "layoutlmv3", "longformer", "mobilebert", "mpnet", "rembert", "roformer", "rwkv",
        )
    },
}  # fmt: skip
"""`base_model_prefix` of transformers → the types of models that have it. Most others have `model`."""

LANGUAGE_MODEL = {"layers", "embed_tokens", "norm"}
"""What a language model that is called `model` consists of."""

HEADS = {"lm_head", "score", "classifier", "cls", "qa_outputs", "predictions", "generator_predictions", "embed_out"}
"""What is next to the inner model and not in it."""


def inner_prefix(names: Collection[str], config: Mapping[str, Any] | None) -> str:
    """What stands before the names of a file in the model that its config names; empty where they are those in memory.

    >>> inner_prefix(["h.0.attn.c_attn.weight"], {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})
    'transformer.'
    >>> inner_prefix(["h.0.attn.c_attn.weight"], {"model_type": "gpt2", "architectures": ["GPT2Model"]})
    ''
    """
    config = config or {}
    headed = any("For" in each or each.endswith("LMHeadModel") for each in classes(config))
    stated = str(config.get("model_type"))
    known = next((prefix for prefix, types in INNER.items() if stated in types), None)
    prefix = f"{known or 'model'}."
    if not headed or any(name.startswith(prefix) for name in names):
        return ""
    names = list(map(loading(config).name, names))
    if any(name.startswith(prefix) for name in names):
        return ""
    return prefix if known or {name.partition(".")[0] for name in names} >= LANGUAGE_MODEL else ""


def with_prefix(name: str, prefix: str) -> str:
    """
    >>> with_prefix("h.0.mlp.c_fc", "transformer."), with_prefix("lm_head", "transformer.")
    ('transformer.h.0.mlp.c_fc', 'lm_head')
    """
    return name if name.partition(".")[0] in HEADS else prefix + name
