"""Adapters of real shapes with random numbers, in PEFT's format: `shapes.py FOLDER qwen|llama RANK DTYPE SEED`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

QWEN = {"layers": 24, "hidden": 896, "kv": 128, "intermediate": 4864}
"""Qwen2.5-0.5B"""

LLAMA = {"layers": 32, "hidden": 4096, "kv": 1024, "intermediate": 14336}
"""Llama 8B"""


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
        A, B = torch.randn(rank, into, generator=generator) / into**0.5, torch.randn(out, rank, generator=generator) / 50
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


if __name__ == "__main__":
    write_adapter(
        Path(sys.argv[1]), modules(**{"qwen": QWEN, "llama": LLAMA}[sys.argv[2]]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
    )
