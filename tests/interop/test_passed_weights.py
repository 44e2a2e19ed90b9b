"""Weights that a model reads without calling their module: LoRA there does nothing until it is merged."""

from __future__ import annotations

from pathlib import Path

import peft
import torch
from small_models import TOKENS, adapted, load, save
from torch import nn
from transformers import MambaConfig, MambaForCausalLM

import adapterops as ao


def mamba(folder: Path) -> Path:
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=96, hidden_size=32, state_size=4, num_hidden_layers=2, time_step_rank=4)
    return save(MambaForCausalLM(config), folder)


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval().double()(input_ids=TOKENS).logits
    return found


def test_fuse_gives_what_peft_merges_where_unmerged_lora_does_nothing(tmp_path: Path) -> None:
    base = mamba(tmp_path / "base")
    adapter = adapted(base, tmp_path / "a", target_modules=["dt_proj"])
    wrapped = peft.PeftModel.from_pretrained(load(base), adapter)
    assert torch.equal(logits(wrapped), logits(load(base)))
    merged = logits(wrapped.merge_and_unload())
    assert (merged - logits(load(base))).abs().max() > 1e-6
    ao.save_checkpoint(ao.fuse(ao.open_checkpoint(base), ao.open_adapter(adapter)), tmp_path / "out")
    torch.testing.assert_close(logits(load(tmp_path / "out")), merged, rtol=1e-4, atol=1e-7)


def test_such_a_weight_is_extracted_whole(tmp_path: Path) -> None:
    base, tuned = mamba(tmp_path / "base"), load(mamba(tmp_path / "tuned"))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if name.endswith(("dt_proj.weight", "x_proj.weight")):
                parameter.add_(0.5 * torch.ones_like(parameter))
    tuned.save_pretrained(tmp_path / "tuned")
    found = ao.extract(ao.open_checkpoint(tmp_path / "tuned"), ao.open_checkpoint(base), rank=1)
    assert {name.rpartition("layers.")[2].partition(".")[2] for name in found.full} == {
        "mixer.dt_proj.weight",
        "mixer.dt_proj.bias",
    }
    ao.save_adapter(found, tmp_path / "a")
    loaded = peft.PeftModel.from_pretrained(load(base), tmp_path / "a")
    torch.testing.assert_close(logits(loaded), logits(tuned), rtol=1e-4, atol=1e-6)
