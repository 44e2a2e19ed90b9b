"""Experts and embeddings in a GGUF adapter, against their formulas: each has its own slice, and rows of A are those of words."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

import adapterops as ao
from adapterops.errors import InputError

E, R, WIDTH, INNER, ALPHA = 3, 2, 32, 16, 6.0


def write(path: Path, tensors: dict[str, np.ndarray], architecture: str = "qwen3moe") -> Path:
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("architecture", "above", "gate", "up", "down"),
    [
        ("qwen3moe", "mlp.experts", "gate_proj", "up_proj", "down_proj"),
        ("llama", "block_sparse_moe.experts", "w1", "w3", "w2"),
    ],
)
def test_every_expert_is_a_module(architecture: str, above: str, gate: str, up: str, down: str, tmp_path: Path) -> None:
    """Gate and up by themselves, and in one tensor: A is of both then, and B has the rows of gate first."""
    A, B = random(E, R, WIDTH), random(E, 2 * INNER, R)
    D = random(E, R, INNER), random(E, WIDTH, R)
    one = {"blk.1.ffn_gate_up_exps": (A, B), "blk.1.ffn_down_exps": D}
    two = {
        "blk.1.ffn_gate_exps": (A, B[:, :INNER].copy()),
        "blk.1.ffn_up_exps": (A, B[:, INNER:].copy()),
        "blk.1.ffn_down_exps": D,
    }
    for number, pairs in enumerate((one, two)):
        tensors = {
            f"{name}.weight.lora_{end}": each
            for name, pair in pairs.items()
            for end, each in zip("ab", pair, strict=True)
        }
        adapter = ao.open_adapter(write(tmp_path / f"{number}.gguf", tensors, architecture))
        assert len(adapter.layout) == 3 * E
        for expert in range(E):
            scale, start = ALPHA / R, f"model.layers.1.{above}.{expert}"
            wanted = {
                gate: scale * B[expert, :INNER] @ A[expert],
                up: scale * B[expert, INNER:] @ A[expert],
                down: scale * D[1][expert] @ D[0][expert],
            }
            for name, delta in wanted.items():
                np.testing.assert_allclose(adapter.updates[f"{start}.{name}"].dense(), delta, rtol=1e-5, atol=1e-5)


def test_an_embedding_has_a_row_of_a_for_each_word(tmp_path: Path) -> None:
    a, b = random(50, R), random(WIDTH, R)
    tensors = {"token_embd.weight.lora_a": a, "token_embd.weight.lora_b": b}
    adapter = ao.open_adapter(write(tmp_path / "a.gguf", tensors))
    assert adapter.layout["model.embed_tokens"].shape == (50, WIDTH)
    assert adapter.config.embeddings == {"model.embed_tokens"}
    np.testing.assert_allclose(adapter.updates["model.embed_tokens"].dense(), ALPHA / R * a @ b.T, rtol=1e-5, atol=1e-5)
    ao.save_adapter(adapter, tmp_path / "peft", format="peft")
    np.testing.assert_array_equal(
        ao.open_adapter(tmp_path / "peft").updates["model.embed_tokens"].dense(),
        adapter.updates["model.embed_tokens"].dense(),
    )


REFUSED = {
    "half a pair": ({"lora_a": (E, R, WIDTH)}, "no lora_B"),
    "other numbers of experts": ({"lora_a": (E, R, WIDTH), "lora_b": (E + 1, INNER, R)}, "expected"),
    "no axis of experts": ({"lora_a": (R, WIDTH), "lora_b": (INNER, R)}, "expected"),
    "ranks that differ": ({"lora_a": (E, R, WIDTH), "lora_b": (E, INNER, R + 1)}, "rank"),
    "rows that are no two halves": ({"lora_a": (E, R, WIDTH), "lora_b": (E, 7, R)}, "expected"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_pair_of_all_experts(case: str, tmp_path: Path) -> None:
    shapes, said = REFUSED[case]
    tensors = {f"blk.0.ffn_gate_up_exps.weight.{role}": random(*shape) for role, shape in shapes.items()}
    with pytest.raises(InputError, match=said) as raised:
        ao.open_adapter(write(tmp_path / "a.gguf", tensors))
    assert raised.value.tensor


def test_factors_of_an_embedding_that_do_not_fit(tmp_path: Path) -> None:
    tensors = {"token_embd.weight.lora_a": random(50, R), "token_embd.weight.lora_b": random(WIDTH, R + 1)}
    with pytest.raises(InputError) as raised:
        ao.open_adapter(write(tmp_path / "a.gguf", tensors))
    assert raised.value.tensor == "model.embed_tokens"


def test_an_expert_in_two_tensors(tmp_path: Path) -> None:
    pair = random(E, R, WIDTH), random(E, 2 * INNER, R)
    names = ("blk.0.ffn_gate_up_exps", "blk.0.ffn_up_exps")
    tensors = {f"{name}.weight.lora_{end}": each for name in names for end, each in zip("ab", pair, strict=True)}
    with pytest.raises(InputError, match="is in two tensors"):
        ao.open_adapter(write(tmp_path / "a.gguf", tensors))
