"""A few of the classes of benchmarks/architectures.py: what is extracted is loaded whole by PEFT, and what PEFT trains is fused."""

from __future__ import annotations

from pathlib import Path

import architectures
import pytest
import saved_names
from turns import some

from adapterops.errors import UnsupportedError
from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import namesakes
from adapterops.verification.names import Base

CLASSES = [
    "BartForConditionalGeneration",
    "BertForMaskedLM",
    "DeepseekV3ForCausalLM",
    "EncoderDecoderModel",
    "Gemma3ForConditionalGeneration",
    "GitForCausalLM",
    "GPTNeoXForCausalLM",
    "GptOssForCausalLM",
    "GraniteMoeForCausalLM",
    "GteForMaskedLM",
    "HrmTextForCausalLM",
    "JambaForCausalLM",
    "LagunaForCausalLM",
    "Lfm2MoeForCausalLM",
    "Llama4ForConditionalGeneration",
    "LlavaForConditionalGeneration",
    "LongcatFlashForCausalLM",
    "MixtralForCausalLM",
    "NemotronHForCausalLM",
    "NeoMMEForMaskedLM",
    "NomicBertForMaskedLM",
    "QianfanOCRForConditionalGeneration",
    "Qwen2MoeForCausalLM",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
    "TrOCRForCausalLM",
    "ViTMAEModel",
    "WhisperForCausalLM",
    "ZambaForCausalLM",
]


OTHERWISE = {
    "GitForCausalLM": {"head": "error"},  # PEFT takes a module whose name ends as the head's for it
    "ZambaForCausalLM": {"fuse": "refused", "extract": "refused"},  # one layer at several depths
    "NeoMMEForMaskedLM": {"embeddings": "refused", "back": "refused"},  # no Linear layer that is not tied changed
}


@pytest.mark.parametrize("name", some(CLASSES, 2))
def test_models_and_adapters_agree_with_peft(name: str) -> None:
    row = architectures.check("", "", name)
    assert "built" not in row
    found = {what: row[what].partition(":")[0] for what in architectures.WHAT if row[what] not in ("yes", "none")}
    assert found == OTHERWISE.get(name, {})


HEADS = [
    "RfDetrForInstanceSegmentation",
    "SegformerForSemanticSegmentation",
]
"""Classes with a head whose files have names that no other class of their type has."""

RENAMED = [
    "BailingHybridForCausalLM",
    "DeepseekV4ForCausalLM",
    "GraniteMoeForCausalLM",
    "GteForMaskedLM",
    "HunYuanVLForConditionalGeneration",
    "NomicBertForMaskedLM",
    "PI0ForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    *HEADS,
]


@pytest.mark.parametrize("name", HEADS)
def test_heads_have_the_names_of_the_model_in_memory(name: str) -> None:
    model_type, pairs, layout, _ = saved_names.saved(architectures.build(name))
    config = {"model_type": model_type, "architectures": [name]}
    found = namesakes(pairs, layout, loading(config).renamed)
    assert len(pairs) > 10
    assert found == {mine: [file] for mine, file in pairs.items()}


@pytest.mark.parametrize("name", RENAMED)
def test_verify_knows_what_transformers_calls_the_tensors_of_a_model(name: str) -> None:
    model_type, pairs, layout, _ = saved_names.saved(architectures.build(name))
    base = Base(layout, {"model_type": model_type})
    assert len(pairs) > 10
    assert {mine: base.find(mine, (layout[file].shape,)) for mine, file in pairs.items()} == pairs


@pytest.mark.parametrize("name", ["GteForMaskedLM", "NomicBertForMaskedLM", "RfDetrModel"])
def test_rows_of_one_matrix_are_weights_of_their_own_by_both_tables(name: str) -> None:
    """What the rules of transformers say, and what was seen in files."""
    model_type, _, layout, parts = saved_names.saved(architectures.build(name))
    ways = loading({"model_type": model_type})
    divided = {
        mine: (file, f"{place}/{len(names)}")
        for file in layout
        for names in [ways.parts(file)]
        for place, mine in enumerate(names)
    }
    assert len(parts) > 5
    assert {mine.removesuffix(".weight"): each for mine, each in divided.items() if "bias" not in mine} == {
        loading({"model_type": model_type}).name(mine).removesuffix(".weight"): each for mine, each in parts.items()
    }
    base = Base(layout, {"model_type": model_type})
    assert {mine: base.part(mine) for mine in parts} == {
        mine: (file, *map(int, part.split("/"))) for mine, (file, part) in parts.items()
    }


DETECTORS = [
    "ConditionalDetrForObjectDetection",
    "DeformableDetrModel",
    "DetrForObjectDetection",
    "RTDetrForObjectDetection",
    "RfDetrModel",
    "TableTransformerForObjectDetection",
    "Tipsv2Model",
    "Tipsv2VisionModel",
    "UperNetForSemanticSegmentation",
    "ViTMSNForImageClassification",
]


@pytest.mark.parametrize("name", some(DETECTORS, 2))
def test_what_sees_is_fused_verified_and_extracted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that find objects in images, with a backbone of another type, and heads of classes with names of their own."""
    monkeypatch.setattr(architectures, "passed", lambda model: set())
    model = architectures.build(name)
    model.save_pretrained(tmp_path / "base")
    assert architectures.check_fuse(name, tmp_path) == "yes"
    assert architectures.check_extract(name, tmp_path) == "yes"


def test_what_peft_takes_a_list_of_modules_for_is_refused(tmp_path: Path) -> None:
    """`class_embed` ends the name `enc_out_class_embed`, of a list, which PEFT takes for it, too, and cannot load."""
    architectures.build("RfDetrForObjectDetection").save_pretrained(tmp_path / "base")
    with pytest.raises(UnsupportedError, match=r"PEFT takes model\.enc_out_class_embed"):
        architectures.check_extract("RfDetrForObjectDetection", tmp_path)
