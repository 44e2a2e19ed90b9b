from __future__ import annotations

import pytest

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.models.unmerged import divided, holds_base, is_adapters

Q = "base_model.model.layers.0.self_attn.q_proj"


def test_every_tensor_gets_the_name_that_it_has_where_it_belongs() -> None:
    found = divided(
        [
            f"module.{Q}.base_layer.weight",
            f"module.{Q}.lora_A.default.weight",
            f"module.{Q}.lora_magnitude_vector.default.weight",
            "module.base_model.model.score.original_module.dense.weight",
            "module.base_model.model.score.modules_to_save.default.dense.weight",
            "module.base_model.model.layers.0._fsdp_wrapped_module.norm.weight",
            "module.base_model.model.experts.base_layer.base_layer.gate_up_proj",
            "module.base_model.model.experts.base_layer.lora_A.default.weight",
        ]
    )
    plain = {name: source.removeprefix("module.") for name, source in found.base.items()}
    assert plain == {
        "layers.0.self_attn.q_proj.weight": f"{Q}.base_layer.weight",
        "score.dense.weight": "base_model.model.score.original_module.dense.weight",
        "layers.0.norm.weight": "base_model.model.layers.0._fsdp_wrapped_module.norm.weight",
        "experts.gate_up_proj": "base_model.model.experts.base_layer.base_layer.gate_up_proj",
    }
    assert sorted(found.updates) == [
        "base_model.model.experts.base_layer.lora_A.weight",
        f"{Q}.lora_A.weight",
        f"{Q}.lora_magnitude_vector",
    ]
    assert list(found.full) == ["base_model.model.score.dense.weight"]
    assert found.saved == ("score",)


def test_a_part_of_a_model_that_sees_was_wrapped() -> None:
    names = ["mlp1.weight", f"llm.{Q}.base_layer.weight", f"llm.{Q}.lora_A.default.weight"]
    found, plain = divided(names), "llm.layers.0.self_attn.q_proj"
    assert [*found.base] == [f"{plain}.weight", "mlp1.weight"]
    assert [*found.updates] == [f"base_model.model.{plain}.lora_A.weight"]


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        (["q.base_layer.weight", "q.lora_A.a.weight", "q.lora_A.b.weight"], InputError, "several adapters: a, b"),
        (["q.base_layer.weight", "q.lora_A.a.weight", "module.q.lora_A.a.weight"], InputError, "the same tensor as"),
        (["q.lora_A.weight", "q.lora_B.weight"], InputError, "it is an adapter"),
        (["q.base_layer.weight", "q.hra_u.default"], UnsupportedError, "belongs to HRA"),
        (["q.base_layer.weight", "q.of_the_future.default"], UnsupportedError, "q.of_the_future.default"),
    ],
)
def test_what_cannot_be_divided_is_named(names: list[str], error: type[Exception], said: str) -> None:
    with pytest.raises((error, InputError), match=said.split(" ")[-1]):
        divided(names)


def test_an_adapter_with_embeddings_and_biases_is_no_model() -> None:
    adapter = ["q.lora_A.weight", "q.base_layer.bias", "embed_tokens.base_layer.weight", "lm_head.base_layer.weight"]
    assert not holds_base(adapter)
    assert not holds_base([*adapter, "head.original_module.weight", "head.modules_to_save.mine.weight"])
    assert holds_base([*adapter, "head.original_module.weight"])
    assert holds_base([*adapter, "q.base_layer.weight"])
    assert [name for name in ("q.weight", "base_layers.0.weight", "q.alpha") if is_adapters(name)] == []
