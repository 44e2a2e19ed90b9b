"""Adapters of experts in the ways that programs store them: of each by itself, along an axis, in lists, as PEFT did before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM


def on_single_experts(base: Path, folder: Path, left_out: str = "") -> tuple[Path, Path]:
    """LoRA on the experts that a base stores each by itself, and the base with what it changes."""
    return _on(base, folder, lambda name: ".experts." in name and not (left_out and f".{left_out}." in name))


def on_modules(base: Path, folder: Path, ends: tuple[str, ...]) -> tuple[Path, Path]:
    """LoRA on the weights of a base with these words in their names, and the base with what it changes."""
    taken = ("_proj.weight", ".gate.weight")
    return _on(base, folder, lambda name: name.endswith(taken) and any(end in name for end in ends))


def _on(base: Path, folder: Path, has: Callable[[str], bool]) -> tuple[Path, Path]:
    """LoRA of rank 2 on some weights of a base."""
    weights = load_file(base / "model.safetensors")
    tensors, changed = {}, dict(weights)
    for name in filter(has, weights):
        A, B = torch.randn(2, weights[name].shape[1]), torch.randn(weights[name].shape[0], 2) / 5
        module = "base_model.model." + name.removesuffix(".weight")
        tensors |= {f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}
        changed[name] = weights[name] + 2 * B @ A
    (folder / "a").mkdir()
    save_file(tensors, folder / "a/adapter_model.safetensors")
    (folder / "a/adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
    shutil.copytree(base, folder / "changed")
    save_file(changed, folder / "changed/model.safetensors", {"format": "pt"})
    return folder / "a", folder / "changed"


def as_old_peft_saves_it(adapter: Path, out: Path) -> Path:
    """PEFT before 0.19 took every parameter for (experts, in, out):
    A and B of the 4 experts have each other's numbers, in its order.
    """
    tensors = load_file(adapter / "adapter_model.safetensors")
    for name in [name for name in tensors if "experts" in name and "lora_A" in name]:
        A, B = tensors[name], tensors[name.replace("lora_A", "lora_B")]
        tensors[name] = torch.cat([B[:, expert::4].T for expert in range(4)])
        tensors[name.replace("lora_A", "lora_B")] = torch.stack([A_e.T for A_e in A.chunk(4)], 2).flatten(1)
    out.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(json.dumps({**config, "peft_version": "0.18.1"}))
    return out


def along_experts(adapter: Path, out: Path, count: int, shared: Collection[str] = ()) -> Path:
    """The factors of an adapter of PEFT's with an axis of experts: A (E, r, in), B (E, out, r). Of `shared` the first
    expert's, for all of them.
    """
    tensors = {}
    for name, tensor in load_file(adapter / "adapter_model.safetensors").items():
        if "experts" in name:
            projection = "gate_up_proj" if "base_layer" in name else "down_proj"
            role = name.split(".")[-2]
            rank = tensor.shape[0 if role == "lora_A" else 1] // count
            A = role == "lora_A"
            tensor = tensor.reshape(count, rank, -1) if A else tensor.reshape(-1, rank, count).permute(2, 0, 1)
            tensor = tensor[:1] if f"{projection}.{role}" in shared else tensor
            name = name.replace("experts.base_layer.", "experts.").replace("experts.", f"experts.{projection}.")
        tensors[name] = tensor.contiguous()
    out.mkdir()
    save_file(tensors, out / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    targets = ["q_proj", "gate_up_proj", "down_proj"]
    fields = {**config, "target_parameters": None, "target_modules": targets}
    (out / "adapter_config.json").write_text(json.dumps(fields))
    return out


def with_shared(adapter: Path, out: Path, count: int, shared: Collection[str]) -> Path:
    """An adapter of PEFT's in which all experts have the first one's factors, of those in `shared`."""
    tensors = load_file(adapter / "adapter_model.safetensors")
    for name, tensor in tensors.items():
        projection = "gate_up_proj" if "base_layer" in name else "down_proj"
        role = name.split(".")[-2]
        if "experts" in name and f"{projection}.{role}" in shared:
            rank = tensor.shape[0 if role == "lora_A" else 1] // count
            first = (
                tensor[:rank].repeat(count, 1) if role == "lora_A" else tensor[:, ::count].repeat_interleave(count, 1)
            )
            tensors[name] = first.contiguous()
    shutil.copytree(adapter, out)
    save_file(tensors, out / "adapter_model.safetensors")
    return out


class Listed(nn.Module):
    """The experts of gpt-oss as a list of Linear layers for each projection, which some files of it have."""

    def __init__(self, experts: Any, router: Any) -> None:
        super().__init__()
        self.experts, self.router = nn.Module(), nn.Module()
        for name in ("gate_up_proj", "down_proj"):
            weights = getattr(experts, name).detach()
            layers = [nn.Linear(*weight.shape, bias=False) for weight in weights]
            for layer, weight in zip(layers, weights, strict=True):
                layer.weight = nn.Parameter(weight.T.contiguous())
            setattr(self.experts, f"{name}s", nn.ModuleList(layers))
        self.router.linear = nn.Linear(*reversed(router.weight.shape), bias=False)
        self.router.linear.weight = nn.Parameter(router.weight.detach().clone())


def listed(base: Path, folder: Path, router: bool) -> tuple[Path, Path, Any]:
    """The base with its experts in lists; an adapter of PEFT's on them; and the model with what PEFT merges."""
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(base)
    lists = nn.Module()
    lists.model = nn.Module()
    lists.model.layers = nn.ModuleList(nn.Module() for _ in model.model.layers)
    for layer, own in zip(lists.model.layers, model.model.layers, strict=True):
        layer.mlp = Listed(own.mlp.experts, own.mlp.router)
    expert = {name: tensor.clone() for name, tensor in lists.state_dict().items()}
    rest = {
        name: t.clone()
        for name, t in model.state_dict().items()
        if f"{name.rpartition('.')[0]}" and "_proj" not in name
    }
    rest |= {
        name: tensor.clone() for name, tensor in model.state_dict().items() if "self_attn" in name or "bias" in name
    }
    (folder / "base").mkdir(parents=True)
    rest = {name: tensor for name, tensor in rest.items() if not name.endswith("router.weight")}
    save_file({**rest, **expert}, folder / "base/model.safetensors")
    (folder / "base/config.json").write_text((base / "config.json").read_text())
    targets = [
        "gate_up_projs.1",
        "gate_up_projs.3",
        "down_projs.0",
        "down_projs.3",
        *(["router.linear"] if router else []),
    ]
    wrapped = peft.get_peft_model(lists, peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    wrapped.save_pretrained(folder / "adapter")
    merged = wrapped.merge_and_unload()
    for layer, own in zip(merged.model.layers, model.model.layers, strict=True):
        for name in ("gate_up_proj", "down_proj"):
            weights = [each.weight.T for each in getattr(layer.mlp.experts, f"{name}s")]
            getattr(own.mlp.experts, name).data = torch.stack(weights).detach()
        own.mlp.router.weight.data = layer.mlp.router.linear.weight.detach()
    return folder / "base", folder / "adapter", model
