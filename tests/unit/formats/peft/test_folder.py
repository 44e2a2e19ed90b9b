"""What is saved as PEFT's format is what PEFT's formula makes of the update, and what it cannot hold is refused."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus import MODULES, write_adapter
from peft_folders import adapter
from safetensors.numpy import load_file

import adapterops as ao
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.folder import Peft
from adapterops.formats.registry import Arrangement
from adapterops.storage.place import Place
from adapterops.updates.layout import DIFFERENCE, Layout

Q = "model.layers.0.self_attn.q_proj"
LAYOUT = Layout((6, 4), 2, "F32")
A, B = (np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in ((2, 4), (6, 2)))


def arranged(layout: dict[str, Layout], dtype: str | None = None, **config: object) -> Arrangement:
    return Peft().arranged(layout, AdapterConfig(**config), {}, dtype)


def claims(path: Path) -> bool:
    return Peft().claims(Place(path))


def test_what_it_claims(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    assert claims(folder)
    assert claims(folder / "adapter_model.safetensors")
    assert not claims(folder / "adapter_config.json")
    (tmp_path / "empty").mkdir()
    assert not claims(tmp_path / "empty")


def test_saved_tensors_are_the_update(tmp_path: Path) -> None:
    """ΔW = (alpha / r) B A of what is in the file."""
    (tmp_path / "a").mkdir()
    opened = ao.open_adapter(adapter(tmp_path / "a", {"lora_alpha": 3}))
    ao.save_adapter(0.25 * opened, tmp_path / "out")
    saved = load_file(tmp_path / "out/adapter_model.safetensors")
    fields = json.loads((tmp_path / "out/adapter_config.json").read_text())
    scale = fields["lora_alpha"] / fields["r"]
    found = scale * saved["base_model.model.q.lora_B.weight"] @ saved["base_model.model.q.lora_A.weight"]
    np.testing.assert_allclose(found, 0.25 * 3 / 2 * np.full((6, 4), 2.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "what"),
    [({"embeddings": frozenset({"embed"})}, "an embedding"), ({"experts": {"embed": 1}}, "a parameter")],
    ids=["embedding", "parameter"],
)
def test_biases_go_with_no_embedding_and_no_parameter(config: dict[str, object], what: str) -> None:
    """PEFT makes neither under lora_bias, which is a field for all of an adapter."""
    layout = {"embed": LAYOUT, Q: LAYOUT, f"{Q}.bias": Layout((1, 6), 1, "F32")}
    with pytest.raises(UnsupportedError, match=f"embed: is {what}.*biases .lora_bias."):
        arranged(layout, **config)


def test_one_group_for_each_module_in_its_own_dtype() -> None:
    half = replace(LAYOUT, dtype="F16")
    found = arranged({Q: LAYOUT, "other": half})
    assert (found.file, found.groups) == ("adapter_model.safetensors", {Q: [Q], "other": ["other"]})
    assert found.dtypes == {Q: "F32", "other": "F16"}
    assert arranged({Q: LAYOUT, "other": half}, "BF16").dtypes == {Q: "BF16", "other": "BF16"}
    names = {f"base_model.model.{module}.lora_{role}.weight" for module in (Q, "other") for role in "AB"}
    assert found.tensors.keys() == names
    tensors, rank = found.joined(Q, {Q: (A, B)})
    assert rank == 2
    assert np.array_equal(tensors[f"base_model.model.{Q}.lora_A.weight"], A)
    assert np.array_equal(tensors[f"base_model.model.{Q}.lora_B.weight"], B)


def test_factors_of_the_transposed_update_and_of_embeddings() -> None:
    """PEFT has A of an embedding as (rank, words) and B as (dim, rank): BA is the transposed weight's update."""
    found, _ = arranged({Q: LAYOUT}, reversed=frozenset({Q})).joined(Q, {Q: (A, B)})
    product = found[f"base_model.model.{Q}.lora_B.weight"] @ found[f"base_model.model.{Q}.lora_A.weight"]
    np.testing.assert_allclose(product, (B @ A).T, rtol=1e-6)
    name = "model.embed_tokens"
    found, _ = arranged({name: LAYOUT}, embeddings=frozenset({name})).joined(name, {name: (A, B)})
    rows, dims = (found[f"base_model.model.{name}.lora_embedding_{role}"] for role in "AB")
    np.testing.assert_allclose((dims @ rows).T, B @ A, rtol=1e-6)


