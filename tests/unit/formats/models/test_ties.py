from __future__ import annotations

import pytest

from adapterops.errors import UnsupportedError
from adapterops.formats.models.naming import Candidate
from adapterops.formats.models.ties import check_known, check_untied, shared_modules, table, ties_of, untied
from adapterops.storage.tensors import Spec

T5 = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}


def files(*names: str) -> dict[str, Spec]:
    return {name: Spec("F32", (4, 2)) for name in names}


@pytest.mark.parametrize(
    ("config", "stored", "missing"),
    [
        ({"model_type": "bart", "architectures": ["BartForConditionalGeneration"]}, "model.shared.weight",
         {"lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"}),
        ({"model_type": "bart", "architectures": ["BartForConditionalGeneration"]}, "model.decoder.embed_tokens.weight",
         {"lm_head.weight", "model.encoder.embed_tokens.weight", "model.shared.weight"}),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "embeddings.word_embeddings.weight",
         {"cls.predictions.decoder.weight"}),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "embeddings.word_embeddings.weight", set()),
        ({"model_type": "trocr", "architectures": ["TrOCRForCausalLM"]}, "model.decoder.embed_tokens.weight",
         {"output_projection.weight"}),
        ({"model_type": "encoder-decoder", "architectures": ["EncoderDecoderModel"], "decoder": {"model_type": "bert"}},
         "decoder.bert.embeddings.word_embeddings.weight", {"decoder.cls.predictions.decoder.weight"}),
        ({"model_type": "encoder-decoder", "architectures": ["EncoderDecoderModel"],
          "decoder": {"model_type": "bert", "tie_word_embeddings": False}},
         "decoder.bert.embeddings.word_embeddings.weight", set()),
        ({"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]},
         "language_model.model.embed_tokens.weight", {"language_model.lm_head.weight"}),
        (T5 | {"tie_word_embeddings": False}, "shared.weight",
         {"lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}),
    ],
)  # fmt: skip
def test_what_files_lack_is_the_end_that_they_have(config: dict[str, object], stored: str, missing: set[str]) -> None:
    assert dict(ties_of(files(stored), config).missing) == dict.fromkeys(missing, stored)


def test_ends_that_files_have_are_known_and_not_missing() -> None:
    both = files("proj_out.weight", "model.decoder.embed_tokens.weight")
    found = ties_of(both, {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]})
    assert (dict(found.missing), found.ends) == ({}, both.keys())


def test_a_rule_for_all_layers_is_one_for_those_of_the_files() -> None:
    config = {"model_type": "diffusion_gemma", "architectures": ["DiffusionGemmaForBlockDiffusion"]}
    stored = [f"model.decoder.layers.{layer}.mlp.up_proj.weight" for layer in (0, 11)]
    assert dict(ties_of(files(*stored), config).missing) == {
        name.replace("decoder", "encoder.language_model"): name for name in stored
    }


@pytest.mark.parametrize(
    ("kind", "of_class", "stored", "missing"),
    [
        ("diffusion_gemma", "DiffusionGemmaModel", "decoder.layers.{}.mlp.up_proj", "encoder.language_model.layers.{}.mlp.up_proj"),
        ("d_fine", "DFineForObjectDetection", "model.decoder.class_embed.{}", "class_embed.{}"),
        ("dab-detr", "DabDetrForObjectDetection", "bbox_predictor.layers.{}", "model.decoder.bbox_embed.layers.{}"),
    ],
)  # fmt: skip
def test_what_a_class_states_by_a_pattern_is_known(kind: str, of_class: str, stored: str, missing: str) -> None:
    names = [f"{stored.format(layer)}.weight" for layer in (0, 7)]
    found = ties_of(files(*names), {"model_type": kind, "architectures": [of_class]}).missing
    assert dict(found) == {f"{missing.format(layer)}.weight": name for layer, name in zip((0, 7), names, strict=True)}


def test_a_head_without_a_config_may_be_any_usual_one() -> None:
    name = "model.embed_tokens.weight"
    assert shared_modules(files(name), None) == {"lm_head": [Candidate("lm_head.weight", name)]}
    assert shared_modules(files(name), {"tie_word_embeddings": False}) == {}
    assert ties_of(files(name), None).missing == {}


def test_what_is_another_model_when_it_is_untied() -> None:
    config = T5 | {"is_encoder_decoder": True}
    check_known(files("shared.weight"), files("shared.weight"), config)
    for name in ("shared.weight", "lm_head.weight"):
        with pytest.raises(UnsupportedError, match="is tied to other tensors"):
            check_untied(files(name), files("shared.weight"), config)
    check_untied(files("encoder.final_layer_norm.weight"), files("shared.weight"), config)


def test_the_config_of_a_model_in_a_model_is_untied() -> None:
    config = {"model_type": "encoder-decoder", "architectures": ["EncoderDecoderModel"], "decoder": {}, "encoder": {}}
    changed = {"tie_word_embeddings": False, "decoder": {"tie_word_embeddings": False}}
    assert untied(config) == config | changed


def test_a_config_is_untied_wherever_it_says_that_it_is_tied() -> None:
    config = {
        "model_type": "x",
        "tie_word_embeddings": True,
        "text_config": {"tie_word_embeddings": True, "a": 1},
        "vision_config": {},
    }
    assert untied(config) == {
        "model_type": "x",
        "tie_word_embeddings": False,
        "text_config": {"tie_word_embeddings": False, "a": 1},
        "vision_config": {},
    }
    assert untied({}) == {"tie_word_embeddings": False}
    assert config["tie_word_embeddings"] is True


@pytest.mark.parametrize("architectures", [5, "LlamaForCausalLM", {"a": 1}, None, [], [5]])
def test_architectures_that_are_none(architectures: object) -> None:
    config = {"architectures": architectures}
    assert ties_of(files("model.embed_tokens.weight"), config).missing == {}


def test_whose_embeddings_can_be_untied() -> None:
    embedding = {"model.decoder.embed_tokens.weight": Spec("F32", (4, 2))}
    config = {"architectures": ["OPTForCausalLM"], "vocab_size": 4, "tie_word_embeddings": True}
    assert ties_of(embedding, config).missing == {"lm_head.weight": "model.decoder.embed_tokens.weight"}
    check_untied(embedding, embedding, config)
    for shared in (
        {"is_encoder_decoder": True},
        {"architectures": ["BartForConditionalGeneration"], "is_encoder_decoder": True},
    ):
        with pytest.raises(UnsupportedError, match="is tied to other tensors"):
            check_untied(embedding, embedding, config | shared)
        with pytest.raises(UnsupportedError):
            check_untied(embedding, {**embedding, "lm_head.weight": Spec("F32", (4, 2))}, config | shared)
    check_untied(
        embedding, embedding, config | {"is_encoder_decoder": True, "architectures": ["BartForSequenceClassification"]}
    )
    check_untied(embedding, embedding, config | {"is_encoder_decoder": True, "tie_word_embeddings": False})
    other = {"model.tokens.weight": Spec("F32", (4, 2))}
    with pytest.raises(UnsupportedError):
        check_untied(other, other, config)
    check_untied({"model.layers.0.up_proj.weight": Spec("F32", (8, 2))}, other, config)


def test_every_rule_is_a_pair_or_a_field_and_every_class_is_there_once() -> None:
    rules = table("TIED")
    for key, found in rules.items():
        assert key.count(":") == 1
        assert found
        assert all(rule.count(" = ") == 1 or rule.startswith("in ") for rule in found)
        assert len(set(found)) == len(found)
    assert table("KEPT").keys() < rules.keys()
