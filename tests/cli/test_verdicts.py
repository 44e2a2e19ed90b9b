"""What `check --for` says of small files of every kind, for every program: by the table of what was read of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import MODULES, PREFIX, config, factors, write_adapter
from safetensors.torch import save_file

from adapterops.formats.runtimes.rules import FINE, IGNORED, REFUSED, UNKNOWN, WRONG
from adapterops.formats.runtimes.table import RUNTIMES
from adapterops.operations.serving import check

Tensors = dict[str, torch.Tensor]
LETTERS = {"R": REFUSED, "W": WRONG, "I": IGNORED, "?": UNKNOWN, ".": FINE}
"""refused, silently wrong, ignored, not established, fine"""

EMBEDDING = {
    f"{PREFIX}model.embed_tokens.lora_embedding_A": torch.ones(2, 9),
    f"{PREFIX}model.embed_tokens.lora_embedding_B": torch.ones(8, 2),
}
PAIRS = (("w1_a", (12, 2)), ("w1_b", (2, 8)), ("w2_a", (12, 2)), ("w2_b", (2, 8)))
EXPERTS = {
    f"{PREFIX}model.layers.0.mlp.experts.lora_A.weight": torch.ones(8, 6),
    f"{PREFIX}model.layers.0.mlp.experts.lora_B.weight": torch.ones(10, 8),
}
ON_EXPERTS = {"target_modules": [], "target_parameters": ["mlp.experts.gate_up_proj"], "peft_version": "0.19.0"}


def each(role: str, *shape: int) -> Tensors:
    return {f"{PREFIX}{module}.{role}": torch.ones(shape) for module in MODULES}


def full(name: str, *shape: int) -> Tensors:
    return {**factors(), f"{PREFIX}{name}": torch.ones(shape)}


def of_type(kind: str, **fields: Any) -> dict[str, Any]:
    return {"peft_type": kind, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **fields}


def ranked(rank: int) -> tuple[Tensors, dict[str, Any]]:
    return factors(rank=rank, out=256, into=256), config(rank, task_type="CAUSAL_LM")


def stated(**fields: Any) -> dict[str, Any]:
    return config(2, **{"task_type": "CAUSAL_LM", **fields})


FOLDERS: dict[str, tuple[Tensors, dict[str, Any]]] = {
    "plain": (factors(), stated(lora_alpha=2)),
    "a scale": (factors(), stated(lora_alpha=8)),
    "rslora": (factors(), stated(use_rslora=True)),
    "alpha_pattern": (factors(), stated(alpha_pattern={"v_proj": 9})),
    "rank_pattern": (
        factors(["layers.0.q_proj"]) | factors(["layers.0.v_proj"], rank=4),
        stated(rank_pattern={"v_proj": 4}),
    ),
    "an alpha with a point": (factors(), stated(lora_alpha=4.0)),
    "dora": (factors() | each("lora_magnitude_vector", 12), stated(use_dora=True)),
    "a trained norm": (full("norm.weight", 8), stated(modules_to_save=["norm"])),
    "a classifier": (full("score.weight", 2, 8), stated(modules_to_save=["score"], task_type="SEQ_CLS")),
    "a bias": (full("layers.0.q_proj.bias", 12), stated(bias="all")),
    "an embedding": (full("model.embed_tokens.weight", 9, 8), stated()),
    "a head": (full("lm_head.weight", 9, 8), stated()),
    "lora on the head": (factors() | factors(["lm_head"], out=9), stated()),
    "lora on an embedding": (factors() | EMBEDDING, stated()),
    "a resized embedding": (full("model.embed_tokens.base_layer.weight", 9, 8) | EMBEDDING, stated()),
    "rank 16": ranked(16),
    "rank 17": ranked(17),
    "rank 65": ranked(65),
    "rank 129": ranked(129),
    "an adapter's name": ({name.replace(".weight", ".mine.weight"): t for name, t in factors().items()}, stated()),
    "full names": (factors(), stated(target_modules=list(MODULES))),
    "lora_bias": (factors() | each("lora_B.bias", 12), stated(lora_bias=True)),
    "replicated layers": (factors(), stated(layer_replication=[[0, 1], [0, 1]])),
    "pissa": (factors(), stated(init_lora_weights="pissa")),
    "olora": (factors(), stated(init_lora_weights="olora")),
    "qalora": (factors(), stated(use_qalora=True, qalora_group_size=2)),
    "rows of tokens": (
        full("model.embed_tokens.token_adapter.trainable_tokens_delta", 2, 8),
        stated(trainable_token_indices={"embed_tokens": [1, 2]}),
    ),
    "(IA)³": (each("ia3_l", 12, 1), of_type("IA3", feedforward_modules=[])),
    "loha": (
        {name: t for end, shape in PAIRS for name, t in each(f"hada_{end}", *shape).items()},
        of_type("LOHA", r=2, alpha=4),
    ),
    "lokr": (each("lokr_w1", 3, 2) | each("lokr_w2", 4, 4), of_type("LOKR", r=2, alpha=4)),
    "experts": (EXPERTS, stated(lora_alpha=2, **ON_EXPERTS)),
    "experts, rslora": (EXPERTS, stated(use_rslora=True, **ON_EXPERTS)),
    "names of images": (factors(["transformer_blocks.0.attn.to_q"]), config(2, lora_alpha=8)),
}

K, C, T = (
    "lora_unet_double_blocks_18_img_attn_proj",
    "diffusion_model.double_blocks.18.img_attn.proj",
    "transformer.transformer_blocks.18.attn.to_q",
)


def ones(start: str, **ends: tuple[int, ...]) -> Tensors:
    return {f"{start}.{end.replace('__', '.')}": torch.ones(shape) for end, shape in ends.items()}


KOHYA = ones(K, lora_down__weight=(2, 8), lora_up__weight=(8, 2))
COMFY, DIFFUSERS = (ones(start, lora_A__weight=(2, 8), lora_B__weight=(8, 2)) for start in (C, T))
OF_PART = {"transformer.r": 2, "transformer.lora_alpha": 8}
META = {"lora_adapter_metadata": json.dumps(OF_PART | {"transformer.target_modules": ["to_q"]})}

FILES: dict[str, tuple[Tensors, dict[str, str] | None]] = {
    "peft alone": (factors(), {"lora_alpha": "2"}),
    "kohya": (KOHYA | {f"{K}.alpha": torch.tensor(1.0)}, None),
    "kohya, dora by outputs": (KOHYA | ones(K, dora_scale=(8, 1)), None),
    "kohya, dora by inputs": (KOHYA | ones(K, dora_scale=(1, 8)), None),
    "kohya, dora of one dimension": (KOHYA | ones(K, dora_scale=(8,)), None),
    "kohya, loha": (ones(K, hada_w1_a=(8, 2), hada_w1_b=(2, 8), hada_w2_a=(8, 2), hada_w2_b=(2, 8)), None),
    "kohya, lokr": (ones(K, lokr_w1=(2, 2), lokr_w2=(4, 4)), None),
    "kohya, a difference": (ones(K, diff=(8, 8)), None),
    "kohya, a bias": (KOHYA | ones(K, diff_b=(8,)), None),
    "kohya, tucker": (
        ones(
            "lora_unet_input_blocks_1_0_in_layers_2",
            lora_down__weight=(2, 4, 1, 1),
            lora_mid__weight=(2, 2, 3, 3),
            lora_up__weight=(8, 2, 1, 1),
        ),
        None,
    ),
    "comfy": (COMFY, None),
    "comfy, alpha": (COMFY | {f"{C}.alpha": torch.tensor(1.0)}, None),
    "comfy, a header": (COMFY, {"lora_alpha": "4"}),
    "comfy, a modulation": (ones("diffusion_model.blocks.0", diff_m=(1, 6, 8), self_attn__q__diff=(8, 8)), None),
    "diffusers": (DIFFUSERS, None),
    "diffusers, a header": (DIFFUSERS, META),
    "diffusers, no target_modules": (DIFFUSERS, {"lora_adapter_metadata": json.dumps(OF_PART)}),
    "diffusers, plain entries": (DIFFUSERS, {name: str(each) for name, each in OF_PART.items()}),
}

MLX = {"mlx": 20.0, "mlx, scale 1": 1.0}

VERDICTS = """
plain                           . . . ? R . . R R
a scale                         . . . ? R . . R R
rslora                          . W W W R . W R R
alpha_pattern                   W W W W R W W R R
rank_pattern                    W ? . ? R . W R R
an alpha with a point           . . . R R . . R R
dora                            R R R ? R ? ? R R
a trained norm                  R ? R ? R R ? R R
a classifier                    R ? R ? R R ? R R
a bias                          R ? R ? R R ? R R
an embedding                    R ? R ? R . ? R R
a head                          R ? R ? R . ? R R
lora on the head                ? ? . ? R R ? R R
lora on an embedding            . ? ? ? R R ? R R
a resized embedding             R ? R ? R R ? R R
rank 16                         . . . ? R . . R R
rank 17                         R . . ? R . . R R
rank 65                         R . . ? R R . R R
rank 129                        R . . ? R R ? R R
an adapter's name               R ? R ? R R ? R R
full names                      ? ? ? ? R ? ? R R
lora_bias                       R ? R ? R R ? R R
replicated layers               R ? ? ? R ? ? R R
pissa                           R W W W R W W R R
olora                           R W W W R W W R R
qalora                          R R R R R R R R R
rows of tokens                  R ? R ? R R ? R R
(IA)³                           R R R R R R R R R
loha                            R R R R R R R R R
lokr                            R R R R R R R R R
experts                         W W R ? R ? I R R
experts, rslora                 W W R W R ? W R R
names of images                 R ? R R R ? R W W
peft alone                      R R R R R R R W W
kohya                           R ? R R R ? R . .
kohya, dora by outputs          R ? R R R ? R W W
kohya, dora by inputs           R ? R R R ? R W .
kohya, dora of one dimension    R ? R R R ? R W W
kohya, loha                     R ? R R R ? R W .
kohya, lokr                     R ? R R R ? R W .
kohya, a difference             R ? R R R ? R W .
kohya, a bias                   R ? R R R ? R W .
kohya, tucker                   R ? R R R ? R R .
comfy                           R ? R R R ? R W .
comfy, alpha                    R ? R R R ? R W .
comfy, a header                 R ? R R R ? R W W
comfy, a modulation             R ? R R R ? R W W
diffusers                       R ? R R R ? R . .
diffusers, a header             R ? R R R ? R . W
diffusers, no target_modules    R ? R R R ? R R W
diffusers, plain entries        R ? R R R ? R W W
mlx                             R R R W . R R R R
mlx, scale 1                    R R R ? . R R R R
"""
"""By the programs in the order of `RUNTIMES`: vLLM, SGLang, llama.cpp, Ollama, MLX-LM, TensorRT-LLM, LoRAX, diffusers, ComfyUI."""

TABLE = {line[:32].strip(): line[32:].split() for line in VERDICTS.strip().splitlines()}


def written(name: str, folder: Path) -> Path:
    if name in FOLDERS:
        tensors, fields = FOLDERS[name]
        tensors = {name.replace(f"{PREFIX}layers.", f"{PREFIX}model.layers."): each for name, each in tensors.items()}
        fields = json.loads(json.dumps(fields).replace('"layers.', '"model.layers.'))
        written: Path = write_adapter(folder / "a", tensors, fields)
        return written
    if name in FILES:
        save_file(FILES[name][0], folder / "a.safetensors", FILES[name][1])
        return folder / "a.safetensors"
    q, parameters = "model.layers.0.self_attn.q_proj", {"rank": 2, "dropout": 0.0, "scale": MLX[name]}
    save_file(ones(q, lora_a=(8, 2), lora_b=(2, 12)), folder / "adapters.safetensors")
    fields = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    return folder


@pytest.mark.parametrize("name", [*FOLDERS, *FILES, *MLX])
def test_each_program(name: str, tmp_path: Path) -> None:
    found = check(written(name, tmp_path))
    assert list(found) == list(RUNTIMES)
    expected = dict(zip(RUNTIMES, map(LETTERS.__getitem__, TABLE[name]), strict=True))
    assert {runtime: verdict.severity for runtime, verdict in found.items()} == expected
    for verdict in found.values():
        worst = [each for each in verdict.findings if each.rule.severity == verdict.severity]
        assert all(each.rule.says for each in worst)
        assert verdict.ok == (verdict.severity not in (REFUSED, WRONG))
