from __future__ import annotations

from typing import Any

import pytest

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.models.loading import Loading, loading
from adapterops.operations.pairing import full_tensors, pair, unannounced
from adapterops.storage.tensors import Spec

Q, NORM, EMBEDDING = "layers.0.q_proj.weight", "norm.weight", "embed_tokens.weight"


def model(*names: str, config: dict[str, Any] | None = None, **shapes: tuple[int, ...]) -> Checkpoint:
    """Headers alone; keyword arguments have no dots, so `__` stands for one."""
    layout = {name: Spec("F32", (4,) if "norm" in name or "bias" in name else (6, 4)) for name in names}
    return Checkpoint(
        layout | {name.replace("__", "."): Spec("F32", shape) for name, shape in shapes.items()}, {}, {}, config=config
    )


def test_tensors_are_paired_whatever_their_prefixes_and_weights_of_linear_layers_are_known() -> None:
    found = pair(model(f"model.{Q}", f"model.{NORM}", f"model.{EMBEDDING}"), model(Q, NORM, EMBEDDING))
    assert found == {f"model.{Q}": Q, f"model.{NORM}": NORM, f"model.{EMBEDDING}": EMBEDDING}


def test_an_untied_head_was_the_embedding() -> None:
    found = pair(model(EMBEDDING, "lm_head.weight"), model(EMBEDDING, config={"tie_word_embeddings": True}))
    assert found["lm_head.weight"] == EMBEDDING


def test_tensors_that_one_of_them_lacks_are_named() -> None:
    with pytest.raises(
        IncompatibleError,
        match=r"1 only in the tuned one \(norm.weight\), 1 only in the base \(layers.0.q_proj.weight\)",
    ):
        pair(model(NORM), model(Q))


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "h.0.attn.masked_bias", "bert.embeddings.position_ids"]
)
def test_buffers_that_a_model_computes_may_be_in_one_of_them_alone(name: str) -> None:
    assert pair(model(Q, name), model(Q)) == pair(model(Q), model(Q, name)) == {Q: Q}


def test_modules_become_full_tensors_with_all_that_is_in_them_unless_they_are_adapted() -> None:
    tuned = model("norm.weight", "norm.bias", Q, "layers.0.q_proj.bias", "other.weight")
    assert list(full_tensors(["norm.weight"], ["layers.0.q_proj"], tuned, Loading())) == ["norm.weight", "norm.bias"]
    assert list(full_tensors(["layers.0.q_proj.bias"], ["layers.0.q_proj"], tuned, Loading())) == [
        "layers.0.q_proj.bias"
    ]


def test_a_tied_embedding_becomes_two() -> None:
    tuned = model(EMBEDDING, config={"tie_word_embeddings": True})
    assert full_tensors([EMBEDDING], [], tuned, Loading()) == {EMBEDDING: EMBEDDING, "lm_head.weight": EMBEDDING}


T5 = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}
BERT = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
UNKNOWN = {"tie_word_embeddings": True}


@pytest.mark.parametrize(
    ("config", "told"),
    [(T5, False), (BERT, True), (UNKNOWN, True), ({**UNKNOWN, "is_encoder_decoder": True}, False)],
    ids=["no config can untie it", "a config can", "a class that is not known", "one that ties several"],
)
def test_what_peft_has_to_copy_into_what_is_shared(config: dict[str, Any], told: bool) -> None:
    name = {"t5": "shared.weight", "bert": "bert.embeddings.word_embeddings.weight"}.get(
        config.get("model_type", ""), EMBEDDING
    )
    tuned = model(name, NORM, config=config)
    full = full_tensors([name, NORM], [], tuned, loading(config))
    assert unannounced(full, tuned) == (() if told else tuple(sorted(full.keys() - {NORM})))


def test_a_parameter_that_is_neither_weight_nor_bias_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="no adapter that is written here can hold"):
        full_tensors(["layers.0.A_log"], [], model("layers.0.A_log"), Loading())


def test_a_router_goes_with_its_correction_and_by_the_names_in_memory() -> None:
    config = {"model_type": "hy_v3"}
    tuned = model("mlp.router.gate.weight", "mlp.gate.e_score_correction_bias", config=config)
    found = full_tensors(["mlp.router.gate.weight"], [], tuned, loading(config))
    assert found == {
        "mlp.gate.weight": "mlp.router.gate.weight",
        "mlp.gate.e_score_correction_bias": "mlp.gate.e_score_correction_bias",
    }


def test_what_the_model_has_in_other_pieces_is_refused() -> None:
    config = {"model_type": "hrm_text"}
    with pytest.raises(IncompatibleError, match="divides it differently"):
        full_tensors(["attn.gqkv_proj.weight"], [], model("attn.gqkv_proj.weight"), loading(config))


def test_of_numbered_modules_it_is_not_said_that_they_are_a_list() -> None:
    """`class_embed` ends the other's name, which may be that of a ModuleList, which PEFT cannot load, or of a Sequential."""
    tuned = model("class_embed.weight", "out_class_embed.0.weight", "mask_head.0.weight")
    with pytest.raises(
        UnsupportedError, match=r"PEFT takes out_class_embed, .* loads none of it if that is a ModuleList"
    ):
        full_tensors(["class_embed.weight"], [], tuned, Loading())
    assert full_tensors(["mask_head.0.weight"], [], tuned, Loading()) == {"mask_head.0.weight": "mask_head.0.weight"}
