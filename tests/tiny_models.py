"""A tiny sharded model, and an adapter of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from corpus import config, write_adapter
from safetensors.torch import load_file, save_file


def write_base(folder: Path, layers: int = 3, out: int = 12, into: int = 8, seed: int = 0, nan: str = "") -> Path:
    """A model in bfloat16: a shard for each layer with two weights to adapt, and one shard that no adapter touches.

    `nan`: the tensor that has one.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(torch.bfloat16)

    shards = []
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        weights = {f"{prefix}{name}.weight": random(out, into) for name in ("q_proj", "v_proj")}
        shards.append({**weights, f"{prefix}norm.weight": random(into)})
    shards.append(
        {"model.embed_tokens.weight": random(out, into), "model.norm.weight": random(into), "steps": torch.tensor([7])}
    )
    folder.mkdir(parents=True)
    where = {}
    for index, shard in enumerate(shards):
        if nan in shard:
            shard[nan][3, 2] = torch.nan
        name = f"model-{index + 1:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        where |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny", "torch_dtype": "bfloat16"}))
    (folder / "tokenizer.json").write_text(json.dumps({"vocabulary": ["a", "ü"]}))
    return folder


def write_tuned(folder: Path, layers: int = 3, out: int = 12, into: int = 8, seed: int = 0, **fields: Any) -> Path:
    """An adapter of all that can be adapted in `write_base`."""
    modules = [f"model.layers.{layer}.{name}" for layer in range(layers) for name in ("q_proj", "v_proj")]
    return write_adapter(folder, fields=config(2, **fields), modules=modules, rank=2, out=out, into=into, seed=seed)


def write_unmerged(folder: Path, base: Path, adapter: Path) -> Path:
    """A model that was saved with the layers of its adapter in it."""
    folder.mkdir()
    (folder / "config.json").write_bytes((base / "config.json").read_bytes())
    tensors = {key: each for path in sorted(base.glob("*.safetensors")) for key, each in load_file(path).items()}
    for key, each in load_file(adapter / "adapter_model.safetensors").items():
        own = key.removeprefix("base_model.model.")
        module = own.partition(".lora_")[0]
        tensors[own.replace(".weight", ".default.weight")] = each
        if f"{module}.weight" in tensors:
            tensors[f"{module}.base_layer.weight"] = tensors.pop(f"{module}.weight")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder
