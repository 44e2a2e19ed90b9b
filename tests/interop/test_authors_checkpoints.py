"""Models in the files of their authors, as diffusers converts them: an adapter in either's names is the same update of both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from image_models import AUTHORS, EVERY, TABLES, moved
from safetensors.torch import load_file, save_file
from turns import in_turn

from adapterops.cli.main import run

pytest.importorskip("diffusers")


@pytest.mark.parametrize(("model", "names"), in_turn([*AUTHORS, *TABLES, "Ovis-Image"], ["authors", "diffusers"]))
def test_either_names_on_either_model(tmp_path: Path, model: str, names: str) -> None:
    torch.manual_seed(0)
    authors, diffusers = EVERY[model]()
    own, other = (authors, diffusers) if names == "authors" else (diffusers, authors)
    prefix = "diffusion_model." if names == "authors" else "transformer."
    tensors, deltas = {}, {}
    for name, ids in own.items():
        A, B = torch.randn(2, *ids.shape[1:]), torch.randn(len(ids), 2, *(1,) * (ids.dim() - 2))
        module = prefix + name.removesuffix(".weight")
        tensors |= {f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}
        deltas[name] = (B.double().flatten(1) @ A.double().flatten(1)).reshape(ids.shape)
    save_file(tensors, tmp_path / "a.safetensors")
    for base, wanted in ((own, deltas), (other, moved(deltas, own, other))):
        folder = tmp_path / ("own" if base is own else "other")
        folder.mkdir()
        save_file({name: torch.zeros(ids.shape) for name, ids in base.items()}, folder / "model.safetensors")
        out = tmp_path / f"{folder.name}-fused"
        assert run(["fuse", str(folder), str(tmp_path / "a.safetensors"), "-o", str(out)]) == 0
        assert run(["verify", str(out), "--base", str(folder), "--adapter", str(tmp_path / "a.safetensors")]) == 0
        for name, each in load_file(out / "model.safetensors").items():
            torch.testing.assert_close(
                each.double(), wanted[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
