"""Cards: metadata that the Hub takes, and a text that says what the manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from adapterops.hub.card import MARK, CardFacts, render

COMMIT = "0123456789" * 4
HUB = [{"reference": "me/base", "revision": COMMIT}, {"reference": "me/a:sub", "revision": COMMIT}]
LOCAL = [{"path": "base", "files": {"model.safetensors": {"blake3": "ab"}}}, {"path": "runs/a", "files": {}}]
FUSED = {
    "operation": "fuse",
    "inputs": [{"input": 0}, {"operation": "merge", "method": "linear", "weights": [0.5], "inputs": [{"input": 1}]}],
}
MERGED = {
    "operation": "merge",
    "method": "ties",
    "density": 0.3,
    "weights": [1.0, 1.0],
    "inputs": [{"input": 0}, {"input": 1}],
}
NF4 = {"operation": "quantize", "to": "nf4"}
ADAPTER = {
    "base_model_name_or_path": "some/base",
    "task_type": "CAUSAL_LM",
    "r": 8,
    "rank_pattern": {"layers.0.q_proj": 48},
}


LLAMA = {"architectures": ["LlamaForCausalLM"]}


def card(
    inputs: list[Any], operation: Any, adapter: Any = None, licenses: Any = (), config: Any = LLAMA, **more: Any
) -> tuple[dict[str, Any], str]:
    manifest = {"inputs": inputs, "operation": operation, **more}
    text = render(CardFacts("me/made", manifest, adapter, licenses, None if adapter else config))
    read = ModelCard(text)
    assert MARK in text
    return read.data.to_dict(), text


@pytest.mark.parametrize(
    ("inputs", "operation", "adapter", "bases", "relation"),
    [
        (HUB, MERGED, ADAPTER, "some/base", "adapter"),
        (HUB, MERGED, {"base_model_name_or_path": "/home/me/base"}, None, None),
        (HUB, MERGED, {"base_model_name_or_path": None}, None, None),
        (HUB, FUSED, None, ["me/base", "me/a"], "merge"),
        (HUB[:1] + LOCAL[1:], FUSED, None, "me/base", "merge"),
        (LOCAL, FUSED, None, None, None),
        (HUB, {**NF4, "inputs": [FUSED]}, None, "me/base", "quantized"),
        (HUB[:1], {**NF4, "inputs": [{"input": 0}]}, None, "me/base", "quantized"),
    ],
)
def test_bases_and_relation(inputs: list[Any], operation: Any, adapter: Any, bases: Any, relation: str | None) -> None:
    data, _ = card(inputs, operation, adapter)
    assert data.get("base_model") == bases
    assert data.get("base_model_relation") == relation
    assert data["library_name"] == ("peft" if adapter else "transformers")
    assert data["tags"][0] == "adapterops"
    assert ("lora" in data["tags"]) == bool(adapter)


AGREED = [
    (["mit", "mit"], "mit"),
    (["mit", "apache-2.0"], None),
    (["mit", None], None),
    ([None, None], None),
    ([], None),
]


@pytest.mark.parametrize(("licenses", "said"), AGREED)
def test_a_license_only_where_all_agree(licenses: list[Any], said: str | None) -> None:
    data, text = card(HUB, FUSED, licenses=licenses)
    assert data.get("license") == said
    assert ("differ or are not all known" in text) == (said is None)


def test_the_recipe_is_pinned() -> None:
    command = ["adapterops", "merge", "hf://me/base", "me/a@v2:sub", "c d", "--ties"]
    _, text = card(HUB, MERGED, ADAPTER, command=command)
    assert f"adapterops merge me/base@{COMMIT} me/a@{COMMIT}:sub 'c d' --ties" in text
    assert "- **merge** (ties) density 0.3, weights 1, 1" in text
    assert f"  - [me/a](https://huggingface.co/me/a), sub, at `{COMMIT}`" in text


def test_figures() -> None:
    modules = {f"layers.{index}": {"energy_kept": 1 - index / 10} for index in range(8)}
    _, text = card(HUB, MERGED, ADAPTER, energy_kept=0.5, modules=modules)
    assert "| energy of the update that was kept | 50.00 % |\n| in layers.7 | 30.00 % |" in text
    assert "layers.1 " not in text
    survival = {"relative": 0.01, "gain": 0.999999999, "changed": 3, "entries": 4}
    _, text = card(HUB, FUSED, survival=survival, modules={"layers.0": survival})
    assert "| of the update, what survived rounding | 99.9999 % |" in text


def test_loading() -> None:
    _, text = card(HUB, MERGED, ADAPTER)
    assert 'PeftModel.from_pretrained(base, "me/made")' in text
    assert "vllm serve some/base --enable-lora --max-lora-rank 64 --lora-modules made=me/made" in text
    _, text = card(HUB, MERGED, {**ADAPTER, "task_type": "SEQ_CLS"})
    assert "AutoModelForSequenceClassification" in text
    assert "vllm" not in text
    assert "does not serve the rank 600" in card(HUB, MERGED, {**ADAPTER, "r": 600})[1]
    assert "does not serve modules_to_save" in card(HUB, MERGED, {**ADAPTER, "modules_to_save": ["lm_head"]})[1]
    assert "vllm serve me/made" in card(HUB, FUSED)[1]
    assert 'LlamaForCausalLM.from_pretrained("me/made")' in card(HUB, FUSED)[1]


def test_what_generates_no_text_is_not_served() -> None:
    for name in ("BertModel", "BertForSequenceClassification", "T5ForConditionalGeneration", "XLMWithLMHeadModel"):
        text = card(HUB, FUSED, config={"architectures": [name]})[1]
        assert f'{name}.from_pretrained("me/made")' in text
        assert "vllm" not in text


def test_diffusers() -> None:
    data, text = card(HUB, FUSED, config={"_class_name": "UNet2DConditionModel"})
    assert data["library_name"] == "diffusers"
    assert "from diffusers import UNet2DConditionModel" in text
    mapping = {"base_model_class": "FluxTransformer2DModel", "parent_library": "diffusers.models.transformers"}
    _, text = card(HUB, MERGED, {**ADAPTER, "task_type": None, "auto_mapping": mapping})
    assert 'DiffusionPipeline.from_pretrained("some/base")' in text
    assert 'pipeline.transformer = PeftModel.from_pretrained(pipeline.transformer, "me/made")' in text
    assert "vllm" not in text


def test_what_is_not_known_is_not_guessed() -> None:
    _, text = card(HUB, MERGED, {**ADAPTER, "task_type": None})
    assert "does not say what kind of model its base is" in text
    assert "AutoModel" not in text
    assert "vllm" not in text
    _, text = card(HUB, FUSED, config=None)
    assert "names no class" in text
    assert "from_pretrained" not in text


def test_of_what_something_else_made() -> None:
    text = render(CardFacts("me/made", {}, ADAPTER))
    assert "How it was made" not in text
    assert ModelCard(text).data.base_model == "some/base"


def test_it_does_not_change() -> None:
    assert card(HUB, MERGED, ADAPTER) == card(HUB, MERGED, ADAPTER)


def test_by_how_much_a_merge_was_multiplied() -> None:
    operation = {**MERGED, "scale": "auto", "multipliers": {"q": 0.5, "k": 0.71, "v": 0.98, "o": None}}
    _, text = card(HUB, operation, ADAPTER)
    assert "scale auto, 0.71 times in the median module (0.5 to 0.98)" in text


def test_names_of_strangers_add_no_markup() -> None:
    hostile = "<img src=x onerror=alert(1)>\n\n# title"
    inputs = [{"path": hostile, "files": {}}, {"path": "b", "files": {}}]
    modules = {hostile: {"energy_kept": 0.5}}
    operation = {**MERGED, "density": hostile}
    command = ["adapterops", hostile]
    _, text = card(
        inputs,
        operation,
        {"base_model_name_or_path": hostile, "task_type": "CAUSAL_LM"},
        energy_kept=0.5,
        modules=modules,
        command=command,
    )
    prose = text.replace(MARK, "").partition("```")[0] + text.rpartition("```")[2]
    assert "<" not in prose
    assert "&lt;img src=x onerror=alert(1)&gt;" in prose
    assert text.count("\n# ") == 1
    assert text.count("```") == 6, "of the command, of PEFT, of vLLM: the hostile one closes none"


def test_the_card_of_the_current_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"\n# {tmp_path.name}\n" in render(CardFacts(".", {}, ADAPTER))
