"""A recipe makes its output, which holds the recipe that makes it again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from corpus import write_adapter
from safetensors.numpy import save_file

from adapterops.adapters.saved import Saved
from adapterops.errors import InputError, OptionError
from adapterops.recipes.running import destination, run_recipe
from adapterops.recipes.schema import read_recipe

FACTORS = {"A": (2, 8), "B": (8, 2)}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_adapter(tmp_path / "runs/a")
    write_adapter(tmp_path / "runs/b", seed=1)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "adapterops: 1\ninputs: {a: runs/a, b: runs/b}\nresult: 0.7*a - 0.3*b\noutput: {path: merged, rank: 2}\n"
    )
    return path


def test_the_output_goes_where_the_recipe_says(recipe: Path, tmp_path: Path) -> None:
    read = read_recipe(recipe)
    assert destination(read) == tmp_path / "merged"
    assert destination(read, "elsewhere") == Path("elsewhere")
    recipe.write_text("adapterops: 1\ninputs: {a: runs/a}\nresult: 2*a\n")
    with pytest.raises(OptionError, match="does not say where its output goes"):
        destination(read_recipe(recipe))


def test_the_recipe_of_the_output_makes_the_same_bytes(recipe: Path, tmp_path: Path) -> None:
    saved = run_recipe(recipe)
    assert isinstance(saved, Saved)
    assert {each.rank for each in saved.modules.values()} == {2}
    run_recipe(tmp_path / "merged/recipe.yaml", tmp_path / "again")
    one, other = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("merged", "again"))
    assert one == other


def test_a_single_file_names_the_recipe_next_to_it(tmp_path: Path) -> None:
    module = "diffusion_model.double_blocks.0.img_attn.proj"
    factors = {f"{module}.lora_{side}.weight": np.eye(*shape, dtype=np.float32) for side, shape in FACTORS.items()}
    save_file(factors, tmp_path / "a.safetensors")
    (tmp_path / "recipe.yaml").write_text("adapterops: 1\ninputs: {a: a.safetensors}\nresult: 2*a\n")
    run_recipe(tmp_path / "recipe.yaml", tmp_path / "style.safetensors")
    *_, named = json.loads((tmp_path / "style.safetensors.adapterops.json").read_text())["command"]
    run_recipe(tmp_path / named, tmp_path / "again.safetensors")
    one, other = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("style", "again"))
    assert one == other


def test_an_input_that_changed_since_is_not_the_one_that_was_meant(recipe: Path, tmp_path: Path) -> None:
    run_recipe(recipe)
    weights = tmp_path / "runs/a/adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError):
        run_recipe(tmp_path / "merged/recipe.yaml", tmp_path / "again")
    assert not (tmp_path / "again").exists()
