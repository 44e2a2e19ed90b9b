"""What the name of a tensor says, and what is said of one that is not LoRA's."""

from __future__ import annotations

import pytest

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.peft.keys import OTHER_KINDS, STRANGE, Key, doubtful, named, parse, plain, render
from adapterops.formats.peft.types import ARRAYS, TYPES


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("base_model.model.h.0.q.lora_A.weight", Key("h.0.q", "lora_A")),
        ("h.0.q.lora_B.default.weight", Key("h.0.q", "lora_B", prefix="", adapter="default")),
        ("h.0.q.lora_B.bias", Key("h.0.q", "lora_bias", prefix="", end=".bias")),
        ("base_model.model.h.0.q.alpha", Key("h.0.q", "alpha", end="")),
        ("base_model.model.h.0.q.hada_w1_a", Key("h.0.q", "hada_w1_a", end="")),
    ],
)
def test_a_name_is_what_its_key_is_written_as(name: str, key: Key) -> None:
    assert parse(name) == key
    assert render(key) == name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("base_model.model.h.0.q.lora_mid.weight", "Tucker"),
        ("lora_unet_down_blocks_0.lora_up.weight", "a kohya or diffusers LoRA"),
        ("base_model.model.h.0.q.bias", "a trained bias"),
        ("base_model.model.h.0.base_layer.weight", "a weight of the base model"),
        ("base_model.model.h.0.q.weight", "a full tensor"),
        ("prompt_embeddings", "a prompt of virtual tokens"),
        ("base_model.model.h.0.lora_velora.lora_A.weight", "MonteCLoRA or VeLoRA"),
        ("base_model.model.h.0.trainable_tokens_delta.lora_A.weight", "trained token rows"),
        ("lora_unet_h_0.lora_A.weight", "a kohya or diffusers LoRA"),
    ],
)
def test_other_kinds_are_refused_by_name(name: str, kind: str) -> None:
    with pytest.raises(UnsupportedError, match=kind):
        parse(name)


@pytest.mark.parametrize("begins", sorted({each.begins for each in TYPES.values()}))
def test_the_one_pattern_of_all_kinds_finds_the_arrays_of_each(begins: str) -> None:
    for name in (f"{begins}x", f"h.0.q.{begins}lambda.default", f"h.0.{begins}B.weight"):
        assert STRANGE.search(name)
    assert not STRANGE.search("base_model.model.h.0.self_attn.q_proj.lora_A.weight")
    assert {*ARRAYS} <= {*OTHER_KINDS}


def test_what_is_nothing_that_is_known() -> None:
    with pytest.raises(InputError, match="not the name of a LoRA tensor"):
        parse("base_model.model.h.0.q.lora_C")
    with pytest.raises(InputError, match="names no module"):
        parse("base_model.model..lora_A.weight")


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("lm_head.modules_to_save.default.weight", "lm_head.weight"),
        ("h.0.norm.ln_tuning_layers.weight", "h.0.norm.weight"),
        ("lm_head.weight", "lm_head.weight"),
    ],
)
def test_what_peft_puts_into_a_name(name: str, tensor: str) -> None:
    assert plain(name) == tensor


@pytest.mark.parametrize(
    ("names", "adapters"),
    [
        (["base_model.model.score.modules_to_save.linear.weight"], {"linear"}),
        (["c.modules_to_save.dense.weight", "c.modules_to_save.out_proj.weight"], set()),
        (["p.modules_to_save.mine.weight", "p.original_module.mine.weight"], set()),
        (["p.modules_to_save.linear.weight", "p.original_module.weight"], {"linear"}),
        (["p.modules_to_save.mine.weight", "p.modules_to_save.bias"], set()),
        (["lm_head.modules_to_save.dense.weight", "norm.modules_to_save.dense.weight"], {"dense"}),
        (["lm_head.modules_to_save.dense.weight", "lm_head.modules_to_save.bias"], set()),
        (["p.modules_to_save.one.weight", "q.modules_to_save.other.weight"], set()),
        (["q.lora_A.mine.weight", "p.modules_to_save.linear.weight"], {"mine"}),
    ],
)
def test_what_an_adapter_is_called_in_its_names(names: list[str], adapters: set[str]) -> None:
    assert named(names) == adapters
    assert doubtful(names) is None


@pytest.mark.parametrize("names", [["classifier.modules_to_save.mine.weight"], ["p.modules_to_save.0.weight"],
                                   ["c.modules_to_save.mine.dense.weight", "c.modules_to_save.mine.out_proj.weight"]])  # fmt: skip
def test_what_may_be_called_so_or_be_a_layer(names: list[str]) -> None:
    assert named(names) == set()
    assert doubtful(names) == names[0].split(".")[2]


@pytest.mark.parametrize(
    "module", ["funnel.encoder.blocks.0.0.attention.v_head", "value_head", "layers.0.value_head.dense"]
)
def test_lora_on_a_layer_called_like_a_value_head(module: str) -> None:
    """Funnel's attention calls the layer of its values so."""
    assert parse(f"base_model.model.{module}.lora_A.weight") == Key(
        module, "lora_A", "base_model.model.", end=".weight"
    )
    with pytest.raises(UnsupportedError, match="is the value head of a critic"):
        parse("v_head.summary.weight")
