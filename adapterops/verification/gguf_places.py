"""What the tensors of a GGUF model are, found from the file itself: which weight, of which layer and expert, its rows in which order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.regex import Regex
from adapterops.storage.gguf_rows import GgufRows

NAME = Regex(r"blk\.(?P<layer>\d+)\.(?P<what>(?:nextn\.)?\w+)(?:\.(?P<expert>\d+))?(?:\.weight|\.bias)?")
NUMBER = Regex(r"\.(\d+)\.")
EXPERT = Regex(r"\.experts\.(\d+)\.")
WHOLE = {"token_embd.weight": "embed_tokens", "output_norm.weight": "norm", "output.weight": "lm_head"}
PARTS = {
    "attn_q": "q_proj", "attn_k": "k_proj", "attn_v": "v_proj", "attn_output": "o_proj", "attn_qkv": "qkv_proj",
    "attn_q_a": "q_a_proj", "attn_q_b": "q_b_proj", "attn_kv_a_mqa": "kv_a_proj_with_mqa", "attn_kv_b": "kv_b_proj",
    "attn_k_b": "k_b_proj", "attn_v_b": "v_b_proj", "attn_sinks": "sinks",
    "attn_q_norm": "q_norm query_layernorm", "attn_k_norm": "k_norm key_layernorm",
    "attn_q_a_norm": "q_a_layernorm", "attn_kv_a_norm": "kv_a_layernorm",
    "ffn_gate": "gate_proj", "ffn_up": "up_proj gate_up_proj c_fc", "ffn_down": "down_proj c_proj",
    "ffn_gate_inp": "gate router", "ffn_gate_inp_shexp": "shared_expert_gate",
    "ffn_gate_shexp": "gate_proj", "ffn_up_shexp": "up_proj", "ffn_down_shexp": "down_proj",
    "exp_probs_b": "e_score_correction_bias",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm pre_feedforward_layernorm",
    "post_attention_norm": "post_attention_layernorm post_self_attn_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm post_mlp_layernorm",
}  # fmt: skip
"""llama.cpp's name of a part of a layer → what models of transformers call it."""

OF_EXPERTS = {
    "ffn_gate_exps": ("gate_proj w1",),
    "ffn_up_exps": ("up_proj w3",),
    "ffn_down_exps": ("down_proj w2",),
    "ffn_gate_up_exps": ("gate_proj w1", "up_proj w3"),
}
"""The same of what has all experts, each with these after one another."""

IN_PAIRS = {"llama", "granite", "smollm3", "arcee"}
"""Architectures for which llama.cpp's converter puts row i of the second half of each head of q and k behind row i of the first."""


def gguf_doubts(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Weights of a GGUF model that are others, or have their rows in another order, than its file says.

    Cost: of each weight with rows in pairs one head is read.
    """
    for file in checkpoint.files.shards.values() if checkpoint.files else ():
        if isinstance(file, GgufRows):
            fields = {**_first(checkpoint).file.fields, **file.file.fields}
            for name in file.spans:
                if wrong := _named(name, file) or _arranged(name, file, fields):
                    yield name, wrong


def _first(checkpoint: Checkpoint) -> GgufRows:
    """The file with the settings of all."""
    assert checkpoint.files is not None
    found = next(iter(checkpoint.files.shards.values()))
    assert isinstance(found, GgufRows)
    return found


def _named(name: str, file: GgufRows) -> str | None:
    """What is wrong with what a weight is called."""
    span = file.spans[name]
    match, stem = NAME.fullmatch(span.stored), name.removesuffix(".weight").removesuffix(".bias")
    own = stem.rpartition(".")[2]
    if match is None:
        known = WHOLE.get(span.stored, own)
        return None if own == known else f"is {span.stored} of the file, the {known} of the model"
    layer, expert = NUMBER.search(name), EXPERT.search(name)
    if layer is None or layer[1] != match["layer"]:
        return f"is {span.stored} of the file, in layer {match['layer']}"
    what, each = match["what"], match["expert"]
    if f"{what}_exps" in OF_EXPERTS and each is not None:
        wanted, number = OF_EXPERTS[f"{what}_exps"][0], int(each)
    elif what in OF_EXPERTS and expert is not None:
        height = math.prod(span.shape[:-1])
        number, part = divmod(span.first // height, len(OF_EXPERTS[what]))
        wanted = OF_EXPERTS[what][part]
    else:
        called = (name if what == "exp_probs_b" else stem).rpartition(".")[2]
        words = PARTS.get(what, called).split()
        return None if called in words else f"is {span.stored} of the file, which is {' or '.join(words)}"
    if expert is None or int(expert[1]) != number or own not in wanted.split():
        return f"is rows from {span.first} on of {span.stored} of the file, which are those of {wanted.split()[0]} of expert {number}"
    return None


def _arranged(name: str, file: GgufRows, fields: Mapping[str, Any]) -> str | None:
    """What is wrong with the order of the rows of a weight."""
    span, architecture = file.spans[name], fields.get("general.architecture")
    match = NAME.fullmatch(span.stored)
    field = {"attn_q": "head_count", "attn_k": "head_count_kv"}.get(match["what"] if match else "")
    if architecture not in IN_PAIRS or field is None:
        return f"has rows in pairs, which {architecture} has not" if name in file.heads else None
    heads = fields.get(f"{architecture}.attention.{field}", fields.get(f"{architecture}.attention.head_count"))
    if file.heads.get(name) != heads:
        return f"has the rows of {file.heads.get(name, 'no')} heads, and the file says {heads}"
    row = file.row(name)
    half = math.prod(span.shape[:-1]) // heads // 2
    stored = bytes(file.file.raw.read(span.stored, span.first * row, (span.first + 2 * half) * row))
    rows = [stored[at * row : (at + 1) * row] for at in (*range(0, 2 * half, 2), *range(1, 2 * half, 2))]
    if bytes(file.read(name, 0, 2 * half * row)) != b"".join(rows):
        return "has its rows in another order than transformers"
    return None
