"""Recipes of mergekit against what mergekit 0.1.4 made of them in float32, on models that are made by seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mergekit_models import NAMES, digest, write

from adapterops import run_recipe
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.errors import OptionError
from adapterops.recipes.schema import read_recipe

GOLDEN = json.loads((Path(__file__).parents[2] / "mergekit_values.json").read_text())
TIES = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [{"model": "chat", "parameters": {"weight": 0.5}}, {"model": "code", "parameters": {"weight": 0.5}}],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mergekit")
    for name in NAMES:
        write(folder / name, name)
    return folder


def written(place: Path, recipe: dict[str, Any]) -> Path:
    (place / "recipe.json").write_text(json.dumps(recipe))
    return place / "recipe.json"


@pytest.mark.parametrize("name", GOLDEN)
def test_the_values_are_mergekits(place: Path, tmp_path: Path, name: str) -> None:
    run_recipe(written(place, GOLDEN[name]["recipe"]), tmp_path / "out")
    assert digest(open_checkpoint(tmp_path / "out").tensors) == pytest.approx(GOLDEN[name]["values"], abs=2e-5)


@pytest.mark.parametrize("method", ["dare_ties", "dare_linear", "della", "della_linear"])
def test_random_methods_are_read_and_keep_what_was_asked(place: Path, method: str) -> None:
    recipe = {**TIES, "merge_method": method, "parameters": {"density": 0.5}}
    request = read_recipe(written(place, recipe)).request
    assert request.output.dtype is None
    assert "density=0.5" in str(request.result)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"merge_method": "model_breeding"}, "merge_method is model_breeding, which is not read here"),
        ({"chat_template": "auto"}, "chat_template is unknown"),
        ({"tokenizer_source": "code"}, "tokenizer_source is code"),
        ({"parameters": {"rescale": True, "density": 0.5}}, "rescale is true"),
        ({"parameters": {"gamma": 0.1}}, "parameters.gamma is unknown"),
        ({"models": [{"model": "chat"}]}, "weight of a is missing"),
        ({"models": None, "slices": [{}, {}]}, "has models and slices"),
        ({"merge_method": "passthrough"}, "slices is missing or empty"),
        ({"base_model": None}, "has no base_model"),
        ({"dtype": ["float32"]}, "expected text"),
        ({"parameters": {"normalize": "no"}}, "normalize is 'no', expected true or false"),
        ({"parameters": {"lambda": [{"filter": 3, "value": 1}]}}, "filter is 3, expected text"),
        ({"parameters": {"lambda": [{"value": []}]}}, "value is neither"),
        ({"dtype": "int8"}, "dtype is int8"),
        ({"models": [{"model": "chat+lora", "parameters": {"weight": 1}}]}, "a model with an adapter"),
    ],
)
def test_what_is_not_understood_is_named(place: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_recipe(written(place, {**TIES, **change}))
    assert said in str(caught.value)


def test_some_layers_of_a_model_are_refused(place: Path) -> None:
    sources = [{"model": name, "layer_range": [0, 2]} for name in ("base", "code")]
    recipe = {"merge_method": "slerp", "base_model": "base", "slices": [{"sources": sources}], "parameters": {"t": 0.5}}
    with pytest.raises(OptionError, match="the model has 3 layers: only all of them are merged"):
        read_recipe(written(place, recipe))
