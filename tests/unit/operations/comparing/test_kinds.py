"""Modules whose last name repeats are told from each other in tables."""

from __future__ import annotations

import pytest

from adapterops.operations.comparing.kinds import kinds, located

BERT = ["attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense"]


def test_an_encoder() -> None:
    modules = [f"encoder.layer.{layer}.{name}" for layer in range(2) for name in BERT]
    assert list(dict.fromkeys(kinds(modules).values())) == [
        "query",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ]


def test_a_name_that_is_alone_is_short() -> None:
    assert set(kinds(["encoder.layer.0.output.dense", "encoder.layer.1.output.dense"]).values()) == {"dense"}
    assert kinds([]) == {}


@pytest.mark.parametrize(
    ("module", "where"),
    [
        ("model.layers.11.self_attn.q_proj", ("model.layers", 11, "self_attn.q_proj")),
        ("model.layers.1.mlp.experts.23.up_proj", ("model.layers", 1, "mlp.experts.up_proj")),
        ("lm_head", ("", None, "lm_head")),
        ("classifier.0", ("", None, "classifier")),
        ("0", ("", None, "0")),
        ("h.²", ("", None, "h.²")),
        ("lora_te_layers_3_mlp_fc1", ("lora_te_layers", 3, "mlp_fc1")),
        (
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
            ("lora_unet_input_blocks", 4, "transformer_blocks.attn1_to_q"),
        ),
        ("lora_unet_mid_block_1_attn1_to_out_0", ("lora_unet_mid_block", 1, "attn1_to_out")),
        ("to_out_0", ("", None, "to_out")),
    ],
)
def test_located(module: str, where: tuple[str, int | None, str]) -> None:
    assert tuple(located(module)) == where


def test_experts_of_all_layers_are_one_kind() -> None:
    modules = [f"model.layers.{layer}.mlp.experts.{expert}.up_proj" for layer in range(2) for expert in range(3)]
    assert set(kinds(modules).values()) == {"up_proj"}
