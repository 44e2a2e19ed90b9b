from __future__ import annotations

from typing import Any

import pytest

from adapterops.formats.models.vocabulary import input_of, is_end, is_input, is_output, with_vocabulary
from adapterops.storage.tensors import Spec


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "transformer.wte.weight",
        "bert.embeddings.word_embeddings.weight",
        "shared.weight",
        "language_model.lm_head.weight",
        "lm_head.bias",
        "lm_head.decoder.bias",
        "cls.predictions.decoder.weight",
        "cls.predictions.bias",
        "final_logits_bias",
    ],
)
def test_what_has_a_row_for_each_word(name: str) -> None:
    assert is_end(name)
    assert is_input(name) != is_output(name) or "bias" in name


@pytest.mark.parametrize("name", ["model.norm.weight", "audio_lm_head.weight", "transformer.wpe.weight", "fc.bias"])
def test_what_has_not(name: str) -> None:
    assert not is_end(name)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"], "shared.weight"),
        (["transformer.wte.weight", "transformer.wpe.weight"], "transformer.wte.weight"),
        (["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"], None),
        (["model.norm.weight"], None),
    ],
)
def test_the_input_embedding_of_a_model(names: list[str], found: str | None) -> None:
    assert input_of({name: Spec("F32", (6, 4)) for name in names}) == found


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"vocab_size": 6}, {"vocab_size": 8}),
        ({}, {"vocab_size": 8}),
        ({"n_words": 6}, {"n_words": 8, "vocab_size": 8}),
        ({"text_config": {}, "vision_config": {"vocab_size": 6}}, {"text_config": {"vocab_size": 8}, "vision_config": {"vocab_size": 6}}),
        ({"vocab_size": 7, "text_config": {"vocab_size": 6}}, {"vocab_size": 7, "text_config": {"vocab_size": 8}}),
        (
            {"thinker_config": {"text_config": {"vocab_size": 6}}},
            {"thinker_config": {"text_config": {"vocab_size": 8}}},
        ),
    ],
    ids=str,
)  # fmt: skip
def test_the_config_that_says_how_many_words_there_are(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert with_vocabulary(config, 6, 8) == expected
