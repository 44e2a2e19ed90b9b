"""alpha, wherever it is: in a tensor of any kind, in the header in every spelling, or nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import adapterops as ao
from adapterops.errors import AdapterWarning, InputError

PACKED = json.dumps(
    {"diffusion_model.r": 4, "diffusion_model.lora_alpha": 16, "diffusion_model.alpha_pattern": {"attn.q": 2}}
)
Q, K = "diffusion_model.blocks.0.attn.q", "diffusion_model.blocks.0.attn.k"


def scales(
    path: Path, alphas: dict[str, torch.Tensor], header: dict[str, str], alpha: float | None = None
) -> list[float]:
    """Those of k and q, both of rank 4."""
    tensors = {f"{module}.alpha": each for module, each in alphas.items()}
    for module in (Q, K):
        tensors |= {f"{module}.lora_A.weight": torch.ones(4, 6), f"{module}.lora_B.weight": torch.ones(5, 4)}
    save_file(tensors, path / "a.safetensors", header)
    return [each.scale for each in ao.open_adapter(path / "a.safetensors", alpha=alpha).scalings.values()]


@pytest.mark.parametrize(
    ("alpha", "scale"),
    [
        (torch.tensor(8), 2.0),
        (torch.tensor(2.0, dtype=torch.float64), 0.5),
        (torch.tensor([2.0], dtype=torch.float16), 0.5),
        (torch.tensor(0.3, dtype=torch.bfloat16), 0.30078125 / 4),
        (torch.tensor(-4.0), -1.0),
        (torch.tensor(0.0), 1.0),
    ],
    ids=str,
)
def test_of_tensors(tmp_path: Path, alpha: torch.Tensor, scale: float) -> None:
    assert scales(tmp_path, {Q: alpha}, {}) == [1.0, scale]


@pytest.mark.parametrize("alpha", [torch.tensor([1.0, 2.0]), torch.tensor(float("nan")), torch.tensor(True)], ids=str)
def test_what_is_no_number(tmp_path: Path, alpha: torch.Tensor) -> None:
    with pytest.raises(InputError, match="expected one number"):
        scales(tmp_path, {Q: alpha}, {})


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ({"lora_alpha": "16"}, [4.0, 4.0]),
        ({"network_alpha": "2.0"}, [0.5, 0.5]),
        ({"transformer.lora_alpha": "16", "transformer.r": "4"}, [4.0, 4.0]),
        ({"lora_adapter_metadata": PACKED.replace("diffusion_model.", "unet.")}, [4.0, 0.5]),
        ({"text_encoder.lora_alpha": "16", "transformer_2.lora_alpha": "8"}, [1.0, 1.0]),
        ({"diffusion_model.lora_alpha": "16", "diffusion_model.r": "4"}, [4.0, 4.0]),
        ({"lora_alpha": "16", "use_rslora": "True", "r": "4"}, [8.0, 8.0]),
        ({"lora_adapter_metadata": PACKED}, [4.0, 0.5]),
        ({"ss_network_alpha": "1", "ss_network_dim": "32"}, [1.0, 1.0]),
        ({"format": "pt"}, [1.0, 1.0]),
    ],
    ids=str,
)
def test_of_headers(tmp_path: Path, header: dict[str, str], found: list[float]) -> None:
    assert scales(tmp_path, {}, header) == found


def test_two_that_differ_are_refused_and_two_alike_are_not(tmp_path: Path) -> None:
    for given in (
        {"alphas": {Q: torch.tensor(4.0)}, "header": {"lora_alpha": "16"}},
        {"alphas": {}, "header": {"lora_alpha": "16"}, "alpha": 8.0},
    ):
        with pytest.raises(InputError, match="stated more than once") as caught:
            scales(tmp_path, **given)
        assert caught.value.code == "E-ALPHA"
    assert scales(tmp_path, {Q: torch.tensor(16.0)}, {"lora_alpha": "16"}, alpha=16.0) == [4.0, 4.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_an_alpha_that_is_rounded_from_that_of_the_header_is_that_one(tmp_path: Path, dtype: torch.dtype) -> None:
    assert scales(tmp_path, {Q: torch.tensor(0.3, dtype=dtype)}, {"lora_alpha": "0.3"}) == [0.075, 0.075]
    with pytest.raises(InputError, match="stated more than once"):
        scales(tmp_path, {Q: torch.tensor(0.304, dtype=dtype)}, {"lora_alpha": "0.3"})


@pytest.mark.parametrize(
    "header", [{"lora_alpha": "16", "r": "8"}, {"lora_alpha": "many"}, {"lora_adapter_metadata": "{"}]
)
def test_headers_that_contradict_the_tensors(tmp_path: Path, header: dict[str, str]) -> None:
    with pytest.raises(InputError):
        scales(tmp_path, {}, header)


@pytest.mark.parametrize(
    "header",
    [
        {"lora_alpha": "8", "network_alpha": "16"},
        {"lora_alpha": "8", "transformer.lora_alpha": "16"},
        {"diffusion_model.lora_alpha": "8", "lora_adapter_metadata": PACKED},
    ],
    ids=str,
)
def test_entries_that_differ_are_refused(tmp_path: Path, header: dict[str, str]) -> None:
    with pytest.raises(InputError, match="alpha is stated more than once"):
        scales(tmp_path, {}, header)


@pytest.mark.parametrize(("start", "entry"), [("transformer_2.", "transformer_2."), ("", "transformer.")])
def test_parts_of_a_pipeline(tmp_path: Path, start: str, entry: str) -> None:
    """That of the last steps has entries of its own; a name that says no part is one of the transformer."""
    tensors = {f"{start}blocks.0.attn1.to_q.lora_{half}.weight": torch.ones(4, 4) for half in "AB"}
    save_file(tensors, tmp_path / "a.safetensors", {f"{entry}lora_alpha": "8", f"{entry}r": "4"})
    assert [each.scale for each in ao.open_adapter(tmp_path / "a.safetensors").scalings.values()] == [2.0]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("lora.alpha", "8"),
        ("LORA_ALPHA", "8"),
        ("networkAlpha", "8"),
        ("lora_scale", "2"),
        ("adapter_config", '{"r": 4, "lora_alpha": 8}'),
        ("lora_adapter_metadata", '{"transformer": {"r": 4, "lora_alpha": 8}}'),
    ],
)
def test_entries_that_may_say_a_scale_and_are_not_read_are_told(tmp_path: Path, entry: str, text: str) -> None:
    with pytest.warns(AdapterWarning, match=f"header entry {entry} may state a scale"):
        assert scales(tmp_path, {}, {entry: text}) == [1.0, 1.0]


@pytest.mark.parametrize(
    "header",
    [
        {"ss_network_alpha": "8", "modelspec.usage_scale": "2", "training_info": '{"step": 4}'},
        {"ot_config": '{"lora_rank": 4, "lora_alpha": 1.0}', "upscale": "4"},
        {"text_encoder.lora_alpha": "16"},
    ],
    ids=str,
)
def test_what_a_header_says_of_training_states_no_scale(
    tmp_path: Path, header: dict[str, str], recwarn: pytest.WarningsRecorder
) -> None:
    assert scales(tmp_path, {}, header) == [1.0, 1.0]
    assert not recwarn.list
    assert scales(tmp_path, {Q: torch.tensor(2.0), K: torch.tensor(2.0)}, {"lora_scale": "2"}) == [0.5, 0.5]
    assert not recwarn.list


@pytest.mark.parametrize("entry", ["ss_network_args", "anything"])
def test_an_entry_that_is_nested_deep_states_nothing(entry: str, tmp_path: Path) -> None:
    assert scales(tmp_path, {}, {entry: '{"a":' * 100_000}) == [1, 1]