def test_a_bias_goes_with_the_layer_that_has_lora() -> None:
    bias = Layout((1, 6), 1, "F32")
    found = arranged({Q: LAYOUT, f"{Q}.bias": bias, "other": LAYOUT})
    names = {f"base_model.model.{module}.lora_B.bias" for module in (Q, "other")}
    assert names < found.tensors.keys(), "all modules have one in PEFT, or none"
    value = np.arange(6, dtype=np.float32)
    tensors, _ = found.joined(f"{Q}.bias", {f"{Q}.bias": (value[None], np.ones((1, 1), np.float32))})
    assert np.array_equal(tensors[f"base_model.model.{Q}.lora_B.bias"], value)
    tensors, _ = found.joined("other", {"other": (A, B)})
    assert np.array_equal(tensors["base_model.model.other.lora_B.bias"], np.zeros(6))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({f"{Q}.bias": Layout((1, 6), 1, "F32")}, "a bias without LoRA on its layer"),
        ({Q: LAYOUT, "norm": Layout((1, 6), 1, "F32", kind=DIFFERENCE)}, "a difference of a vector"),
        ({"transformer_blocks.0.ff.conv_depth": LAYOUT}, "for which PEFT has no LoRA"),
    ],
)
def test_what_has_no_place_is_refused(layout: dict[str, Layout], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        arranged(layout)


def test_names_that_peft_would_not_find_are_refused() -> None:
    layers = {"layers.0.self_attn.q_proj": LAYOUT, "layers.1.self_attn.q_proj": LAYOUT}
    with pytest.raises(IncompatibleError, match="PEFT would load nothing of it") as caught:
        arranged(layers, fields={"task_type": "CAUSAL_LM"})
    assert caught.value.code == "E-SPELLING"
    assert list(arranged(layers).groups) == list(layers), "of a bare model they are right"


def test_an_encoder_that_is_no_kin_of_bart_has_its_own_names() -> None:
    """As of sounds, outside of the model for words."""
    layers = {"encoder.layers.0.attn.to_q": LAYOUT, "encoder.layers.0.ff1.up_proj": LAYOUT}
    mapping = {
        "base_model_class": "GraniteSpeechForConditionalGeneration",
        "parent_library": "transformers.models.granite_speech.modeling_granite_speech",
    }
    arranged(layers, fields={"auto_mapping": mapping})


@pytest.mark.parametrize(("name", "refused"), [("BartForConditionalGeneration", True), ("BartModel", False)])
def test_names_of_a_bare_encoder_and_decoder_are_refused_of_one_with_a_head(name: str, refused: bool) -> None:
    layers = {"encoder.layers.0.self_attn.q_proj": LAYOUT, "decoder.layers.0.self_attn.q_proj": LAYOUT}
    mapping = {"base_model_class": name, "parent_library": "transformers.models.bart.modeling_bart"}
    if refused:
        with pytest.raises(IncompatibleError, match="PEFT would load nothing of it"):
            arranged(layers, fields={"auto_mapping": mapping})
    else:
        arranged(layers, fields={"auto_mapping": mapping})


@pytest.mark.parametrize(("experts", "told"), [({}, True), ({"model.layers.0.mlp.up_proj.weight": 1}, False)])
def test_modules_that_peft_takes_for_experts_are_told(experts: dict[str, int], told: bool) -> None:
    """By the type of the model, which the config tells; a base shows that they are none, and they are parameters then."""
    layers = dict.fromkeys(("model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj"), LAYOUT)
    mapping = {
        "base_model_class": "Ernie4_5_MoeForCausalLM",
        "parent_library": "transformers.models.ernie4_5_moe.modeling_ernie4_5_moe",
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        arranged(layers, fields={"auto_mapping": mapping}, experts=experts)
    assert ["leaves out 1 module; name the model with --base" in str(each.message) for each in caught] == [True] * told


def test_a_rank_that_was_cut_off_is_in_the_config() -> None:
    documents = arranged(dict.fromkeys(MODULES, LAYOUT)).documents(dict.fromkeys(MODULES, 1))
    fields = documents["adapter_config.json"]
    assert (fields["peft_type"], fields["r"], fields["lora_alpha"]) == ("LORA", 1, 1)
