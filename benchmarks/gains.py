"""How much of an update is left after rounding: `python benchmarks/gains.py [WORK]`.

An adapter of rank 8 is fused into one matrix of normal numbers: into bfloat16 and float16, to nearest and at random, and at
1 % into every type of GGUF, and every other scheme, that takes updates on its grid. Gain ⟨W' - W, ΔW⟩ / ‖ΔW‖², and the
error ‖(W' - W - ΔW) Q‖ / ‖ΔW‖ in the directions Q that the adapter reads; means of the seeds, and their standard errors.
16 bits and GGUF are read from the files that are written. Other schemes are decoded from their parts, of the shapes of
tests/kept_grids.py, and have no error in directions, but whether an update of zeros changes a byte. Writes
benchmarks/results/gains.json; three minutes on one quiet core.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/property"))
from codes import normal as numbers
from codes import raw, reader
from gguf_models import CODED, coded
from test_scheme_laws import CASES

import adapterops

RESULTS = Path(__file__).parent / "results/gains.json"
MODULE, TENSOR = "model.layers.0.mlp.down_proj", "blk.0.ffn_down.weight"
SIXTEEN = [("bfloat16", size) for size in (0.01, 0.003, 0.001, 0.0003)] + [("float16", 0.001), ("float16", 0.0003)]
SEEDS, SEEDS_OF_GGUF, DRAWS = 5, 10, 4000


def adapter(folder: Path, shape: tuple[int, int], size: float, seed: int) -> tuple[Path, torch.Tensor, torch.Tensor]:
    """Its files, what it adds to normal numbers of a standard deviation of 1, and the directions that it reads."""
    chance = torch.Generator().manual_seed(1000 + seed)
    B, A = torch.randn(shape[0], 8, generator=chance), torch.randn(8, shape[1], generator=chance)
    B *= size * (shape[0] * shape[1]) ** 0.5 / (B @ A).norm()
    names = {f"base_model.model.{MODULE}.lora_{role}.weight": each for role, each in (("A", A), ("B", B))}
    folder.mkdir()
    save_file(names, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "r": 8,
        "lora_alpha": 8,
        "target_modules": ["down_proj"],
        "base_model_name_or_path": "x",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder, B.double() @ A.double(), torch.linalg.qr(A.double().T)[0]


def normal(shape: tuple[int, int], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sixteen(place: Path, dtype: str, size: float, how: str, seed: int) -> tuple[float, float]:
    base, out, (files, delta, Q) = place / "base", place / "out", adapter(place / "a", (1024, 1024), size, seed)
    base.mkdir()
    W = normal((1024, 1024), seed).to(getattr(torch, dtype))
    save_file({f"{MODULE}.weight": W}, base / "model.safetensors", {"format": "pt"})
    (base / "config.json").write_text(json.dumps({"model_type": "llama"}))
    fused = adapterops.fuse(adapterops.open_checkpoint(base), adapterops.open_adapter(files))
    adapterops.save_checkpoint(adapterops.rounding(fused, how, seed), out, accept_loss=True)
    found = load_file(out / "model.safetensors")[f"{MODULE}.weight"].double()
    return judged(found - W.double(), delta, Q)


def of_gguf(place: Path, type_: Type, seed: int) -> tuple[float, float]:
    base, out, (files, delta, Q) = place / "a.gguf", place / "b.gguf", adapter(place / "a", (512, 1024), 0.01, seed)
    writer = gguf.GGUFWriter(str(base), "llama")
    writer.add_type("model")
    writer.add_tensor(TENSOR, coded(normal((512, 1024), seed).numpy(), type_), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    fused = adapterops.fuse(adapterops.open_checkpoint(base), adapterops.open_adapter(files))
    adapterops.save_checkpoint(adapterops.rounding(fused, "stochastic", seed), out, accept_loss=True)
    before, after = (torch.from_numpy(gguf.dequantize(_data(each), type_)).double() for each in (base, out))
    return judged(after - before, delta, Q)


def _data(path: Path) -> np.ndarray:
    (tensor,) = gguf.GGUFReader(path).tensors
    return np.asarray(tensor.data)


def of_scheme(case: str) -> dict[str, Any]:
    """Of one matrix, an update of rank 8, and many draws."""
    make, name = CASES[case]
    scheme, shape, parts = make(name)
    read, height = reader(parts), math.prod(shape[:-1])
    W = scheme.decode(shape, read, 0, height).float().clone()
    encoder = scheme.on_grid(shape, read, "0")
    kept = encoder.written(encoder.rows(W, 0)[0])
    same = all(torch.equal(raw(each.contiguous()), raw(parts[role].contiguous())) for role, each in kept.items())
    update = numbers(2, height, 8) @ numbers(3, 8, shape[-1])
    update *= 0.01 * W.norm() / update.norm()
    gains = []
    for draw in range(DRAWS * 64 * 96 // W.numel()):
        moved = scheme.on_grid(shape, read, str(draw)).rows(W + update, 0)[1]() - W
        gains.append(float((moved * update).sum() / update.square().sum()))
    spread = statistics.stdev(gains) / len(gains) ** 0.5
    return {"gain": statistics.mean(gains), "standard error": spread, "zeros change no byte": same}


def judged(moved: torch.Tensor, delta: torch.Tensor, Q: torch.Tensor) -> tuple[float, float]:
    gain = float((moved * delta).sum() / delta.square().sum())
    return gain, float(((moved - delta) @ Q).norm() / delta.norm())


def means(seeds: int, measure: Callable[[Path, int], tuple[float, float]], work: str | None) -> dict[str, Any]:
    pairs = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory(dir=work) as place:
            pairs.append(measure(Path(place), seed))
    gains, errors = zip(*pairs, strict=True)
    spread = statistics.stdev(gains) / seeds**0.5
    return {"gain": statistics.mean(gains), "standard error": spread, "error": statistics.mean(errors)}


def main() -> None:
    torch.set_num_threads(1)
    work = sys.argv[1] if len(sys.argv) > 1 else None
    found: dict[str, Any] = {
        f"{dtype}, {size:.2%}, {how}": means(
            SEEDS, lambda place, seed, of=(dtype, size, how): sixteen(place, *of, seed), work
        )
        for dtype, size in SIXTEEN
        for how in ("nearest", "stochastic")
    }
    for type_ in CODED:
        found[type_.name] = means(SEEDS_OF_GGUF, lambda place, seed, of=type_: of_gguf(place, of, seed), work)
    found |= {case: of_scheme(case) for case in CASES if case not in {each.name for each in CODED}}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
