"""Tensors without entries, without dimensions, with numbers that are none or too large, through every command that takes
a model or an adapter: an exit code that is documented, and nothing half made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import config, write_adapter
from safetensors.torch import save_file
from torch import Tensor

from adapterops.cli.main import run

WEIGHT = "model.layers.0.self_attn.q_proj.weight"
LORA = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
MODELS: dict[str, dict[str, Tensor]] = {
    "no entries beside": {"empty": torch.zeros(0, 4), "none": torch.zeros(0)},
    "a number beside": {"single": torch.tensor(3.0)},
    "infinite beside": {"other": torch.full((4,), torch.inf)},
    "nan": {WEIGHT: torch.full((32, 32), torch.nan)},
    "a number": {WEIGHT: torch.tensor(1.0)},
    "no rows": {WEIGHT: torch.zeros(0, 32)},
    "no columns": {WEIGHT: torch.zeros(32, 0)},
    "a vector": {WEIGHT: torch.ones(1024)},
}
OF_MODELS = (
    "fuse odd a -o out",
    "unfuse odd a -o out",
    "quantize odd --to nf4 -o out",
    "quantize odd --to int8 -o out",
    "dequantize odd -o out",
    "extract odd --base b --rank 2 -o out",
    "extract b --base odd --rank 2 -o out",
    "extract odd --base b --rank 2 --rest keep -o out",
    "diagnose odd --base b --adapter a",
    "verify odd --base b --adapter a",
    "show odd",
)
ADAPTERS: dict[str, dict[str, Any]] = {
    "rank 0": {"A": torch.zeros(0, 32), "B": torch.zeros(32, 0)},
    "nan": {"A": torch.full((2, 32), torch.nan)},
    "infinite": {"B": torch.full((32, 2), torch.inf)},
    "a number": {"A": torch.tensor(1.0)},
    "untrained": {"B": torch.zeros(32, 2)},
    "scaled by nothing": {"lora_alpha": 0},
    "scaled beyond all": {"lora_alpha": 1e300},
}
OF_ADAPTERS = (
    "fuse b odd -o out",
    "merge odd a -o out",
    "merge odd a --ties -o out",
    "truncate odd --rank 1 -o out",
    "truncate odd --energy 0.5 -o out",
    "compress odd a -o out",
    "convert odd --to mlx -o out",
    "normalize odd -o out",
    "calc 0.5*x x=odd -o out",
    "show odd --spectrum",
    "compare odd a",
    "report odd a -o out.html",
    "check odd --for vllm",
    "card odd",
)


def model(place: Path, tensors: dict[str, Tensor]) -> None:
    place.mkdir()
    plain = {WEIGHT: torch.ones(32, 32), "model.embed_tokens.weight": torch.ones(48, 32)}
    save_file(plain | tensors, place / "model.safetensors", {"format": "pt"})
    said = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
    (place / "config.json").write_text(json.dumps(said))


def adapter(place: Path, A: Tensor | None = None, B: Tensor | None = None, **fields: float) -> None:
    random = torch.Generator().manual_seed(0)
    A = torch.randn(2, 32, generator=random) if A is None else A
    B = torch.randn(32, 2, generator=random) if B is None else B
    write_adapter(place, {f"{LORA}A.weight": A, f"{LORA}B.weight": B}, config(2, **fields))


def check(command: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends as documented: with the whole output, or with an error that names a place, and nothing."""
    before = {path.name for path in place.iterdir()}
    code = run(command.split())
    shown = capsys.readouterr()
    left = {path.name for path in place.iterdir()} - before
    assert code in {0, 3, 4, 7, 8, 9}, shown.err
    assert "bug" not in shown.err
    assert left <= ({"out", "out.html", "out.json"} if code == 0 else set())
    assert code == 0 or "error: " in shown.err


@pytest.mark.parametrize("command", OF_MODELS)
@pytest.mark.parametrize("odd", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_models(
    odd: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model(tmp_path / "b", {})
    model(tmp_path / "odd", MODELS[odd])
    adapter(tmp_path / "a")
    check(command, tmp_path, capsys)


@pytest.mark.parametrize("command", OF_ADAPTERS)
@pytest.mark.parametrize("odd", ADAPTERS)
@pytest.mark.filterwarnings("ignore")
def test_adapters(
    odd: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model(tmp_path / "b", {})
    adapter(tmp_path / "a")
    adapter(tmp_path / "odd", **ADAPTERS[odd])
    check(command, tmp_path, capsys)
