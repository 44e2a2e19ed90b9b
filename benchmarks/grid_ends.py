"""What the ends of a 4-bit grid cost, judged by a whole model: `python benchmarks/grid_ends.py`.

Three LoRAs are trained on a sentence encoder (`rounding.py`) in NVFP4, and in integers of 4 bits in groups of 32 with zero
points, and merged onto the grid at random, five times each: with what entries at its ends do not hold given to the rest
of their rows, and without. ‖y' - y‖ / ‖y‖ of sentence embeddings to base and live adapter, and the gain. Writes
benchmarks/results/grid_ends.json; about two minutes on one quiet core.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import torch
from rounding import TASKS, TESTED, Subject, encoder, texts
from torch import Tensor

from adapterops.quant import grid
from adapterops.quant.compressed import CompressedTensors
from adapterops.quant.nvfp4 import NVFP4
from adapterops.quant.words import packed

RESULTS = Path(__file__).parent / "results/grid_ends.json"
WAYS = {"with": grid.MOST, "without": 1.0}
TRIED, DRAWS = 3, 5

Coded = tuple[Any, dict[str, Tensor]]


def nvfp4(W: Tensor) -> Coded:
    groups, whole = W.view(len(W), -1, 16), W.abs().max() / (6 * 448)
    scale = (groups.abs().amax(2) / 6 / whole).to(torch.float8_e4m3fn)
    scheme = NVFP4("weight_scale_2")
    numbers = grid.grid_of(scheme.numbers())
    places = torch.bucketize((groups / (scale.float() * whole)[..., None]).nan_to_num(0), numbers.middles)
    codes = numbers.codes[places].view(W.shape)
    return scheme, {
        **scheme.encoded_parts(tuple(W.shape), codes, read({}), 0),
        "weight_scale": scale,
        "weight_scale_2": whole,
    }


def integers(W: Tensor) -> Coded:
    groups = W.view(len(W), -1, 32)
    low, high = groups.amin(2), groups.amax(2)
    scale = ((high - low) / 15).half()
    zero = (-low / scale.float()).round().clamp(0, 15)
    codes = (groups / scale.float()[..., None] + zero[..., None]).round().clamp(0, 15).byte().view(W.shape)
    zeros = packed(zero.byte().T.contiguous(), 4).T.contiguous()
    parts = {"weight_scale": scale, "weight_shape": torch.tensor(W.shape), "weight_zero_point": zeros}
    return CompressedTensors(4, 32, symmetric=False), {"weight_packed": packed(codes, 4), **parts}


def read(parts: dict[str, Tensor]) -> Any:
    flat = {role: part.contiguous().view(-1).view(torch.uint8) for role, part in parts.items()}
    return lambda role, begin, end: flat[role][begin:end]


def merged(subject: Subject, stored: dict[str, Coded], delta: dict[str, Tensor], draw: int) -> dict[str, Tensor]:
    found = {}
    for name, (scheme, parts) in stored.items():
        made = scheme.on_grid(tuple(delta[name].shape), read(parts), f"{draw}:{name}")
        found[name] = made.rows(subject.base[name] + delta[name], 0)[1]()
    return found


def main() -> None:
    torch.set_num_threads(1)
    subject, rows = encoder(), []
    for kind, made in {"NVFP4": nvfp4, "4 bits in groups of 32 with zero points": integers}.items():
        stored = {name: made(W) for name, W in subject.whole.items()}
        for name, (scheme, parts) in stored.items():
            shape = tuple(subject.whole[name].shape)
            subject.base[name] = scheme.decode(shape, read(parts), 0, shape[0]).clone()
        for index, task in enumerate(list(TASKS)[:TRIED]):
            with torch.enable_grad():
                delta, _ = subject.trained(task, index)
            row: dict[str, Any] = {"grid": kind, "task": task}
            with torch.no_grad():
                words, _ = texts(task, TESTED, index + 1000)
                subject.put({name: subject.base[name] + each for name, each in delta.items()})
                wanted, power = subject.answer(words), sum(float(each.square().sum()) for each in delta.values())
                for way, most in WAYS.items():
                    grid.MOST, far, gain = most, [], []
                    for draw in range(DRAWS):
                        weights = merged(subject, stored, delta, draw)
                        subject.put(weights)
                        far.append(float((subject.answer(words) - wanted).norm() / wanted.norm()))
                        dots = [float(((W - subject.base[n]) * delta[n]).sum()) for n, W in weights.items()]
                        gain.append(sum(dots) / power)
                    error = statistics.stdev(far) / DRAWS**0.5
                    row[way] = {"distance": statistics.mean(far), "error": error, "gain": statistics.mean(gain)}
            rows.append(row)
            print(json.dumps(row), flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
