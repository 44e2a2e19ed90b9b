"""The two adapters of Wan 2.2 are not added to one model without a word."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.cli.main import run


def opened(path: Path, prefix: str = "diffusion_model.") -> ao.Adapter:
    module = f"{prefix}blocks.0.self_attn.q"
    save_file({f"{module}.lora_A.weight": torch.ones(2, 4), f"{module}.lora_B.weight": torch.ones(4, 2)}, path)
    return ao.open_adapter(path)


@pytest.mark.parametrize("names", [("wan_high_noise", "wan_low_noise"), ("Style-HIGH", "Style-Low")])
def test_a_pair_is_named(tmp_path: Path, names: tuple[str, str]) -> None:
    adapters = [opened(tmp_path / f"{each}.safetensors") for each in names]
    with pytest.warns(ao.AdapterWarning, match="two adapters of a pair"):
        ao.merge(adapters)
    with pytest.warns(ao.AdapterWarning, match=names[1]):
        adapters[0] + adapters[1]


def test_others_are_not(tmp_path: Path) -> None:
    adapters = [opened(tmp_path / f"{each}.safetensors") for each in ("high_noise", "style_low", "low_noise_v2")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ao.merge(adapters)
        ao.merge([adapters[0], adapters[0]])


@pytest.fixture
def wan(tmp_path: Path) -> Path:
    """A pipeline of two transformers of the same names."""
    for component in ("transformer", "transformer_2"):
        (tmp_path / "wan" / component).mkdir(parents=True)
        weights = {"blocks.0.attn1.to_q.weight": torch.zeros(4, 4)}
        save_file(weights, tmp_path / "wan" / component / "diffusion_pytorch_model.safetensors")
    index = {name: ["diffusers", "WanTransformer3DModel"] for name in ("transformer", "transformer_2")}
    (tmp_path / "wan/model_index.json").write_text(json.dumps(index))
    return tmp_path / "wan"


@pytest.mark.parametrize("prefix", ["diffusion_model.", "lora_unet_", ""])
@pytest.mark.parametrize(
    ("components", "changed"),
    [
        ((), None),
        (("transformer",), [2, 0]),
        (("transformer_2",), [0, 2]),
        (("transformer", "transformer_2"), [2, 2]),
        (("transformer", "transformer_2", "transformer_2"), None),
    ],
)
def test_each_is_fused_into_its_own_transformer(
    tmp_path: Path, wan: Path, prefix: str, components: tuple[str, ...], changed: list[int] | None
) -> None:
    """Names that say no more than that they are of a transformer are those of both: which one has to be said."""
    paths = [tmp_path / f"{each}.safetensors" for each in ("high", "low")]
    for path in paths:
        module = f"{prefix}blocks.0.self_attn.q"
        module = module.replace(".", "_") if prefix.endswith("_") else module
        down, up = ("lora_down", "lora_up") if prefix.endswith("_") else ("lora_A", "lora_B")
        save_file({f"{module}.{down}.weight": torch.ones(2, 4), f"{module}.{up}.weight": torch.ones(4, 2)}, path)
    given = [word for each in components for word in ("--component", each)]
    line = ["fuse", str(wan), *map(str, paths), *given, "-q", "-o", str(tmp_path / "out")]
    with warnings.catch_warnings():
        warnings.simplefilter("error" if len(components) == 2 else "ignore")
        code = run(line)
    assert (code == 0) == (changed is not None)
    if changed:
        found = [
            float(
                load_file(tmp_path / "out" / each / "diffusion_pytorch_model.safetensors")[
                    "blocks.0.attn1.to_q.weight"
                ].max()
            )
            for each in ("transformer", "transformer_2")
        ]
        assert found == changed
        lines = ["verify", str(tmp_path / "out"), "--base", str(wan)]
        assert run([*lines, *(word for path in paths for word in ("--adapter", str(path))), *given]) == 0
