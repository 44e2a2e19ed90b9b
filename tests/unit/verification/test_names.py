from __future__ import annotations

import pytest

from adapterops.storage.tensors import Spec
from adapterops.verification.names import Base, UnplacedError, key, saved


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


def test_a_name_is_found_by_what_transformers_writes() -> None:
    there = base("vit.layers.3.mlp.dense_4h_to_h.weight", "layers.3.mlp.fc2.weight", model_type="hunyuan_vl")
    assert there.find("model.vision_tower.layers.3.mlp.fc2") == "vit.layers.3.mlp.dense_4h_to_h.weight"
    assert there.find("layers.3.mlp.fc2") == "layers.3.mlp.fc2.weight"


def test_the_longest_beginning_counts() -> None:
    there = base("layers.0.attention.dense.weight", "layers.0.attention.q.weight", model_type="bailing_hybrid")
    assert there.find("model.layers.0.self_attn.o_proj") == "layers.0.attention.dense.weight"
    assert there.find("model.layers.0.self_attn.q") == "layers.0.attention.q.weight"


def test_a_part_is_known_by_its_own_type() -> None:
    there = base("language_model.layers.0.attention.wo.weight", text_config={"model_type": "mistral_large4"})
    assert there.find("model.language_model.layers.0.self_attn.o_proj") == "language_model.layers.0.attention.wo.weight"
    assert saved("nomic_bert").keys().isdisjoint(saved("hunyuan_vl"))
    assert saved("llama") == {}


def test_a_model_by_itself_is_found_in_one_that_holds_it_and_the_other_way_round() -> None:
    for file in ("new.encoder", "encoder"):
        there = base(
            f"{file}.layer.0.mlp.down_proj.weight", f"{file}.layer.0.attention.qkv_proj.weight", model_type="gte"
        )
        for name in ("gte.layers.0", "layers.0"):
            assert there.find(f"{name}.self_attn.qkv_proj") == f"{file}.layer.0.attention.qkv_proj.weight"
            assert there.part(f"{name}.self_attn.k_proj") == (f"{file}.layer.0.attention.qkv_proj.weight", 1, 3)
            assert there.find(f"{name}.mlp.down_proj") == f"{file}.layer.0.mlp.down_proj.weight"
        assert there.find("decoder.layers.0.mlp.down_proj") is None


def test_an_output_embedding_is_the_decoders() -> None:
    there = base("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    assert there.shared("lm_head.out_proj.weight", (6, 4)) == "decoder.embed_tokens.weight"


def test_what_a_part_of_a_model_shares_its_own_config_says() -> None:
    there = base("decoder.shared.weight", tie_word_embeddings=False, decoder={"tie_word_embeddings": True})
    assert there.shared("decoder.cls.decoder.weight", (6, 4)) == "decoder.shared.weight"
    with pytest.raises(UnplacedError):
        there.shared("lm_head.weight", (6, 4))


def test_layers_stay_in_their_half_of_a_model_unless_that_is_the_base() -> None:
    for model, tensor, name, found in (
        ("LlamaModel", "layers.0.q.weight", "model.decoder.layers.0.q", False),
        ("OPTModel", "decoder.layers.0.q.weight", "model.layers.0.q", False),
        ("BartModel", "encoder.layers.0.q.weight", "decoder.layers.0.q", False),
        ("WhisperEncoder", "layers.0.q.weight", "decoder.layers.0.q", False),
        ("WhisperEncoder", "layers.0.q.weight", "encoder.layers.0.q", True),
        ("OPTModel", "decoder.layers.0.q.weight", "model.decoder.layers.0.q", True),
    ):
        assert base(tensor, architectures=[model]).find(name) == (tensor if found else None), (model, name)
