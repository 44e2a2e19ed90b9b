"""The tensors that have a row for each word of a vocabulary, and the part of config.json that says how many there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterops.formats.models.architectures import CODERS, EMBEDDINGS, HEAD, WEIGHT
from adapterops.storage.tensors import Spec

BIAS = ".bias"

TOKEN_ROWS = ".token_adapter.trainable_tokens_delta"
"""What follows the name of an embedding of which PEFT replaces some rows: these rows, and not their change."""

INPUTS = {
    *(name.rpartition(".")[2] for name in EMBEDDINGS),
    *("shared", "tok_embeddings", "tokens_embed", "word_embedding", "embeddings"),
}
"""Last names of input embeddings."""

OUTPUTS = (HEAD, "lm_head.decoder", "embed_out", "predictions.decoder", "generator_lm_head", "vocab_projector")
"""How the names of output embeddings end."""

WHOLE = ("proj_out", "decoder")
"""The names of others, of Whisper and ModernBERT, which in a longer name are those of other layers."""

BUFFER = "final_logits_bias"
"""A bias of encoder-decoders that is never trained, and belongs to no module that could be saved with an adapter."""

BIASES = (f"{HEAD}{BIAS}", f"predictions{BIAS}", f"generator_lm_head{BIAS}", BUFFER)
"""How the names of biases end that are added to what an output embedding makes."""


SIZES = ("vocab_size", "n_words", "decoder_vocab_size")
"""What configs call the size of a vocabulary."""

TEXT = ("thinker_config", "text_config", "text_encoder", "decoder", "generator")
"""What composite models call the config of their language model, which transformers resizes a vocabulary in."""


def is_input(tensor: str) -> bool:
    """
    >>> is_input("bert.embeddings.word_embeddings.weight"), is_input("bert.embeddings.position_embeddings.weight")
    (True, False)
    """
    return tensor.endswith(WEIGHT) and tensor.removesuffix(WEIGHT).rpartition(".")[2] in INPUTS


def is_output(tensor: str) -> bool:
    """
    >>> is_output("cls.predictions.decoder.weight"), is_output("decoder.weight"), is_output("first_stage.decoder.weight")
    (True, True, False)
    """
    module = tensor.removesuffix(WEIGHT)
    ends = module in WHOLE or any(module == end or module.endswith(f".{end}") for end in OUTPUTS)
    return tensor.endswith(WEIGHT) and ends


def is_end(tensor: str) -> bool:
    """Whether a name is that of an input embedding, an output embedding, or its bias: PEFT saves these unannounced
    where the vocabulary was resized.

    >>> is_end("lm_head.weight"), is_end("cls.predictions.decoder.bias"), is_end("model.norm.weight")
    (True, True, False)
    """
    bias = tensor.endswith(BIASES) or (tensor.endswith(BIAS) and is_output(tensor.removesuffix(BIAS) + WEIGHT))
    return is_input(tensor) or is_output(tensor) or bias


def is_buffer(tensor: str) -> bool:
    """
    >>> is_buffer("final_logits_bias"), is_buffer("lm_head.bias")
    (True, False)
    """
    return tensor.endswith(BUFFER)


def made_one(tensor: str, source: str) -> bool:
    """Whether resize_token_embeddings makes an embedding of an encoder or a decoder the one that both share, whatever it
    was before.

    >>> made_one("model.encoder.embed_tokens.weight", "model.shared.weight")
    True
    """
    above = source.removesuffix(WEIGHT).rpartition(".")[0]
    *_, part, _ = ["", *tensor.removeprefix(f"{above}.").removesuffix(WEIGHT).split(".")]
    return is_input(tensor) and is_input(source) and part in CODERS and tensor.startswith(above)


def input_of(layout: Mapping[str, Spec]) -> str | None:
    """The input embedding of a model, where its name alone shows which that is."""
    found = [name for name, spec in layout.items() if is_input(name) and len(spec.shape) == 2]
    shared = [name for name in found if name.removesuffix(WEIGHT).endswith("shared")]
    chosen = shared or found
    return chosen[0] if len(chosen) == 1 else None


def with_vocabulary(config: Mapping[str, Any], before: int, rows: int) -> dict[str, Any]:
    """A config whose language model has a vocabulary of so many words.

    >>> with_vocabulary({"text_config": {"vocab_size": 4}, "vocab_size": 4}, 4, 6)
    {'text_config': {'vocab_size': 6}, 'vocab_size': 6}
    """
    changed = {name: rows for name in SIZES if config.get(name) == before}
    for part in TEXT:
        inner = config.get(part)
        if isinstance(inner, Mapping):
            return {**config, part: with_vocabulary(inner, before, rows), **changed}
    return {**config, "vocab_size": rows, **changed}
