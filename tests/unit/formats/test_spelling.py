"""What may be one module under two names, in one adapter or in several."""

from __future__ import annotations

import pytest

from adapterops.errors import IncompatibleError
from adapterops.formats import spelling
from adapterops.formats.spelling import check_once, check_spelled, difference

Q, DOWN = "layers.0.self_attn.q_proj", "layers.0.mlp.down_proj"
BERT = "encoder.layer.0.attention.self.query"
PHI = "model.layers.0.self_attn"


def shapes(*modules: str) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(modules, (4, 4))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"model.{Q}", f"model.language_model.{Q}"),
        (f"model.{Q}", Q),
        (f"model.language_model.{Q}", f"language_model.model.{DOWN}"),
        ("model.layers.0.block_sparse_moe.gate", "model.layers.0.mlp.gate"),
        (BERT, f"bert.{BERT}"),
        (f"bert.{BERT}", BERT),
        (f"{PHI}.qkv_proj", f"{PHI}.k_proj"),
        (f"{PHI}.k_proj", f"{PHI}.qkv_proj"),
        ("vit.encoder.layer.3.intermediate.dense", "vit.layers.1.mlp.fc1"),
        (f"backbone.{BERT}", f"bert.{BERT}"),
        ("transformer.blocks.0.attn.Wqkv", "transformer.blocks.0.attn.v_proj"),
        ("h.0.self_attention.q_proj", "transformer.h.0.self_attention.query_key_value"),
        (
            "lora_te2_text_model_encoder_layers_0_mlp_fc1",
            "conditioner.embedders.1.model.transformer.resblocks.0.mlp.c_fc",
        ),
        ("double_blocks.0.processor.proj_lora1", "transformer.transformer_blocks.0.attn.to_out.0"),
        ("double_blocks.0.processor.qkv_lora2", "lora_unet_double_blocks_0_txt_attn_qkv"),
        ("single_blocks.0.processor.qkv_lora", "transformer.single_transformer_blocks.0.attn.to_k"),
        ("single_blocks.0.processor.qkv_lora", "diffusion_model.single_blocks.0.linear1"),
        ("transformer_blocks.0.ff.linear1", "blocks.0.ff_a.0"),  # mflux and DiffSynth: of Flux, which has neither
        ("transformer.decoder.layers.0.self_attn.q_proj", "lycoris_layers_0_self_attn_q_proj"),
    ],
)
def test_two_spellings_are_refused_with_both_and_what_settles_them(one: str, other: str) -> None:
    with pytest.raises(IncompatibleError) as caught:
        check_spelled([shapes(one), shapes(other)], ["runs/a", "runs/b"])
    assert caught.value.code == "E-SPELLING"
    for each in (repr(one), repr(other), "runs/a", "runs/b", "--base"):
        assert each in str(caught.value)


@pytest.mark.parametrize("both", [(f"model.{Q}", f"model.language_model.{Q}"), (f"{PHI}.qkv_proj", f"{PHI}.k_proj")])
def test_within_one_adapter(both: tuple[str, str]) -> None:
    assert difference([shapes(*both)]) is not None
    with pytest.raises(IncompatibleError, match="keep one of the two"):
        check_spelled([shapes(*both)], ["a"])


def test_one_that_stays_as_it_is_has_no_module_twice() -> None:
    check_once(["encoder.layers.0.q_proj", "decoder.layers.0.q_proj", f"{PHI}.qkv_proj", f"{PHI}.k_proj"], "a")
    with pytest.raises(IncompatibleError, match="keep one of the two"):
        check_once([f"model.{Q}", Q], "a")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((f"model.{Q}",), (f"model.{Q}",)),
        ((f"model.{Q}",), (f"model.{DOWN}",)),
        ((f"model.{Q}",), ("lm_head",)),
        ((f"model.{Q}", f"vision_tower.{Q}"), (f"model.{Q}",)),
        ((f"model.language_model.{Q}",), ("model.visual.blocks.0.attn.qkv",)),
        ((f"{PHI}.q_proj",), (f"{PHI}.k_proj",)),
        (("transformer.blocks.0.attn1.to_q",), ("transformer_2.blocks.0.attn1.to_q",)),
        (("text_encoder.text_model.layers.0.q",), ("text_encoder_2.text_model.layers.0.q",)),
        (("model.layers.0.mlp.experts.0.gate_proj",), ("model.layers.0.mlp.experts.0.up_proj",)),
        (
            ("conditioner.embedders.0.transformer.text_model.encoder.layers.0.self_attn.q_proj",),
            ("conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",),
        ),
        (
            ("final_layer.linear",),
            ("final_layer.adaLN_modulation.2",),
        ),  # Lumina 2's norm_out.linear_2, and that of Cosmos
    ],
)
def test_names_that_are_those_of_different_modules(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert difference([shapes(*one), shapes(*other)]) is None


def test_ends_of_names_with_other_shapes_are_others() -> None:
    assert difference([{BERT: (4, 4)}, {f"bert.{BERT}": (8, 8)}]) is None


def test_what_a_name_is_in_memory_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many parts of an adapter are compared: a recipe has one for each layer, and all rules are tried for a name."""
    asked: list[str] = []

    def counted(name: str) -> frozenset[str]:
        asked.append(name)
        return frozenset()

    monkeypatch.setattr(spelling, "memories", counted)
    parts = [shapes(f"once.layers.0.linear{index}", "once.layers.0.common") for index in range(8)]
    assert difference(parts) is None
    assert len(asked) == len(set(asked)) == 8


def test_adapters_with_the_same_modules_are_looked_at_once() -> None:
    one, other = shapes(f"model.{Q}", f"model.{DOWN}"), shapes(f"model.language_model.{Q}")
    found = difference([one, dict(one), other, dict(other)])
    assert found is not None
    assert (found.modules, found.first[1], found.second[1]) == (1, 0, 2)
    assert difference([one] * 500) is None
