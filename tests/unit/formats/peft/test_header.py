"""The scale of a lone file of PEFT's names: what its header says counts, and what contradicts it is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import adapterops as ao
from adapterops.errors import InputError

Q, K = "base_model.model.layers.0.q_proj", "base_model.model.layers.0.k_proj"


def scales(
    path: Path, header: dict[str, str], alpha: float | None = None, more: dict[str, torch.Tensor] | None = None
) -> list[float]:
    """Those of k, of rank 2, and of q, of rank 4."""
    tensors = dict(more or {})
    for module, rank in ((Q, 4), (K, 2)):
        tensors |= {f"{module}.lora_A.weight": torch.ones(rank, 6), f"{module}.lora_B.weight": torch.ones(5, rank)}
    save_file(tensors, path / "a.safetensors", header)
    return [each.scale for each in ao.open_adapter(path / "a.safetensors", alpha=alpha).scalings.values()]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ({"lora_alpha": "8"}, [4.0, 2.0]),
        ({"network_alpha": "8.0", "alpha": "8"}, [4.0, 2.0]),
        ({"lora_alpha": "8", "r": "4", "rank_pattern": '{"k_proj": 2}'}, [4.0, 2.0]),
        ({"lora_alpha": "8", "use_rslora": "true"}, [8 / 2**0.5, 4.0]),
        ({"lora_alpha": "8", "alpha_pattern": '{"layers.0.._proj": 4}'}, [2.0, 1.0]),
    ],
)
def test_entries_are_a_config(tmp_path: Path, header: dict[str, str], found: list[float]) -> None:
    assert scales(tmp_path, header) == pytest.approx(found)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"lora_alpha": "8", "alpha": "4"}, "the header states lora_alpha 8 and alpha 4"),
        ({"lora_alpha": "8", "r": "4"}, "says rank 4, the tensors have rank 2"),
        ({"lora_alpha": "many"}, "lora_alpha is 'many'"),
        ({"lora_alpha": "8", "rank_pattern": "{"}, "rank_pattern"),
        ({"format": "pt", "rank": "4"}, "does not state its scale"),
    ],
)
def test_what_does_not_hold(tmp_path: Path, header: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        scales(tmp_path, header)


def test_another_alpha_is_refused(tmp_path: Path) -> None:
    assert scales(tmp_path, {"lora_alpha": "8"}, alpha=8) == [4.0, 2.0]
    with pytest.raises(InputError, match="--alpha says 4, the header says 8"):
        scales(tmp_path, {"lora_alpha": "8"}, alpha=4)
    alphas = {f"{Q}.alpha": torch.tensor(2.0), f"{K}.alpha": torch.tensor(8.0)}
    with pytest.raises(InputError, match="its alpha tensor says 2"):
        scales(tmp_path, {"lora_alpha": "8"}, more=alphas)


PACKED = {"lora_adapter_metadata": '{"r": 4, "lora_alpha": 8, "rank_pattern": {"k_proj": 2}}'}


@pytest.mark.parametrize("entry", ["lora_alpha", "network_alpha", "alpha"])
def test_a_config_in_the_header_that_other_entries_contradict(tmp_path: Path, entry: str) -> None:
    """Programs read one or the other: which of them is meant cannot be known."""
    assert scales(tmp_path, PACKED) == scales(tmp_path, {**PACKED, entry: "8.0", "r": "4"}) == [4.0, 2.0]
    with pytest.raises(InputError, match="header states a scale of 2, and lora_adapter_metadata one of 4"):
        scales(tmp_path, {**PACKED, entry: "4"})
    with pytest.raises(InputError, match="header states a scale of"):
        scales(tmp_path, {**PACKED, entry: "8", "use_rslora": "true"})


@pytest.mark.parametrize("header", [{"lora_alpha": "4"}, {"lora_adapter_metadata": '{"r": 4, "lora_alpha": 4}'}])
def test_a_config_next_to_a_file_that_its_header_contradicts(tmp_path: Path, header: dict[str, str]) -> None:
    fields = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "rank_pattern": {"k_proj": 2}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(fields))
    assert scales(tmp_path, {"format": "pt"}) == scales(tmp_path, PACKED) == [4.0, 2.0]
    with pytest.raises(InputError, match=r"header states a scale of 2, and adapter_config.json one of 4"):
        scales(tmp_path, header)


@pytest.mark.parametrize("alpha", [None, 8.0])
def test_what_is_left_of_adalora_does_not_say_its_divisor(tmp_path: Path, alpha: float | None) -> None:
    """Training cuts the rank, and alpha stays over the one that it began with, which only the config has."""
    arrays = {"lora_A": torch.ones(3, 6), "lora_B": torch.ones(5, 3), "lora_E": torch.ones(3, 1)}
    save_file({f"{Q}.{role}": each for role, each in arrays.items()}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="do not say the rank that alpha is divided by"):
        ao.open_adapter(tmp_path / "a.safetensors", alpha=alpha)


@pytest.mark.parametrize("alpha", [None, 8.0])
@pytest.mark.parametrize(
    ("kind", "arrays"),
    [("(IA)³", {"ia3_l": (5, 1)}), ("BOFT", {"boft_R": (1, 2, 3, 3), "boft_s": (6, 1)})],
)
def test_what_has_no_scale_needs_its_config_and_no_alpha(
    tmp_path: Path, kind: str, arrays: dict[str, tuple[int, ...]], alpha: float | None
) -> None:
    save_file({f"{Q}.{role}": torch.ones(shape) for role, shape in arrays.items()}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=f"is {re.escape(kind)}, and no config says how it is computed"):
        ao.open_adapter(tmp_path / "a.safetensors", alpha=alpha)
