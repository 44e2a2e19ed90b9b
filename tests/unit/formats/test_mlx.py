"""MLX-LM's format against its own formula: ΔW = scale · (a b)ᵀ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import MODULES, factors, write_adapter
from safetensors.numpy import load_file, save_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import UnsupportedError

RANK, SCALE = 3, 20.0
SHAPES = {"model.layers.6.self_attn.q_proj": (12, 8), "model.layers.7.mlp.down_proj": (8, 8)}


def tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    found = {}
    for module, (out, into) in SHAPES.items():
        found[f"{module}.lora_a"] = random.standard_normal((into, RANK)).astype(np.float32)
        found[f"{module}.lora_b"] = random.standard_normal((RANK, out)).astype(np.float32)
    return found


def write(folder: Path, **config: Any) -> Path:
    folder.mkdir()
    save_file(tensors(), folder / "adapters.safetensors")
    fields = {
        "fine_tune_type": "lora",
        "num_layers": 2,
        "model": "some/base",
        "lora_parameters": {"rank": RANK, "scale": SCALE, "dropout": 0.0},
    }
    (folder / "adapter_config.json").write_text(json.dumps({**fields, **config}))
    return folder


def delta(folder: Path, module: str) -> np.ndarray:
    stored = load_file(folder / "adapters.safetensors")
    scale = json.loads((folder / "adapter_config.json").read_text())["lora_parameters"]["scale"]
    return scale * (stored[f"{module}.lora_a"].astype(np.float64) @ stored[f"{module}.lora_b"]).T


def test_it_is_read_as_it_is_applied(tmp_path: Path) -> None:
    adapter = ao.open_adapter(write(tmp_path / "mlx"))
    assert adapter.config.base_model == "some/base"
    assert {module: layout.shape for module, layout in adapter.layout.items()} == SHAPES
    for module in SHAPES:
        np.testing.assert_allclose(
            adapter.updates[module].dense(), delta(tmp_path / "mlx", module), rtol=1e-5, atol=1e-5
        )
    assert ao.inspect(tmp_path / "mlx").zero == ()


def test_the_first_adapters_of_mlx_vlm_are_read_as_it_applies_them(tmp_path: Path) -> None:
    """alpha · A B, and no rank in the scale; written in the names that MLX has now."""
    folder = tmp_path / "vlm"
    folder.mkdir()
    old = {"lora_a": "A", "lora_b": "B"}
    stored = {f"{name.rpartition('.')[0]}.{old[name.rpartition('.')[2]]}": each for name, each in tensors().items()}
    save_file(stored, folder / "adapters.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"rank": RANK, "alpha": 0.5, "dropout": 0.1}))
    adapter = ao.open_adapter(folder)
    for module in SHAPES:
        right = 0.5 * (stored[f"{module}.A"].astype(np.float64) @ stored[f"{module}.B"]).T
        np.testing.assert_allclose(adapter.updates[module].dense(), right, rtol=1e-5, atol=1e-6)
    assert run(["convert", str(folder), "--to", "mlx", "-o", str(tmp_path / "out")]) == 0
    assert load_file(tmp_path / "out" / "adapters.safetensors").keys() == tensors().keys()


def test_there_and_back(tmp_path: Path) -> None:
    write(tmp_path / "mlx")
    assert run(["merge", str(tmp_path / "mlx"), "-o", str(tmp_path / "peft")]) == 0
    assert (tmp_path / "peft/adapter_model.safetensors").exists()
    assert run(["merge", str(tmp_path / "peft"), "--format", "mlx", "-o", str(tmp_path / "again")]) == 0
    assert {path.name for path in (tmp_path / "again").iterdir()} == {
        "adapters.safetensors",
        "adapter_config.json",
        "adapterops.json",
    }
    for module in SHAPES:
        np.testing.assert_allclose(
            delta(tmp_path / "again", module), delta(tmp_path / "mlx", module), rtol=1e-5, atol=1e-5
        )


def test_ranks_are_filled_up_to_one(tmp_path: Path) -> None:
    a = write_adapter(tmp_path / "a", factors(rank=2))
    adapter = ao.open_adapter(a)
    ao.save_adapter(ao.select(adapter, MODULES[0]) + adapter, tmp_path / "mlx", format="mlx")
    config = json.loads((tmp_path / "mlx/adapter_config.json").read_text())
    assert config["lora_parameters"] == {"rank": 4, "scale": 1.0, "dropout": 0.0, "keys": ["q_proj", "v_proj"]}
    stored = load_file(tmp_path / "mlx/adapters.safetensors")
    assert {array.shape[1] for name, array in stored.items() if name.endswith("lora_a")} == {4}
    for module, update in adapter.updates.items():
        factor = 2 if module == MODULES[0] else 1
        np.testing.assert_allclose(delta(tmp_path / "mlx", module), factor * update.dense(), rtol=1e-4, atol=1e-5)


def test_dry_run_and_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "mlx")
    assert (
        run(["merge", str(tmp_path / "mlx"), "--format", "mlx", "--dry-run", "--json", "-o", str(tmp_path / "out")])
        == 0
    )
    assert list(json.loads(capsys.readouterr().out)["shards"]) == ["adapters.safetensors"]
    recipe = "adapterops: 1\ninputs: {a: mlx}\nresult: 0.5*a\noutput: {path: half, format: mlx}\n"
    (tmp_path / "recipe.yaml").write_text(recipe)
    assert run(["run", str(tmp_path / "recipe.yaml")]) == 0
    module = next(iter(SHAPES))
    np.testing.assert_allclose(
        delta(tmp_path / "half", module), 0.5 * delta(tmp_path / "mlx", module), rtol=1e-5, atol=1e-5
    )
    assert run(["merge", str(tmp_path / "mlx"), "--format", "strange"]) == 2


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"fine_tune_type": "full"}, 4, "fine_tune_type is 'full'"),
        ({"fine_tune_type": ["lora"]}, 4, "fine_tune_type is ['lora']"),
        ({"fine_tune_type": "dora"}, 3, "has lora_a, lora_b but no m"),
        ({"lora_parameters": None}, 3, "no lora_parameters"),
        ({"lora_parameters": {"rank": 2, "scale": 1.0}}, 3, "the config says rank 2, the tensors have rank 3"),
        ({"lora_parameters": {"rank": 3, "alpha": 16}}, 3, "scale is null"),
    ],
)
def test_what_is_refused(tmp_path: Path, fields: dict[str, Any], code: int, said: str) -> None:
    with pytest.raises(ao.AdapterOpsError) as caught:
        ao.open_adapter(write(tmp_path / "mlx", **fields))
    assert caught.value.exit_code == code
    assert said in str(caught.value)


def test_an_embedding_is_refused_by_name(tmp_path: Path) -> None:
    """(words, r) and (r, width), as `LoRAEmbedding` of MLX-LM saves them: read as a Linear layer it would be the transposed update."""
    folder = write(tmp_path / "mlx")
    ones = {
        f"model.embed_tokens.{role}": np.ones(shape, np.float32)
        for role, shape in (("lora_a", (50, RANK)), ("lora_b", (RANK, 8)))
    }
    save_file({**tensors(), **ones}, folder / "adapters.safetensors")
    with pytest.raises(UnsupportedError, match="LoRA on an embedding") as raised:
        ao.open_adapter(folder)
    assert raised.value.tensor == "model.embed_tokens"


def test_what_the_format_cannot_hold(tmp_path: Path) -> None:
    import torch
    from corpus import PREFIX, config

    head = {f"{PREFIX}lm_head.weight": torch.ones(5, 8)}
    whole = write_adapter(tmp_path / "whole", {**factors(), **head}, config(modules_to_save=["lm_head"]))
    with pytest.raises(UnsupportedError, match="full tensor"):
        ao.save_adapter(ao.open_adapter(whole), tmp_path / "out", format="mlx")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_two_formats(tmp_path: Path) -> None:
    write(tmp_path / "mlx")
    (tmp_path / "mlx/adapter_model.safetensors").write_bytes((tmp_path / "mlx/adapters.safetensors").read_bytes())
    with pytest.raises(ao.AdapterOpsError, match="could be mlx or peft"):
        ao.open_adapter(tmp_path / "mlx")


def test_memory_counts_what_is_written_in_its_dtype(tmp_path: Path) -> None:
    from adapterops.adapters.planning import plan_adapter

    adapter = ao.open_adapter(write(tmp_path / "mlx"))
    half, double = (plan_adapter(adapter, dtype=dtype) for dtype in ("F16", "F64"))
    assert half.memory < double.memory
    assert len({plan_adapter(adapter, format=form).hash for form in ("peft", "mlx")}) == 2


@pytest.mark.parametrize("alpha", [None, RANK, 16])
def test_alpha_next_to_scale(tmp_path: Path, alpha: int | None) -> None:
    """Of the first versions, which state neither fine_tune_type nor num_layers, another alpha than the rank may have been a
    factor. The loader of today needs num_layers, and leaves alpha out.
    """
    parameters = {"rank": RANK, "scale": SCALE, "dropout": 0.0, "alpha": alpha}
    folder = write(tmp_path / "new", lora_parameters=parameters)
    assert ao.open_adapter(folder).scalings["model.layers.7.mlp.down_proj"].scale == SCALE
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({"num_layers": 2, "lora_parameters": parameters}))
    assert ao.open_adapter(folder).scalings["model.layers.7.mlp.down_proj"].scale == SCALE
    path.write_text(json.dumps({"lora_layers": 2, "lora_parameters": parameters}))
    if alpha != 16:
        assert len(ao.open_adapter(folder).layout) == len(SHAPES)
        return
    with pytest.raises(ao.AdapterOpsError, match="the config does not say which"):
        ao.open_adapter(folder)
