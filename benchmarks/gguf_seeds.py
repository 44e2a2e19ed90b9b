"""How much chance has to do with it when a weak LoRA goes into a GGUF file: `python benchmarks/gguf_seeds.py`, 15 minutes on one core.

The weak LoRA of `gguf_models.py`, trained again with other seeds, and each fused five times with other random numbers. KL of
the next token to the dequantized model with the adapter unmerged: of the numbers that `fuse` writes, of a merge in 16 bits
that gguf quantizes once, and of the base alone. Each training is written to benchmarks/results/gguf_seeds.json when it is
done, and those that are there are not done again.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf_models import (
    BASE,
    JUDGED,
    READ,
    STRENGTHS,
    TESTED,
    answers,
    docstrings,
    in_halves,
    in_pairs,
    passages,
    trained,
)
from torch.nn.functional import kl_div
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterops as ao

RESULTS = Path(__file__).parent / "results/gguf_seeds.json"
TRAININGS, DRAWS = 5, 5
MODEL = ao.open_checkpoint(BASE)
TENSORS = [name for name in MODEL.schemes if ".layers." in name]

Numbers = Callable[[str], np.ndarray]


def fused(lora: Path, seed: int) -> Numbers:
    """What `fuse --seed` writes, as it is decoded."""
    made = ao.rounding(ao.fuse(MODEL, ao.open_adapter(lora)), "stochastic", seed)

    def numbers(name: str) -> np.ndarray:
        encoder, rows = made.encoder(name), made.rows(name)
        assert encoder
        blocks = [
            encoder.rows(torch.from_numpy(rows(begin, end).values.copy()), begin)[1]().clone()
            for begin, end in made.blocks(name)
        ]
        return torch.cat(blocks).numpy()

    return numbers


def once(lora: Path) -> Numbers:
    """The sum in float16, quantized to nearest in new blocks of the type that the tensor has."""
    made = ao.fuse(MODEL, ao.open_adapter(lora))

    def numbers(name: str) -> np.ndarray:
        values = np.concatenate([made.rows(name)(begin, end).values.copy() for begin, end in made.blocks(name)])
        heads = getattr(MODEL.stored[name].parts[""].file, "heads", {}).get(name)
        kind = gguf.GGMLQuantizationType[MODEL.schemes[name].name]
        stored = gguf.quantize(
            np.ascontiguousarray(in_pairs(values.astype(np.float16).astype(np.float32), heads)), kind
        )
        return in_halves(gguf.dequantize(stored, kind), heads)

    return numbers


def ways(lora: Path) -> Iterator[tuple[str, Numbers | None]]:
    yield "base alone", None
    yield "gguf, once", once(lora)
    for seed in range(DRAWS):
        yield f"fuse, seed {seed}", fused(lora, seed)


def measured(place: Path, seed: int) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(BASE.parent, gguf_file=BASE.name)
    testing = passages(tokenizer, docstrings(JUDGED))[:TESTED]
    read, lora = passages(tokenizer, docstrings(READ)), place / f"lora{seed}"
    live, loss = answers(trained(place / "base", read, STRENGTHS["weak"], lora, seed), testing)
    model = AutoModelForCausalLM.from_pretrained(place / "base").eval()
    there, before = model.state_dict(), {name: each.clone() for name, each in model.state_dict().items()}
    row: dict[str, Any] = {"seed": seed, "unmerged": {"loss": loss}}
    for way, numbers in ways(lora):
        for name in TENSORS:
            with torch.no_grad():
                there[name].copy_(before[name] if numbers is None else torch.from_numpy(numbers(name)))
        found, loss = answers(model, testing)
        kl = kl_div(found, live, log_target=True, reduction="none").sum(-1).mean()
        row[way] = {"kl": float(kl), "loss": loss}
        print(seed, way, json.dumps(row[way]), flush=True)
    return row


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if len(rows) < TRAININGS:
            ao.save_checkpoint(ao.dequantize(MODEL, "F32"), place / "base")
        for seed in range(len(rows), TRAININGS):
            rows.append(measured(place, seed))
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    for way in [way for way in rows[0] if way not in ("seed", "unmerged")]:
        print(way, [f"{row[way]['kl'] / row['gguf, once']['kl']:.2f}" for row in rows])


if __name__ == "__main__":
    main()
