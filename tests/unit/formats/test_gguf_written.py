"""How modules are called and stored for llama.cpp: read by the library that owns the format, against the numbers that went in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf_files import write_tensors
from safetensors.numpy import save_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import AdapterOpsError
from adapterops.formats.peft.config import AdapterConfig
from adapterops.updates.lowrank import LowRank

MOE = {"model_type": "qwen3_moe", "num_experts": 3, "num_attention_heads": 4, "tie_word_embeddings": False}
SHAPES = {"a": (2, 32), "b": (32, 2)}
UP, WORDS = "model.layers.0.mlp.experts.{}.up_proj", "model.embed_tokens"


def random(out: int, into: int, rank: int = 2) -> LowRank:
    numbers = np.random.default_rng(out + into + rank).standard_normal
    return LowRank(numbers((out, rank)).astype(np.float32), numbers((rank, into)).astype(np.float32), 0.5)


def saved(
    path: Path, updates: Mapping[str, LowRank], model: Mapping[str, Any], dtype: str | None = None
) -> dict[str, Any]:
    """The tensors of the file, as numbers, by their names; and alpha."""
    config = AdapterConfig(model=model, embeddings=frozenset(updates.keys() & {WORDS}))
    ao.save_adapter(ao.Adapter.of(updates, config), path, format="gguf", dtype=dtype)
    file = gguf.GGUFReader(path)
    found = {each.name: gguf.dequantize(each.data, each.tensor_type) for each in file.tensors}
    return {
        **found,
        "alpha": file.fields["adapter.lora.alpha"].contents(),
        "types": {e.name: e.tensor_type.name for e in file.tensors},
    }


def test_experts_are_one_pair_and_those_that_are_missing_are_zero(tmp_path: Path) -> None:
    """Of one rank, which is alpha: as llama.cpp picks the slice of each by its number."""
    updates = {
        UP.format(0): random(16, 32),
        UP.format(2): random(16, 32, 3),
        "model.layers.0.self_attn.v_proj": random(8, 32),
    }
    found = saved(tmp_path / "a.gguf", updates, MOE)
    A, B = (found[f"blk.0.ffn_up_exps.weight.lora_{end}"] for end in "ab")
    assert A.shape == (3, 3, 32)
    assert B.shape == (3, 16, 3)
    assert found["alpha"] == 3
    for expert in (0, 2):
        np.testing.assert_allclose(B[expert] @ A[expert], updates[UP.format(expert)].dense(), rtol=1e-5, atol=1e-5)
    assert not A[1].any()
    assert not B[1].any()
    again = ao.open_adapter(tmp_path / "a.gguf")
    assert again.layout.keys() == updates.keys() | {UP.format(1)}


@pytest.mark.parametrize(("low", "high"), [(8, 64), (32, 64), (40, 96), (8, 8)])
def test_blocks_of_a_lower_rank_are_filled_up_with_zeros(low: int, high: int, tmp_path: Path) -> None:
    """Those of B are, where the rank of the file is a multiple of 32; else B is in F16."""
    updates = {
        "model.layers.0.self_attn.v_proj": random(128, 96, low),
        "model.layers.0.self_attn.o_proj": random(96, 128, high),
    }
    found = saved(tmp_path / "a.gguf", updates, MOE, "Q8_0")
    assert found["types"]["blk.0.attn_v.weight.lora_b"] == ("F16" if high % 32 else "Q8_0")
    for module, tensor in (("v_proj", "attn_v"), ("o_proj", "attn_output")):
        A, B = (found[f"blk.0.{tensor}.weight.lora_{end}"] for end in "ab")
        update = updates[f"model.layers.0.self_attn.{module}"].dense()
        assert np.linalg.norm(B @ A - update) < 0.02 * np.linalg.norm(update)
        rank = low if module == "v_proj" else high
        assert (A.shape[0], B.shape[1]) == (high, high)
        assert not A[rank:].any()
        assert not B[:, rank:].any()


def test_an_embedding_is_transposed(tmp_path: Path) -> None:
    update = random(50, 32)
    found = saved(tmp_path / "a.gguf", {WORDS: update, "lm_head": random(50, 32)}, MOE)
    a, b = (found[f"token_embd.weight.lora_{end}"] for end in "ab")
    assert (a.shape, b.shape) == ((50, 2), (32, 2))
    np.testing.assert_allclose(a @ b.T, update.dense(), rtol=1e-5, atol=1e-5)
    assert found["output.weight.lora_a"].shape == (2, 32)


def test_blocks(tmp_path: Path) -> None:
    """Of experts in Q8_0 as of any matrix; an embedding in float16."""
    updates = {WORDS: random(50, 32, 32), **{UP.format(number): random(16, 32, 32) for number in range(3)}}
    found = saved(tmp_path / "a.gguf", updates, MOE, "Q8_0")
    assert found["types"] == {
        "token_embd.weight.lora_a": "F16",
        "token_embd.weight.lora_b": "F16",
        "blk.0.ffn_up_exps.weight.lora_a": "Q8_0",
        "blk.0.ffn_up_exps.weight.lora_b": "Q8_0",
    }
    A, B = (found[f"blk.0.ffn_up_exps.weight.lora_{end}"] for end in "ab")
    wanted = updates[UP.format(1)].dense()
    assert np.linalg.norm(B[1] @ A[1] - wanted) < 0.02 * np.linalg.norm(wanted)


DEEPSEEK = {"model_type": "deepseek_v3", "n_routed_experts": 2, "tie_word_embeddings": False}
DEEPSEEK_MODULES = (
    *(f"mlp.{each}_proj" for each in ("gate", "up", "down")),
    *(f"mlp.shared_experts.{each}_proj" for each in ("gate", "up", "down")),
    "mlp.gate",
    "self_attn.o_proj",
)


@pytest.mark.parametrize("model_type", ["deepseek_v2", "deepseek_v3"])
def test_deepseek_has_the_names_of_its_converter(model_type: str, tmp_path: Path) -> None:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.DEEPSEEK2, 1)
    modules = [f"model.layers.0.{each}" for each in DEEPSEEK_MODULES]
    experts = [f"model.layers.0.mlp.experts.0.{each}_proj" for each in ("gate", "up", "down")]
    updates = {module: random(16, 32) for module in (*modules, *experts)}
    found = saved(tmp_path / "a.gguf", updates, {**DEEPSEEK, "model_type": model_type})
    wanted = {names.get_name(each.replace("experts.0", "experts")) for each in updates}
    assert {name.partition(".weight.lora_")[0] for name in found["types"]} == wanted


@pytest.mark.parametrize(
    ("architecture", "tensor", "model"),
    [
        ("qwen3", "token_embd", {"model_type": "qwen3", "tie_word_embeddings": True}),
        ("qwen3", "output", {"model_type": "qwen3", "tie_word_embeddings": True}),
        ("deepseek2", "blk.0.attn_q_b", DEEPSEEK),
    ],
)
def test_what_llama_cpp_cannot_apply_is_not_copied_either(
    architecture: str, tensor: str, model: Mapping[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Next to a module of which nothing is wrong, and with the base that says it."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text(json.dumps(model))
    names = {"token_embd": WORDS, "output": "lm_head", "blk.0.attn_q_b": "model.layers.0.self_attn.q_b_proj"}
    modules = {names[tensor]: tensor, "model.layers.0.self_attn.o_proj": "blk.0.attn_output"}
    weights = {f"{module}.weight": np.zeros((32, 32), np.float32) for module in modules}
    save_file({**weights, f"{WORDS}.weight": np.zeros((32, 32), np.float32)}, tmp_path / "base/model.safetensors")
    arrays = {
        f"{each}.weight.lora_{end}": np.ones(SHAPES[end], np.float32) for each in modules.values() for end in "ab"
    }
    if tensor == "token_embd":
        arrays["token_embd.weight.lora_a"] = np.ones((32, 2), np.float32)
    adapter = write_tensors(tmp_path / "a.gguf", architecture, arrays)
    base = ["--base", str(tmp_path / "base")]
    assert run(["convert", str(adapter), "--to", "gguf", *base, "-o", str(tmp_path / "b.gguf")]) == 4
    assert names[tensor] in capsys.readouterr().err
    assert not (tmp_path / "b.gguf").exists()
    assert run(["check", str(adapter), "--for", "llama.cpp", *base]) == 8


REFUSED = {
    "an embedding of a model that ties it": (
        WORDS,
        {**MOE, "tie_word_embeddings": True},
        "does not say that the model has a head",
    ),
    "an embedding of one that says nothing": (WORDS, {"model_type": "llama"}, "does not say that the model has a head"),
    "an expert that the model lacks": (UP.format(3), MOE, "is expert 3, and config.json of the base says 3"),
    "experts of a model that does not count them": (
        UP.format(0),
        {"model_type": "qwen3_moe"},
        "says None for their number",
    ),
    "experts in another order": (
        "model.layers.0.mlp.experts.0.up_proj",
        {"model_type": "gpt_oss"},
        "is not a linear layer",
    ),
    "what llama.cpp leaves out": (
        "model.layers.0.self_attn.q_b_proj",
        {"model_type": "deepseek_v3"},
        "to which llama.cpp applies no LoRA",
    ),
    "a head that it leaves out": ("lm_head", {"model_type": "deepseek_v2"}, "to which llama.cpp applies no LoRA"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    module, model, said = REFUSED[case]
    with pytest.raises(AdapterOpsError) as raised:
        saved(tmp_path / "a.gguf", {module: random(16, 32)}, model)
    assert said in str(raised.value)
    assert raised.value.exit_code == 4
    assert raised.value.hint
    assert not (tmp_path / "a.gguf").exists()
