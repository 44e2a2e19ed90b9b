"""How right merges are, by method and scale: `quality.py [--seeds N] [--methods A,B] [SUITE...]`, minutes on two cores, no downloads.

Written to benchmarks/results/quality.json; `python docs/pages.py` makes the tables of docs/merging.md of it. Accuracies
are divided by those of the single adapters, task by task. PEFT's `linear` and `ties` are PEFT's own
`add_weighted_adapter`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small; read when numpy is imported

import numpy as np
import torch
from digits import digits
from encoder import encoder
from sequences import sequences
from suites import ALPHA, RANK, Suite

from adapterops import Adapter, merge

RESULTS = Path(__file__).parent / "results" / "quality.json"
SUITES: dict[str, Callable[[int], Suite]] = {
    "digits": digits,
    "digits, shared A": lambda seed: digits(seed, shared=True),
    "sequences": sequences,
    "encoder": encoder,
}
METHODS = (
    "linear", "ties", "dare_ties", "della", "breadcrumbs", "consensus", "sce", "core_ties", "knots_ties", "tsv",
    "iso_c", "iso_cts", "even", "ctm", "svc", "pico", "karcher", "wudi", "ace", "pcb", "regmean",
)  # fmt: skip
PEFT = "PEFT "
THEIRS = (f"{PEFT}linear", f"{PEFT}ties")

GRID = (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0, 4.5)
"""Factors that `tuned` is the best of, on validation data; the same for all."""

Deltas = Mapping[str, np.ndarray]


def entries(adapter: Adapter) -> Deltas:
    return {module: adapter.updates[module].dense() for module in adapter.layout}


def times(deltas: Deltas, factor: float) -> Deltas:
    return {module: factor * each for module, each in deltas.items()}


def merges(suite: Suite, methods: Sequence[str]) -> Iterator[tuple[str, Deltas, Deltas | None]]:
    """By name: the result times 1, and that of `--scale auto`, which PEFT has none of."""
    for name in methods:
        if name.startswith(PEFT):
            yield name, by_peft(suite.adapters, name.removeprefix(PEFT)), None
            continue
        plain, automatic = (entries(merge(suite.adapters, name, scale=scale)) for scale in ("sum", "auto"))
        yield name, plain, automatic


def by_peft(adapters: list[Adapter], combination: str) -> Deltas:
    """What PEFT's add_weighted_adapter makes of the adapters, all weights 1; another common weight multiplies it."""
    from peft import LoraConfig, get_peft_model

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for module, layout in adapters[0].layout.items():
                self.add_module(module.replace(".", "_"), torch.nn.Linear(*reversed(layout.shape), bias=False))

    names = [str(index) for index in range(len(adapters))]
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=[m.replace(".", "_") for m in adapters[0].layout])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = get_peft_model(Model(), config, adapter_name=names[0])
        for name in names[1:]:
            model.add_adapter(name, config)
        layers = {module: getattr(model.base_model.model, module.replace(".", "_")) for module in adapters[0].layout}
        for name, adapter in zip(names, adapters, strict=True):
            for module, layer in layers.items():
                update: Any = adapter.updates[module]
                layer.lora_A[name].weight.data = torch.from_numpy(update.A).clone()
                layer.lora_B[name].weight.data = torch.from_numpy(update.B).clone()
        density = {"density": 0.2} if combination == "ties" else {}
        model.add_weighted_adapter(names, [1.0] * len(names), "merged", combination_type=combination, **density)
        return {module: layer.get_delta_weight("merged").detach().numpy() for module, layer in layers.items()}


def measured(suite: Suite, methods: Sequence[str]) -> dict[str, Any]:
    """Of each method and scale: the mean over tasks of the accuracy relative to the single adapter's, and the worst."""
    single = suite.accuracy(suite.single, "test")
    nothing = suite.accuracy(times(entries(suite.adapters[0]), 0.0), "test")
    result: dict[str, Any] = {"single": float(single.mean()), "base": float((nothing / single).mean())}
    for name, plain, automatic in merges(suite, methods):
        best = max(GRID, key=lambda factor: suite.accuracy(times(plain, factor), "validation").mean())
        tried = {
            "sum": plain,
            "mean": times(plain, 1 / len(suite.adapters)),
            "tuned": times(plain, best),
            **({"auto": automatic} if automatic is not None else {}),
        }
        scores = {scale: suite.accuracy(deltas, "test") / single for scale, deltas in tried.items()}
        result[name] = {
            scale: [round(float(each.mean()), 4), round(float(each.min()), 4)] for scale, each in scores.items()
        } | {"at": best}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[[], *SUITES], default=list(SUITES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--methods", help="Measure these alone, with commas between them, and keep what is known of others."
    )
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in chosen.suites:
        known = results[name] if chosen.methods and name in results else [{} for _ in range(chosen.seeds)]
        methods = chosen.methods.split(",") if chosen.methods else (*METHODS, *THEIRS)
        results[name] = known
        for seed in range(chosen.seeds):
            found = known[seed] | measured(SUITES[name](seed), methods)
            known[seed] = {each: found[each] for each in ("single", "base", *METHODS, *THEIRS) if each in found}
            print(name, seed, file=sys.stderr, flush=True)
            RESULTS.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
