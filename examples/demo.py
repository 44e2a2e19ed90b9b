"""The main job, from training to one model: two LoRA adapters are trained with PEFT, shown, merged, truncated and
fused.

The model is a Llama small enough to train here. One adapter learns to count up in steps of 1, the other in steps of 3,
on tokens of its own; the loss tells what each adapter can do. Everything is written to ./demo.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
import warnings
from contextlib import chdir
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from adapterops.cli.main import run as adapterops

warnings.simplefilter("ignore", FutureWarning)  # transformers' own
logging.disable_progress_bar()
FOLDER = Path("demo")
TOKENS = 32
"""Each task has this many tokens."""


def counting(first: int, step: int, generator: torch.Generator) -> torch.Tensor:
    """8 sequences of 24 tokens that count in `step`s, among `TOKENS` tokens from `first` on."""
    starts = torch.randint(TOKENS, (8, 1), generator=generator)
    return first + (starts + step * torch.arange(24)) % TOKENS


TASKS = {"ones": (0, 1), "threes": (TOKENS, 3)}


def fit(model: torch.nn.Module, first: int, step: int, steps: int, rate: float) -> None:
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=rate)
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        batch = counting(first, step, generator)
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def make_base() -> None:
    """A model that counts down on both halves of its tokens."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2 * TOKENS,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    model = LlamaForCausalLM(config)
    for first, _ in list(TASKS.values()) * 4:
        fit(model, first, -1, 24, 4e-3)
    model.save_pretrained(FOLDER / "base")


def base_model() -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(FOLDER / "base")


def train(name: str, **config: object) -> None:
    """Train an adapter on one task and save it, all with PEFT."""
    torch.manual_seed(1)
    model = get_peft_model(base_model(), LoraConfig(task_type="CAUSAL_LM", **config))
    fit(model, *TASKS[name], 100, 4e-3)
    model.save_pretrained(FOLDER / name)


@torch.no_grad()
def losses(adapter: str | None) -> list[float]:
    """The loss on each task of the base, or of the base with an adapter that PEFT loads."""
    model = base_model() if adapter is None else PeftModel.from_pretrained(base_model(), FOLDER / adapter)
    batches = [counting(*task, torch.Generator().manual_seed(3)) for task in TASKS.values()]
    return [model(input_ids=batch, labels=batch).loss.item() for batch in batches]


@torch.no_grad()
def answer(model: str, adapter: str | None = None) -> list[int]:
    """Five tokens of the first task, and the eight that a model goes on with, with an adapter of PEFT's or without."""
    network = LlamaForCausalLM.from_pretrained(FOLDER / model)
    network = network if adapter is None else PeftModel.from_pretrained(network, FOLDER / adapter)
    tokens = counting(*TASKS["ones"], torch.Generator().manual_seed(4))[:1, :5]
    for _ in range(8):
        tokens = torch.cat([tokens, network(input_ids=tokens).logits[:, -1:].argmax(-1)], dim=1)
    return tokens[0].tolist()


def run(command: str) -> None:
    """Show a command, and run it in the folder of the demo."""
    print(f"\n$ {command}", flush=True)
    with chdir(FOLDER):
        if code := adapterops(shlex.split(command)[1:]):
            sys.exit(code)


def main() -> None:
    begin = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    torch.set_num_threads(1)  # small matrices: on a busy machine more threads wait for each other
    print(
        "On one thread, half a minute, or two on a busy machine: train a small Llama and two LoRA adapters of it with\n"
        "PEFT, ones (r 8, all projections) and threes (r 16, rsLoRA, attention and MLP down), then show, merge,\n"
        "truncate, fuse, verify and unfuse them.\n"
        f"Everything is written to {FOLDER}/.\n\ntraining ...",
        flush=True,
    )
    make_base()
    train("ones", r=8, lora_alpha=16, target_modules="all-linear")
    train("threes", r=16, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "v_proj", "o_proj", "down_proj"])

    run("adapterops show ones")
    run("adapterops show threes --spectrum")
    run("adapterops merge ones threes --scale sum -o sum")
    run("adapterops merge ones threes --ties --density 0.4 --scale auto -o ties")
    run("adapterops truncate sum --rank 6 -o small")
    run("adapterops fuse base ones -o model")
    run("adapterops verify model --base base --adapter ones")
    run("adapterops unfuse model ones -o restored")

    print("\nloss by task, as PEFT loads and runs them (lower is better)")
    print(f"{'':12}{'ones':>8}{'threes':>8}")
    for adapter in (None, "ones", "threes", "sum", "ties", "small"):
        print(f"{adapter or 'base':12}" + "".join(f"{loss:8.3f}" for loss in losses(adapter)))
    print("\ncounting on from 5 tokens")
    said = {"base": answer("base"), "base + ones": answer("base", "ones"), "model": answer("model")}
    for name, tokens in said.items():
        print(f"{name:12}", *tokens)
    if said["model"] != said["base + ones"]:
        sys.exit("the fused model answers differently")
    print(f"\n{time.monotonic() - begin:.0f} s; the adapters and models are in {FOLDER}/")


if __name__ == "__main__":
    main()
