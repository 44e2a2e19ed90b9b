from __future__ import annotations

from typing import Any

import pytest

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError
from adapterops.operations.pairing import Pair, full_tensors, pair
from adapterops.storage.safetensors import Spec

Q, NORM, EMBEDDING = "layers.0.q_proj.weight", "norm.weight", "embed_tokens.weight"


def model(*names: str, config: dict[str, Any] | None = None, **shapes: tuple[int, ...]) -> Checkpoint:
    """Headers alone; keyword arguments have no dots, so `__` stands for one."""
    layout = {name: Spec("F32", (4,) if "norm" in name or "bias" in name else (6, 4)) for name in names}
    return Checkpoint(
        layout | {name.replace("__", "."): Spec("F32", shape) for name, shape in shapes.items()}, {}, {}, config=config
    )


def test_tensors_are_paired_whatever_their_prefixes_and_weights_of_linear_layers_are_known() -> None:
    found = pair(model(f"model.{Q}", f"model.{NORM}", f"model.{EMBEDDING}"), model(Q, NORM, EMBEDDING))
    assert found == {
        f"model.{Q}": Pair(Q, "model.layers.0.q_proj"),
        f"model.{NORM}": Pair(NORM),
        f"model.{EMBEDDING}": Pair(EMBEDDING),
    }


def test_a_weight_of_another_shape_is_no_update() -> None:
    assert pair(model(layers__0__q_proj__weight=(7, 4)), model(Q)) == {Q: Pair(Q)}


def test_an_untied_head_was_the_embedding() -> None:
    found = pair(model(EMBEDDING, "lm_head.weight"), model(EMBEDDING, config={"tie_word_embeddings": True}))
    assert found["lm_head.weight"].before == EMBEDDING


def test_tensors_that_one_of_them_lacks_are_named() -> None:
    with pytest.raises(
        IncompatibleError,
        match=r"1 only in the tuned one \(norm.weight\), 1 only in the base \(layers.0.q_proj.weight\)",
    ):
        pair(model(NORM), model(Q))


@pytest.mark.parametrize(
    ("config", "transposed"), [(None, None), ({"model_type": "gpt2"}, True), ({"model_type": "llama"}, False)]
)
def test_how_a_conv1d_is_stored_is_known_by_the_type_of_model(
    config: dict[str, Any] | None, transposed: bool | None
) -> None:
    found = pair(model("h.0.c_fc.weight"), model("h.0.c_fc.weight", config=config))
    assert found["h.0.c_fc.weight"].transposed is transposed


def test_modules_become_full_tensors_with_their_biases_unless_they_are_adapted() -> None:
    tuned = model("norm.weight", "norm.bias", Q, "layers.0.q_proj.bias", "other.weight")
    assert list(full_tensors(["norm.weight"], ["layers.0.q_proj"], tuned)) == ["norm.weight", "norm.bias"]
    assert list(full_tensors(["layers.0.q_proj.bias"], ["layers.0.q_proj"], tuned)) == ["layers.0.q_proj.bias"]


def test_a_tied_embedding_becomes_two() -> None:
    tuned = model(EMBEDDING, config={"tie_word_embeddings": True})
    assert full_tensors([EMBEDDING], [], tuned) == {EMBEDDING: EMBEDDING, "lm_head.weight": EMBEDDING}


def test_a_parameter_that_is_neither_weight_nor_bias_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="no adapter can hold"):
        full_tensors(["layers.0.A_log"], [], model("layers.0.A_log"))
