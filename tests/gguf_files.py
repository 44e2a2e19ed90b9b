"""GGUF adapters as llama.cpp's converter writes them, by the library that owns the format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

LLAMA = {
    "blk.0.attn_q": ("model.layers.0.self_attn.q_proj", (64, 64), 4),
    "blk.0.attn_k": ("model.layers.0.self_attn.k_proj", (32, 64), 2),
    "blk.1.attn_v": ("model.layers.1.self_attn.v_proj", (32, 64), 0),
    "blk.1.ffn_down": ("model.layers.1.mlp.down_proj", (64, 112), 0),
}
"""llama.cpp's name → that of transformers, (out, in), and of how many heads the rows are, for the Llama of peft_models."""

Q8, BF16 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.BF16
Alter = Callable[[gguf.GGUFWriter], None]


def write_base(folder: Path, **config: object) -> Path:
    """A model whose weights are zero, with the modules that the adapters have."""
    folder.mkdir()
    zeros = {f"{module}.weight": np.zeros(shape, np.float32) for module, shape, _ in LLAMA.values()}
    save_file(zeros, folder / "model.safetensors", {"format": "pt"})
    heads = {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}
    (folder / "config.json").write_text(json.dumps({**heads, **config}))
    return folder


def factors(rank: int = 4, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A and B of every module, by transformers' names."""
    random = np.random.default_rng(seed)
    return {
        module: (
            random.standard_normal((rank, shape[1])).astype(np.float32),
            random.standard_normal((shape[0], rank)).astype(np.float32),
        )
        for module, shape, _ in LLAMA.values()
    }


def permuted(B: np.ndarray, heads: int) -> np.ndarray:
    """The rows as `LlamaModel.permute` of llama.cpp's converter arranges them."""
    out, rank = B.shape
    return B.reshape(heads, 2, out // heads // 2, rank).swapaxes(1, 2).reshape(out, rank) if heads else B


def write(
    path: Path,
    alpha: float | None = 8.0,
    architecture: str = "llama",
    stored: Mapping[str, gguf.GGMLQuantizationType] | None = None,
    alter: Alter = lambda writer: None,
    kind: str = "adapter",
    rank: int = 4,
    tensors: Mapping[str, tuple[str, tuple[int, int], int]] = LLAMA,
    **split: int | bool,
) -> Path:
    """An adapter of `factors` for some of the modules of a Llama, some tensors of which are in another type than F32, by their names;
    in several files by `split_max_tensors`.
    """
    writer = gguf.GGUFWriter(str(path), architecture, **split)
    writer.add_type(kind)
    writer.add_string("adapter.type", "lora")
    writer.add_string("general.name", "größer")
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    known = factors(rank)
    for name, (module, _, heads) in tensors.items():
        A, B = known[module]
        for end, values in (("lora_a", A), ("lora_b", np.ascontiguousarray(permuted(B, heads)))):
            tensor = f"{name}.weight.{end}"
            type_ = (stored or {}).get(tensor)
            data = values if type_ is None else gguf.quantize(values, type_)
            writer.add_tensor(tensor, data, raw_dtype=type_)
    alter(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_tensors(path: Path, architecture: str, tensors: Mapping[str, np.ndarray]) -> Path:
    """An adapter of any tensors."""

    def add(writer: gguf.GGUFWriter) -> None:
        for name, values in tensors.items():
            writer.add_tensor(name, values)

    return write(path, architecture=architecture, tensors={}, alter=add)
