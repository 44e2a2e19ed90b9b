"""Modules by the names of a base's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_models import adapted, gpt2, qwen
from transformers import Phi3Config, Phi3ForCausalLM

import adapterops as ao
from adapterops import LowRank
from adapterops.cli.main import run
from adapterops.errors import UnsupportedError
from adapterops.operations.in_files import named_in_files

NAME = "model.layers.0.self_attn.q_proj"


def test_a_weight_that_is_stored_transposed(tmp_path: Path) -> None:
    """LoRA is on the layer, whichever way round its weight is stored."""
    base = gpt2(tmp_path / "base")
    adapter = ao.open_adapter(adapted(base, tmp_path / "adapter", target_modules=["c_attn", "c_proj"]))
    found = named_in_files(adapter, ao.open_checkpoint(base))
    module = "transformer.h.0.attn.c_attn"
    assert found.layout[module].shape == (192, 64)
    own = adapter.updates[module].dense()
    assert np.array_equal(found.updates[module].dense(), own)
    assert "c_attn" in (found.config.targets or ())
    assert "transformer.h.0.mlp.c_proj" in found.layout


def test_a_part_of_what_the_base_has_as_one_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Phi3Config(**sizes, num_key_value_heads=1, vocab_size=32, pad_token_id=0, bos_token_id=0, eos_token_id=0)
    Phi3ForCausalLM(config).save_pretrained(tmp_path / "base")
    update = LowRank(np.ones((16, 2), np.float32), np.ones((2, 16), np.float32))
    adapter = ao.Adapter.of({NAME: update})
    with pytest.raises(UnsupportedError, match=r"is a part of model\.layers\.0\.self_attn\.qkv_proj\.weight"):
        named_in_files(adapter, ao.open_checkpoint(tmp_path / "base"))


def test_names_need_a_base(tmp_path: Path) -> None:
    adapter = adapted(qwen(tmp_path / "base"), tmp_path / "adapter", target_modules=["q_proj"])
    assert run(["normalize", str(adapter), "--names", "files", "-o", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
