from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.peft.parts import Parts, parts
from adapterops.storage.safetensors import SafetensorsFile

EXPERTS = "layers.0.mlp.experts"


def read(folder: Path, module: str, A: tuple[int, ...], B: tuple[int, ...]) -> dict[str, Parts]:
    tensors = {
        f"base_model.model.{module}.lora_A.weight": torch.ones(A),
        f"base_model.model.{module}.lora_B.weight": torch.ones(B),
    }
    save_file(tensors, folder / "adapter.safetensors")
    return parts(SafetensorsFile(folder / "adapter.safetensors"))


def test_every_expert_has_its_rows(tmp_path: Path) -> None:
    found = read(tmp_path, f"{EXPERTS}.down_proj", (3, 2, 8), (3, 6, 2))
    assert list(found) == [f"{EXPERTS}.{number}.down_proj" for number in range(3)]
    assert {each.shape for each in found.values()} == {(6, 8)}
    assert found[f"{EXPERTS}.1.down_proj"].rows == {"lora_A": (2, 4), "lora_B": (6, 12)}
    assert (found[f"{EXPERTS}.1.down_proj"].rank, found[f"{EXPERTS}.1.down_proj"].experts) == (2, 3)


def test_what_all_experts_share_is_there_once(tmp_path: Path) -> None:
    found = read(tmp_path, f"{EXPERTS}.w1", (1, 2, 8), (3, 6, 2))
    assert [each.rows["lora_A"] for each in found.values()] == [(0, 2)] * 3
    assert found[f"{EXPERTS}.2.w1"].rows["lora_B"] == (12, 18)


@pytest.mark.parametrize(
    ("module", "A", "B", "kind", "said"),
    [
        (f"{EXPERTS}.down_proj", (1, 2, 8), (1, 6, 2), UnsupportedError, "one update of all experts"),
        (f"{EXPERTS}.down_proj", (3, 2, 8), (4, 6, 2), InputError, "different numbers of experts"),
        (f"{EXPERTS}.down_proj", (3, 2, 8), (3, 6, 4), InputError, "lora_A has rank 2 and lora_B has rank 4"),
        (f"{EXPERTS}.router", (3, 2, 8), (3, 6, 2), InputError, "expected .out, rank., or that of a kernel"),
        ("conv", (3, 2, 8), (3, 6, 2), InputError, "expected .out, rank., or that of a kernel"),
        (f"{EXPERTS}.down_proj", (3, 2), (3, 6, 2), InputError, "expected .out, rank., or that of a kernel"),
    ],
)
def test_what_has_no_axis_of_experts_is_refused(
    tmp_path: Path, module: str, A: tuple[int, ...], B: tuple[int, ...], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        read(tmp_path, module, A, B)


def test_an_alpha_alone_is_no_module(tmp_path: Path) -> None:
    save_file({"base_model.model.q.alpha": torch.ones(1)}, tmp_path / "adapter.safetensors")
    with pytest.raises(InputError, match="has an alpha and no factors"):
        parts(SafetensorsFile(tmp_path / "adapter.safetensors"))
