from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.formats.peft.config import AdapterConfig
from adapterops.storage.tensors import Spec
from adapterops.updates.layout import Layout
from adapterops.verification.names import Base
from adapterops.verification.vocabulary import one_weight, regrown, shared, words_stated

EMBEDDING = "model.embed_tokens.weight"


def base(*names: str, **config: object) -> Base:
    return Base({name: Spec("F32", (6,) if name.endswith("bias") else (6, 4)) for name in names}, config)


def adapter(rows: int, *names: str, announced: bool = False, module: str | None = None) -> Adapter:
    full: Any = {name: SimpleNamespace(spec=Spec("F32", (rows, 4))) for name in names}
    layout = {module: Layout((6, 4), 1, "F32")} if module else {}
    return Adapter({}, layout, AdapterConfig(unannounced=() if announced else names), full=full)


def test_when_both_ends_are_one_weight() -> None:
    tied = base(EMBEDDING, tie_word_embeddings=True)
    assert one_weight(adapter(6, EMBEDDING), tied)
    assert not one_weight(adapter(6, EMBEDDING, announced=True), tied)
    assert not one_weight(adapter(6, EMBEDDING, module="lm_head"), tied)
    assert not one_weight(adapter(6, EMBEDDING), base(EMBEDDING, tie_word_embeddings=False))


def test_what_is_the_same_tensor_under_another_name() -> None:
    there = base("bert.embeddings.word_embeddings.weight", "cls.predictions.bias")
    assert shared("cls.predictions.decoder.weight", there, True) == "bert.embeddings.word_embeddings.weight"
    assert shared("cls.predictions.decoder.weight", there, False) is None
    assert shared("cls.predictions.decoder.bias", there, False) == "cls.predictions.bias"
    assert shared("norm.weight", there, True) is None
    several = base("shared.weight", "encoder.norm.weight")
    assert shared("decoder.embed_tokens.weight", several, True) == "shared.weight"
    assert shared("decoder.embed_tokens.weight", several, False) is None


def test_what_keeps_the_old_number_of_words() -> None:
    there = base(EMBEDDING, "lm_head.weight", "lm_head.bias", tie_word_embeddings=False)
    same, lost = regrown(adapter(8, EMBEDDING), there, {EMBEDDING: (EMBEDDING, EMBEDDING)})
    assert (same, sorted(lost)) == ({}, ["lm_head.bias", "lm_head.weight"])
    there = base(EMBEDDING, "lm_head.weight", "lm_head.bias", tie_word_embeddings=True)
    same, lost = regrown(adapter(8, EMBEDDING), there, {EMBEDDING: (EMBEDDING, EMBEDDING)})
    assert (same, sorted(lost)) == ({"lm_head.weight": EMBEDDING}, ["lm_head.bias"])
    assert regrown(adapter(6, EMBEDDING), there, {EMBEDDING: (EMBEDDING, EMBEDDING)}) == ({}, {})


def test_how_many_words_a_config_says() -> None:
    assert words_stated({"vocab_size": 4}) == 4
    assert words_stated({"vocab_size": 4, "text_config": {"vocab_size": 6}}) == 6
