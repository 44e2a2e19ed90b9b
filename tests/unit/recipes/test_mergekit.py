"""Recipes of mergekit against what mergekit made of them in float32, on models that are made by seeds: version 0.1.4, and 0.1.5 of
`karcher` and `model_stock`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mergekit_models import NAMES, digest, tensors, write
from safetensors.numpy import save_file

from adapterops import run_recipe
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.errors import AdapterWarning, OptionError
from adapterops.recipes.schema import read_recipe

GOLDEN = json.loads((Path(__file__).parents[2] / "mergekit_values.json").read_text())
TIES = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [{"model": "chat", "parameters": {"weight": 0.5}}, {"model": "code", "parameters": {"weight": 0.5}}],
}

STOCK = {"merge_method": "model_stock", "models": [{"model": "chat"}, {"model": "code"}]}


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
        ({**STOCK, "parameters": {"filter_wise": True}}, "filter_wise is true: each row gets a factor of its own"),
        ({**STOCK, "models": [{"model": "chat"}]}, "needs two models besides base_model"),
        ({**STOCK, "merge_method": "karcher"}, "base_model is none of the models that are averaged"),
        (
            {**STOCK, "merge_method": "karcher", "base_model": "chat", "parameters": {"max_iter": 3}},
            "max_iter below 10",
        ),
        ({"chat_template": "auto"}, "chat_template is unknown"),
        ({"tokenizer_source": "code"}, "tokenizer_source is code"),
        ({"parameters": {"rescale": True, "density": 0.5}}, "rescale is true"),
        ({"parameters": {"gamma": 0.1}}, "parameters.gamma is unknown"),
        ({"models": [{"model": "chat"}]}, "weight of chat is missing"),
        ({"models": None, "slices": [{}, {}]}, "has models and slices"),
        ({"merge_method": "passthrough"}, "slices is missing or empty"),
        ({"base_model": None}, "has no base_model"),
        ({"dtype": ["float32"]}, "expected text"),
        ({"parameters": {"normalize": "no"}}, "normalize is 'no', expected true or false"),
        ({"parameters": {"lambda": [{"filter": 3, "value": 1}]}}, "filter is 3, expected text"),
        ({"parameters": {"lambda": [{"value": []}]}}, "value is neither"),
        ({"dtype": "int8"}, "dtype is int8"),
        (
            {"models": [{"model": "chat+my lora", "parameters": {"weight": 1}}]},
            "a model with an adapter\n  fuse that first, and name the result: adapterops fuse chat 'my lora' -o fused",
        ),
        ({"tokenizer": {"source": "code"}}, "tokenizer.source is code"),
        ({"tokenizer": {"source": "base"}, "tokenizer_source": "base"}, "is given next to tokenizer_source"),
        ({"tokenizer": {"source": "base", "tokens": {}}}, "tokenizer.tokens is unknown"),
    ],
)
def test_what_is_not_understood_is_named(place: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_recipe(written(place, {**TIES, **change}))
    assert said in str(caught.value)


def test_both_ways_to_say_whose_tokenizer_it_is(place: Path) -> None:
    table = read_recipe(written(place, {**TIES, "tokenizer": {"source": "base"}})).request
    assert table == read_recipe(written(place, {**TIES, "tokenizer_source": "base"})).request


def test_a_model_that_is_missing_in_a_folder_is_not_looked_for_on_the_hub(place: Path) -> None:
    stacked(place, "models/base", ["x"])
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in ("models/chat", "owner/code")]
    inputs = read_recipe(written(place, {**TIES, "models": models})).request.inputs
    assert [each.path for each in inputs.values()] == ["models/chat", "hf://owner/code"]


def test_some_layers_of_a_model_are_refused(place: Path) -> None:
    sources = [{"model": name, "layer_range": [0, 2]} for name in ("base", "code")]
    recipe = {"merge_method": "slerp", "base_model": "base", "slices": [{"sources": sources}], "parameters": {"t": 0.5}}
    with pytest.raises(OptionError, match="the model has 3 layers: only all of them are merged"):
        read_recipe(written(place, recipe))


def stacked(place: Path, name: str, names: list[str]) -> Path:
    """A model of some tensors, each of one number."""
    folder = place / name
    folder.mkdir(parents=True)
    save_file({tensor: np.ones((1, 1), np.float32) for tensor in names}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    return folder


def test_a_gradient_runs_over_the_layers_of_each_stack(tmp_path: Path) -> None:
    """mergekit merges encoder and decoder as modules of their own, and numbers in a merger are no layers."""
    names = [f"encoder.block.{layer}.q.weight" for layer in range(2)]
    names += [f"decoder.block.{layer}.q.weight" for layer in range(4)]
    names += ["merger.mlp.0.weight", "merger.mlp.2.weight", "shared.weight"]
    for name in NAMES:
        stacked(tmp_path, name, names)
    recipe = {**TIES, "parameters": {"density": 1.0, "lambda": [1.0, 4.0]}}
    result = str(read_recipe(written(tmp_path, recipe)).request.result)
    found = dict(re.findall(r'a, ((?:"[^"]*"(?:, )?)+)\).*?scale=([0-9.]+)', result))
    assert found == {
        '"decoder.block.0.*", "encoder.block.0.*", "merger.*", "shared.*"': "1.0",
        '"decoder.block.3.*", "encoder.block.1.*"': "4.0",
        '"decoder.block.1.*"': "2.0",
        '"decoder.block.2.*"': "3.0",
    }


def test_a_gradient_over_many_layers_with_a_filter_is_read(tmp_path: Path) -> None:
    parts = ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight")
    names = [f"model.layers.{layer}.{part}" for layer in range(80) for part in parts]
    for name in NAMES:
        stacked(tmp_path, name, [*names, "model.embed_tokens.weight"])
    weight = [{"filter": "mlp", "value": [0.2, 0.8]}, {"filter": "q_proj", "value": 0.3}, {"value": [0.9, 0.1]}]
    recipe = {
        **TIES,
        "parameters": {"density": [0.2, 0.9]},
        "models": [{"model": "chat", "parameters": {"weight": weight}}],
    }
    result = str(read_recipe(written(tmp_path, recipe)).request.result)
    assert 'select(a, "model.layers.79.mlp.*")' in result
    assert 'select(a, "model.layers.79.self_attn.q_proj.*")' in result


def test_a_mean_has_the_config_of_the_base_model(place: Path, tmp_path: Path) -> None:
    for name in NAMES:
        write(tmp_path / name, name)
    config = tmp_path / "code" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rope_theta": 5e5}))
    models = [{"model": name, "parameters": {"weight": weight}} for name, weight in (("chat", 1.5), ("code", 0.5))]
    recipe = {"merge_method": "linear", "base_model": "code", "models": models}
    with pytest.warns(AdapterWarning, match="differs from the base's"):
        run_recipe(written(tmp_path, recipe), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["rope_theta"] == 5e5
    mean = 0.75 * tensors("chat")["lm_head.weight"] + 0.25 * tensors("code")["lm_head.weight"]
    np.testing.assert_allclose(open_checkpoint(tmp_path / "out").tensors["lm_head.weight"], mean, atol=1e-6)
