"""Names of tensors, against the tables of gguf."""

from __future__ import annotations

import gguf
import pytest

from adapterops.formats.llama_cpp import ARCHITECTURES, ENDS, NORMS, STACKED, field_of_heads, named


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_name_is_the_one_that_gguf_gives(architecture: str) -> None:
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    known = gguf.get_tensor_name_map(arch, 2)
    inner = {**ARCHITECTURES[architecture], **NORMS[architecture]}
    for tensor, module in {f"blk.1.{name}": f"model.layers.1.{there}" for name, there in inner.items()}.items():
        end = "_bias" if tensor.endswith("exp_probs_b") else ".weight"
        assert named(f"{tensor}.weight", architecture) == (f"{module}{end}",)
        own = (architecture, tensor) == ("arcee", "blk.1.ffn_gate") or tensor.endswith("exps")
        if not own:  # it has no gates, and names of experts that are nobody else's
            assert known.get_name(module) == tensor
    for tensor, module in ENDS.items():
        assert named(f"{tensor}.weight", architecture) == (f"{module}.weight",)
        if tensor != "output" or architecture not in ("gemma", "gemma2", "cohere2"):  # which have one embedding
            assert known.get_name(module) == tensor


@pytest.mark.parametrize("architecture", STACKED)
def test_those_of_experts_are_what_gguf_gives(architecture: str) -> None:
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    known = gguf.get_tensor_name_map(arch, 2)
    for tensor, modules in STACKED[architecture].items():
        found = named(f"blk.1.{tensor}.weight", architecture)
        assert found == tuple(f"model.layers.1.{module}.weight" for module in modules)
        if len(modules) == 1:
            assert known.get_name(found[0].removesuffix(".weight").replace(".{}", "")) == f"blk.1.{tensor}"


def test_what_is_not_known_has_no_name() -> None:
    for tensor in (
        "blk.0.ffn_gate_shexp.weight",
        "blk.0.attn_q.7.weight",
        "blk.0.attn_q.scale",
        "blk.x.attn_q.weight",
        "mystery.weight",
    ):
        assert named(tensor, "llama") == ()
    assert named("blk.0.ffn_gate_exps.weight", "phi3") == ()
    assert named("rope_freqs.weight", "llama") == ("rope_freqs.weight",)


def test_heads_matter_where_rows_are_in_pairs() -> None:
    assert field_of_heads("blk.0.attn_k.weight", "llama") == "num_key_value_heads"
    assert field_of_heads("blk.0.attn_k.weight", "qwen2") is None
    assert field_of_heads("blk.0.attn_v.weight", "llama") is None
