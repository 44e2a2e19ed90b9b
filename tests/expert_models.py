"""LoRA on experts, of small models with random numbers: what PEFT trains, what it makes of it, and what answers alike."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import peft
import torch
from loading import causal
from strategies import entries
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

import adapterops as ao

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
TOKENS = torch.arange(24).reshape(2, 12)


def trained(base: Path, folder: Path, seed: int = 0, **fields: Any) -> Path:
    """An adapter that PEFT makes for a base."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(causal(base), peft.LoraConfig(task_type="CAUSAL_LM", **fields))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder)
    return folder


def unmerged(base: Path, adapter: Path) -> Any:
    """PEFT's model, in which base and adapter are still apart. Nothing of the adapter is left over or missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, about PEFT's use of it
        warnings.filterwarnings(
            "ignore", r"The following (rank|alpha)_pattern keys"
        )  # it looks for them among modules alone, and uses them
        return peft.PeftModel.from_pretrained(causal(base), adapter)


def deltas(model: Any) -> dict[str, Tensor]:
    """Parameter → what PEFT adds to it."""
    found = {}
    for name, layer in model.named_modules():
        if "default" in getattr(layer, "lora_A", {}):
            module = name.removeprefix("base_model.model.").replace(".base_layer", "")
            found[f"{module}.{getattr(layer, 'parameter_name', 'weight')}"] = layer.get_delta_weight("default").detach()
    return found


def logits(model: Any) -> Tensor:
    """In float64, so that only what became of the weights makes a difference."""
    model.set_experts_implementation("eager")  # the others have no float64
    with torch.no_grad():
        found: Tensor = model.double().eval()(input_ids=TOKENS).logits
    return found


def load(folder: Path) -> Any:
    model, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values()), found
    return model


def assert_answers_alike(found: Any, expected: Any, base: Path) -> None:
    wanted = logits(expected)
    bound = 64 * torch.finfo(torch.float32).eps * float(wanted.abs().max())
    assert float((logits(found) - wanted).abs().max()) < bound
    assert float((untaught(base) - wanted).abs().max()) > 1000 * bound


@cache
def untaught(base: Path) -> Tensor:
    """What a base answers by itself."""
    return logits(load(base))


def assert_saved_as(adapter: ao.Adapter, expected: dict[str, Tensor], base: Path, out: Path) -> None:
    """PEFT loads what is saved without a warning, and adds this to the parameters; and so does what is opened again."""
    ao.save_adapter(adapter, out)
    found = deltas(unmerged(base, out))
    assert found.keys() == expected.keys()
    for name, delta in expected.items():
        torch.testing.assert_close(found[name], delta, atol=1e-5, rtol=1e-4)
    again = ao.open_adapter(out)
    assert again.layout.keys() == adapter.layout.keys()
    for module, layout in adapter.layout.items():
        torch.testing.assert_close(
            entries(again.updates[module]), entries(adapter.updates[module]).float(), atol=1e-5, rtol=1e-4
        )
        assert again.layout[module].rank >= min(layout.rank, *layout.shape)
