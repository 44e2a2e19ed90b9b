"""Checkpoints of the shapes of Llama 3.1, real headers and no numbers: the files are sparse and take no room.

`sparse.py FOLDER 405b` writes FOLDER/base, of 191 files, and FOLDER/a, as sparse, of all its 882 linear modules;
`sparse.py FOLDER 8b` FOLDER/base, of 4 files.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from pathlib import Path

from shapes import LLAMA, modules

LLAMA_405B = {"layers": 126, "hidden": 16384, "kv": 1024, "intermediate": 53248}
MODELS = {"405b": (LLAMA_405B, 191), "8b": (LLAMA, 4)}
WORDS, RANK, HEAD = 128256, 16, 128


def write_file(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file in bfloat16, of zeros that are nowhere."""
    header, position = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = position + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + position)


def weights(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Tensor name → shape, in the order in which transformers divides them among files."""
    hidden = sizes["hidden"]
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (WORDS, hidden)}
    for module, shape in modules(**sizes).items():
        if (layer := module.removesuffix(".self_attn.q_proj")) != module:
            found |= {f"{layer}.{norm}.weight": (hidden,) for norm in ("input_layernorm", "post_attention_layernorm")}
        found[f"{module}.weight"] = shape
    return {**found, "model.norm.weight": (hidden,), "lm_head.weight": (WORDS, hidden)}


def write_base(folder: Path, sizes: dict[str, int], many: int) -> None:
    folder.mkdir(parents=True)
    shapes = weights(sizes)
    total, seen, where = sum(2 * math.prod(shape) for shape in shapes.values()), 0, {}
    files: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        file = f"model-{min(many, 1 + seen * many // total):05}-of-{many:05}.safetensors"
        files.setdefault(file, {})[name] = shape
        where[name] = file
        seen += 2 * math.prod(shape)
    names = [f"model-{number:05}-of-{many:05}.safetensors" for number in range(1, many + 1)]
    assert list(files) == names, "every file has a tensor"
    for file, content in files.items():
        write_file(folder / file, content)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": sizes["hidden"],
        "intermediate_size": sizes["intermediate"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["hidden"] // HEAD,
        "num_key_value_heads": sizes["kv"] // HEAD,
        "vocab_size": WORDS,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_adapter(folder: Path) -> None:
    folder.mkdir(parents=True)
    shapes: dict[str, tuple[int, ...]] = {}
    for module, (out, into) in modules(**LLAMA_405B).items():
        shapes[f"base_model.model.{module}.lora_A.weight"] = (RANK, into)
        shapes[f"base_model.model.{module}.lora_B.weight"] = (out, RANK)
    write_file(folder / "adapter_model.safetensors", shapes)
    names = sorted({module.rpartition(".")[2] for module in modules(**LLAMA_405B)})
    config = {"peft_type": "LORA", "base_model_name_or_path": "sparse", "r": RANK, "lora_alpha": RANK}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": names}))


if __name__ == "__main__":
    write_base(Path(sys.argv[1]) / "base", *MODELS[sys.argv[2]])
    if sys.argv[2] == "405b":
        write_adapter(Path(sys.argv[1]) / "a")
