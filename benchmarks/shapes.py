"""Adapters and models of real shapes with random numbers.

`shapes.py FOLDER qwen-third|qwen|qwen2|qwen4|llama|llama-eighth|small RANK DTYPE SEED` writes an adapter as PEFT does,
`shapes.py FOLDER model|tuned LAYERS DTYPE SEED` a sharded checkpoint.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

QWEN = {"layers": 24, "hidden": 896, "kv": 128, "intermediate": 4864}
"""Qwen2.5-0.5B"""

VOCABULARY = 151936

LLAMA = {"layers": 32, "hidden": 4096, "kv": 1024, "intermediate": 14336}
"""Llama 8B"""

SMALL = {"layers": 1, "hidden": 64, "kv": 64, "intermediate": 64}
"""What takes no time but that of a start."""


def modules(layers: int, hidden: int, kv: int, intermediate: int) -> dict[str, tuple[int, int]]:
    """Module name → (out, in)."""
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
    }
    return {f"model.layers.{layer}.{name}": shape for layer in range(layers) for name, shape in shapes.items()}


def write_adapter(folder: Path, shapes: dict[str, tuple[int, int]], rank: int, dtype: str, seed: int) -> None:
    import torch  # here: whoever measures memory must not have it
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for module, (out, into) in shapes.items():
        A, B = (
            torch.randn(rank, into, generator=generator) / into**0.5,
            torch.randn(out, rank, generator=generator) / 50,
        )
        tensors[f"base_model.model.{module}.lora_A.weight"] = A.to(getattr(torch, dtype))
        tensors[f"base_model.model.{module}.lora_B.weight"] = B.to(getattr(torch, dtype))
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "benchmark",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": sorted({module.rpartition(".")[2] for module in shapes}),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def write_model(folder: Path, layers: int, dtype: str, seed: int, tuned: bool = False) -> None:
    """A checkpoint of Qwen2.5-0.5B's shape in four files for 24 layers;
    `tuned` moves its weights a little, mostly in 40 directions.
    """
    import torch  # here: whoever measures memory must not have it
    from safetensors.torch import save_file

    generator, moved = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)

    def normal(*shape: int) -> torch.Tensor:
        weight = 0.02 * torch.randn(shape, generator=generator)
        if tuned and len(shape) == 2 and shape[0] != VOCABULARY:
            B, A = torch.randn(shape[0], 40, generator=moved), torch.randn(40, shape[1], generator=moved)
            scale = torch.arange(1, 41) ** -0.5
            weight += 5e-4 * (B * scale) @ A + 2e-4 * torch.randn(shape, generator=moved)
        return weight.to(getattr(torch, dtype))

    folder.mkdir(parents=True)
    shapes = modules(**{**QWEN, "layers": layers})
    per_file, where, total = 8, {}, 0
    files = 1 + -(-layers // per_file)
    for index in range(files):
        if index == 0:
            tensors = {
                "model.embed_tokens.weight": normal(VOCABULARY, QWEN["hidden"]),
                "model.norm.weight": torch.ones(QWEN["hidden"]).to(getattr(torch, dtype)),
            }
        else:
            tensors = {}
            for layer in range((index - 1) * per_file, min(index * per_file, layers)):
                for norm in ("input_layernorm", "post_attention_layernorm"):
                    tensors[f"model.layers.{layer}.{norm}.weight"] = torch.ones(QWEN["hidden"]).to(
                        getattr(torch, dtype)
                    )
                for module, shape in shapes.items():
                    if module.startswith(f"model.layers.{layer}."):
                        tensors[f"{module}.weight"] = normal(*shape)
                        if module.endswith(("q_proj", "k_proj", "v_proj")):
                            tensors[f"{module}.bias"] = torch.zeros(shape[0]).to(getattr(torch, dtype))
        name = f"model-{index + 1:05}-of-{files:05}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, name)
        total += sum(tensor.nbytes for tensor in tensors.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": where})
    )
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": VOCABULARY,
        "hidden_size": QWEN["hidden"],
        "intermediate_size": QWEN["intermediate"],
        "num_hidden_layers": layers,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "torch_dtype": dtype,
    }
    (folder / "config.json").write_text(json.dumps(config))


def main(folder: Path, kind: str, number: int, dtype: str, seed: int) -> None:
    if kind in ("model", "tuned"):
        write_model(folder, number, dtype, seed, kind == "tuned")
    else:
        of_kind = {"llama": LLAMA, "llama-eighth": {**LLAMA, "layers": 4}, "small": SMALL}
        layers = {"qwen-third": 8, "qwen": 24, "qwen2": 48, "qwen4": 96}
        shape = of_kind.get(kind) or {**QWEN, "layers": layers[kind]}
        write_adapter(folder, modules(**shape), number, dtype, seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
