"""Which modules a pattern names, and what becomes of them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus import MODULES as MODULES_OF_FACTORS
from corpus import config, factors, write_adapter
from strategies import entries

import adapterops as ao
from adapterops.errors import OptionError, UnsupportedError
from adapterops.operations.selection import drop, matching, select
from adapterops.updates.lowrank import LowRank

MODULES = [f"model.layers.{layer}.{part}" for layer in range(12) for part in ("mlp.up_proj", "self_attn.q_proj")]


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("*", 24),
        ("*.mlp.*", 12),
        ("layers.0-11", 24),
        ("layers.3", 2),
        ("layers.1-2", 4),
        ("*.1*.mlp.*", 3),
        ("*.[0-3].mlp.up_proj", 4),
    ],
)
def test_patterns(pattern: str, count: int) -> None:
    assert len(matching(pattern, MODULES)) == count


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("*.mpl.*", "did you mean mlp?"),
        ("layers.12-20", "there are layers.0-11"),
        ("layers.5-3", "there are layers.0-11"),
        ("layer.3", "did you mean layers?"),
        ("*.up_prj", "did you mean up_proj"),
        ("mlp.up_proj", "there are model.layers.0.mlp.up_proj"),
        ("*.MLP.*", "there are model.layers.0.mlp.up_proj"),
    ],
)
def test_a_pattern_that_matches_nothing(pattern: str, hint: str) -> None:
    with pytest.raises(OptionError, match="matches none of 24 modules") as caught:
        matching(pattern, MODULES)
    assert hint in str(caught.value.hint)


def test_no_pattern_takes_long() -> None:
    begin = time.monotonic()
    with pytest.raises(OptionError):
        matching("*a" * 200 + "b", ["a" * 500])
    assert time.monotonic() - begin < 1


def adapter() -> ao.Adapter:
    return ao.Adapter.of({name: ao.LowRank(torch.ones(2, 1), torch.ones(1, 3)) for name in MODULES})


def test_select_keeps_what_is_named() -> None:
    assert list(ao.select(adapter(), "*.mlp.*", "layers.0").layout) == [
        name for name in sorted(MODULES) if "mlp" in name or ".0." in name
    ]
    with pytest.raises(OptionError, match="at least one pattern"):
        ao.select(adapter())


def test_drop_leaves_out_what_is_named_and_keeps_the_reason() -> None:
    rest = ao.drop(adapter(), {"*.mlp.*": "too large", "layers.0": "early"})
    assert list(rest.layout) == [name for name in sorted(MODULES) if "mlp" not in name and ".0." not in name]
    assert rest.history.parameters == {"reasons": {"*.mlp.*": "too large", "layers.0": "early"}}
    for reasons, said in (({}, "at least one pattern"), ({"*": "all"}, "leaves none"), ({"x": "no"}, "matches none")):
        with pytest.raises(OptionError, match=said):
            ao.drop(adapter(), reasons)


@pytest.mark.parametrize("reasons", [{"*.mlp.*": 1}, ["*.mlp.*"], "*.mlp.*"], ids=str)
def test_what_is_left_out_without_a_reason_in_words_is_refused(reasons: Any) -> None:
    with pytest.raises(OptionError, match="a reason in words"):
        ao.drop(adapter(), reasons)


@pytest.mark.parametrize(
    "function", [ao.select, lambda a, key: ao.drop(a, {key: "x"}), lambda a, key: ao.scale(a, {key: 2})]
)
def test_a_pattern_is_text(function: Any) -> None:
    with pytest.raises(OptionError, match="a pattern is text, got 1"):
        function(adapter(), 1)


def test_the_name_of_a_module_is_that_module_alone() -> None:
    names = ["a.mlp.0.up", "mlp.0", "x[0]"]
    assert matching("mlp.0", names) == ["mlp.0"]
    assert matching("x[0]", names) == ["x[0]"]
    update = ao.LowRank(torch.ones(2, 1), torch.ones(1, 3))
    assert list(ao.drop(ao.Adapter.of(dict.fromkeys(names, update)), {"mlp.0": "why"}).layout) == ["a.mlp.0.up", "x[0]"]


def test_the_first_pattern_wins() -> None:
    scaled = ao.scale(adapter(), {"layers.0-5": 0.5, "*.mlp.*": 2, "*": 1})
    for name, update in scaled.updates.items():
        layer = int(name.split(".")[2])
        assert entries(update)[0, 0] == (0.5 if layer <= 5 else 2 if "mlp" in name else 1)
    assert entries(ao.scale(adapter(), 3).updates[MODULES[0]])[0, 0] == 3


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ({"*": 1, "layers.0": 2}, "earlier patterns match all"),
        ({"layers.0-11": 1, "layers.20": 2, "*": 1}, "matches none"),
        ({"*": float("nan")}, "finite"),
        ({}, "at least one pattern"),
    ],
    ids=str,
)
def test_factors_that_leave_something_open(by: dict[str, float], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        ao.scale(adapter(), by)


def test_what_no_pattern_matches_stays_as_it_is() -> None:
    scaled = ao.scale(adapter(), {"layers.0-5": 0.5})
    assert {float(entries(update)[0, 0]) for name, update in scaled.updates.items() if int(name.split(".")[2]) > 5} == {
        1
    }
    assert {
        float(entries(update)[0, 0]) for name, update in scaled.updates.items() if int(name.split(".")[2]) <= 5
    } == {0.5}


KOHYA = [
    "lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_double_blocks_12_txt_mlp_0", "lora_unet_single_blocks_3_linear1",
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", "lora_te1_text_model_encoder_layers_7_mlp_fc1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("double_blocks.0-9", KOHYA[:1]),
        ("double_blocks.0-18", KOHYA[:2]),
        ("single_blocks.3", KOHYA[2:3]),
        ("down_blocks.1", KOHYA[3:4]),
        ("attentions.0", KOHYA[3:4]),
        ("transformer_blocks.0", KOHYA[3:4]),
        ("layers.0-11", KOHYA[4:]),
    ],
)
def test_blocks_of_names_with_underscores_for_dots(pattern: str, found: list[str]) -> None:
    assert matching(pattern, KOHYA) == found


def test_a_block_that_is_no_word_of_such_a_name() -> None:
    with pytest.raises(OptionError) as caught:
        matching("blocks.0", KOHYA)
    assert "double_blocks" in str(caught.value.hint)


def test_all_layers_may_be_named_before_the_rest() -> None:
    ao.scale(adapter(), {"layers.0-11": 0.3, "*": 1.0})


def test_whole_tensors_go_with_their_modules(tmp_path: Path) -> None:
    head = {"base_model.model.lm_head.weight": torch.ones(5, 8)}
    a = ao.open_adapter(write_adapter(tmp_path / "a", {**factors(), **head}, config(modules_to_save=["lm_head"])))
    assert not ao.select(a, "*.q_proj").full
    assert list(ao.select(a, "*_proj", "lm_head").full) == ["lm_head.weight"]
    rest = ao.drop(a, {"lm_head": "of another vocabulary"})
    assert not rest.full
    assert rest.layout.keys() == a.layout.keys()
    head_alone = ao.drop(a, {"*_proj": "the head is all that is wanted"})
    assert not head_alone.layout
    assert list(head_alone.full) == ["lm_head.weight"]
    with pytest.raises(OptionError, match="drop leaves none of 4 modules"):
        ao.drop(a, {"*": "all"})
    saved = ao.save_adapter(0.5 * ao.select(a, "*.q_proj"), tmp_path / "out")
    assert list(saved.modules) == ["layers.0.q_proj", "layers.1.q_proj"]
    with pytest.raises(UnsupportedError, match="has full tensors"):
        ao.scale(a, {"*": 0.5})


def test_biases_go_with_their_modules(tmp_path: Path) -> None:
    biases = {f"base_model.model.{module}.bias": torch.ones(12) for module in MODULES_OF_FACTORS}
    a = ao.open_adapter(write_adapter(tmp_path / "a", {**factors(), **biases}, config(bias="lora_only")))
    left = [f"{module}.bias" for module in MODULES_OF_FACTORS if not module.startswith("layers.0.")]
    for part in (ao.drop(a, {"layers.0": "why"}), ao.select(a, "layers.1")):
        assert list(part.full) == left
        assert [f"{module}.bias" for module in part.layout] == left


def test_rows_in_another_order_go_with_their_modules() -> None:
    """Of an adapter of llama.cpp: what is left has no trace of modules that are gone."""
    whole = replace(
        ao.Adapter.of({"q_proj": lowrank(), "v_proj": lowrank()}), interleaved={"q_proj": "num_attention_heads"}
    )
    assert dict(select(whole, "v_proj").interleaved) == dict(drop(whole, {"q_proj": "why"}).interleaved) == {}
    assert dict(select(whole, "q_proj").interleaved) == {"q_proj": "num_attention_heads"}


def lowrank() -> LowRank:
    return LowRank(np.ones((4, 1)), np.ones((1, 3)))
