from __future__ import annotations

import pytest

from adapterops.storage.safetensors import Spec
from adapterops.verification.names import Base, UnplacedError, key


def base(*names: str, **config: object) -> Base:
    return Base({name: Spec("F32", (6, 4)) for name in names}, config)


def test_a_name_without_its_wrappers() -> None:
    assert key("module.base_model.model.model._orig_mod.norm.weight") == ("norm",)


def test_a_name_is_found_by_its_end() -> None:
    there = base("bert.encoder.query.weight", "bert.encoder.key.weight")
    assert there.find("encoder.query") == "bert.encoder.query.weight"
    assert there.find("encoder.value") is None


def test_a_name_of_two_tensors_is_none() -> None:
    with pytest.raises(UnplacedError, match="may be"):
        base("encoder.q.weight", "decoder.q.weight").find("q")


def test_what_says_that_the_ends_are_one() -> None:
    assert base(architectures=["LlamaForCausalLM"]).tied()
    assert base().stated_tied() is None
    assert not base(architectures=["LlamaForCausalLM"], tie_word_embeddings=False).tied()
    assert base(text_config={"tie_word_embeddings": True}).stated_tied() is True
