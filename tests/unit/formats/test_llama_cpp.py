"""Names of tensors, against the tables of gguf."""

from __future__ import annotations

import gguf
import pytest

from adapterops.formats.llama_cpp import ARCHITECTURES, ENDS, NORMS, field_of_heads, named


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_name_is_the_one_that_gguf_gives(architecture: str) -> None:
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    known = gguf.get_tensor_name_map(arch, 2)
    inner = {**ARCHITECTURES[architecture], **NORMS[architecture]}
    for tensor, module in {f"blk.1.{name}": f"model.layers.1.{there}" for name, there in inner.items()}.items():
        assert named(f"{tensor}.weight", architecture) == f"{module}.weight"
        if (architecture, tensor) != ("arcee", "blk.1.ffn_gate"):  # which has no gates
            assert known.get_name(module) == tensor
    for tensor, module in ENDS.items():
        assert named(f"{tensor}.weight", architecture) == f"{module}.weight"
        if tensor != "output" or architecture not in ("gemma", "gemma2"):  # which have one embedding
            assert known.get_name(module) == tensor


def test_what_is_not_known_has_no_name() -> None:
    for tensor in ("blk.0.ffn_gate_exps.weight", "blk.0.attn_q.scale", "blk.x.attn_q.weight", "mystery.weight"):
        assert named(tensor, "llama") is None
    assert named("rope_freqs.weight", "llama") == "rope_freqs.weight"


def test_heads_matter_where_rows_are_in_pairs() -> None:
    assert field_of_heads("blk.0.attn_k.weight", "llama") == "num_key_value_heads"
    assert field_of_heads("blk.0.attn_k.weight", "qwen2") is None
    assert field_of_heads("blk.0.attn_v.weight", "llama") is None
