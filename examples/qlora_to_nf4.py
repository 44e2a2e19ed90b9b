"""A QLoRA fine-tune, merged into 4 bits without losing it: what each way of merging leaves of the adapter, in loss.

A Llama small enough to train here is quantized, an adapter is trained on the 4-bit model with PEFT and bitsandbytes,
and fused in every way that there is. Needs `pip install adapterops bitsandbytes peft transformers`; everything is
written to ./qlora.
"""

from __future__ import annotations

import shlex
import shutil
import warnings
from contextlib import chdir
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from adapterops.cli.main import run as adapterops

warnings.simplefilter("ignore")
logging.disable_progress_bar()
FOLDER = Path("qlora")
TOKENS = 64


def counting(step: int, seed: int) -> torch.Tensor:
    """8 sequences of 24 tokens that count in steps."""
    starts = torch.randint(TOKENS, (8, 1), generator=torch.Generator().manual_seed(seed))
    return (starts + step * torch.arange(24)) % TOKENS


def fit(model: torch.nn.Module, step: int, steps: int, rate: float) -> None:
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=rate)
    for seed in range(steps):
        batch = counting(step, seed).to(model.device)
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def loss(model: torch.nn.Module) -> float:
    batch = counting(3, -1).to(model.device)
    return float(model.eval()(input_ids=batch, labels=batch).loss)


def load(name: str) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(FOLDER / name, dtype=torch.bfloat16)


def to_train(name: str) -> torch.nn.Module:
    """A model in 4 bits that computes in 32: many processors are slow at training in 16."""
    config = AutoConfig.from_pretrained(FOLDER / name)
    config.quantization_config["bnb_4bit_compute_dtype"] = "float32"
    return AutoModelForCausalLM.from_pretrained(FOLDER / name, config=config, dtype=torch.float32)


def run(*arguments: str) -> int:
    """A command, in this process: most of them need torch, which is here."""
    print("$ adapterops " + shlex.join(arguments), flush=True)
    with chdir(FOLDER):
        return adapterops(list(arguments))


def main() -> None:
    torch.set_num_threads(1)  # small matrices: on a busy machine more threads wait for each other
    shutil.rmtree(FOLDER, ignore_errors=True)
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    base = LlamaForCausalLM(
        LlamaConfig(vocab_size=TOKENS, initializer_range=0.25, **sizes)
    )  # large weights: the update is small beside them
    fit(base, 1, 100, 3e-3)
    base.bfloat16().save_pretrained(FOLDER / "base")

    run("quantize", "base", "--to", "nf4", "-o", "base-nf4")
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(
        to_train("base-nf4"), LoraConfig(r=16, lora_alpha=16, target_modules=targets, task_type="CAUSAL_LM")
    )
    fit(model, 3, 80, 7e-4)
    model.save_pretrained(FOLDER / "adapter")

    print("\nThe usual way, rounding to nearest on the same grid; refused, and here asked for:\n")
    run("fuse", "base-nf4", "adapter", "-o", "nearest")
    run("fuse", "base-nf4", "adapter", "--rounding", "nearest", "--accept-loss", "-o", "nearest")
    print("\nThe ways that keep it:\n")
    run("fuse", "base", "adapter", "--quantize", "nf4", "-o", "from-16-bit")
    run("fuse", "base-nf4", "adapter", "--rounding", "stochastic", "--seed", "0", "-o", "by-chance")
    run("fuse", "base-nf4", "adapter", "--dtype", "bfloat16", "-o", "in-16-bit")
    print("\nAnother base than the one that was trained on, the 16-bit one:\n")
    run("fuse", "base", "adapter", "-o", "other-base")
    run("verify", "from-16-bit", "--base", "base", "--adapter", "adapter")

    print("\nloss on the task of the adapter")
    print(f"{'base-nf4':24} {loss(load('base-nf4')):.3f}")
    print(f"{'base-nf4 + adapter':24} {loss(PeftModel.from_pretrained(load('base-nf4'), FOLDER / 'adapter')):.3f}")
    for name in ("nearest", "from-16-bit", "by-chance", "in-16-bit", "other-base"):
        print(f"{name:24} {loss(load(name)):.3f}")


if __name__ == "__main__":
    main()
