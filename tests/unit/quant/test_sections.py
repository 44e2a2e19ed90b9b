"""What a config says of one module, where modules of a model differ."""

from __future__ import annotations

from typing import Any

import pytest

from adapterops.errors import UnsupportedError
from adapterops.quant.header import Header
from adapterops.quant.sections import auto_round_section, block_size, compressed_weights, gptq_section

FOUR, EIGHT = {"num_bits": 4}, {"num_bits": 8}
NAME = "model.layers.0.mlp.down_proj.weight"


def header(**section: Any) -> Header:
    return Header({}, {"quantization_config": section}, lambda name: b"", lambda name: None)


def groups(*found: Any) -> Header:
    return header(quant_method="compressed-tensors", config_groups=dict(zip("abc", found, strict=False)))


def group(weights: Any, *targets: str) -> dict[str, Any]:
    return {"weights": weights, "targets": list(targets)}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([group(FOUR, "Linear")], FOUR),
        ([group(FOUR, "Linear"), group(EIGHT, "re:.*down_proj")], EIGHT),
        ([group(FOUR, "re:.*down_proj"), group(EIGHT, NAME.removesuffix(".weight"))], EIGHT),
        ([group(FOUR, "Linear"), group(EIGHT, "re:.*up_proj")], FOUR),
        ([group(FOUR, "Linear"), group(EIGHT, "re:down_proj")], FOUR),  # a pattern is for the beginning of a name
        ([group(FOUR, "re:.*down_proj"), group(EIGHT, "re:.*mlp.*")], None),
        ([group(FOUR, "re:.*up_proj"), group(EIGHT, "Embedding")], None),
        ([group(FOUR, "re:("), group(EIGHT, "Linear")], EIGHT),
        ([group(FOUR, "a"), group(FOUR, "b")], FOUR),
        ([group(None, "Linear")], None),
    ],
)
def test_a_module_falls_under_the_group_that_names_it(found: list[Any], expected: Any) -> None:
    assert compressed_weights(groups(*found), NAME) == expected


def test_nothing_is_said_by_another_quantizer() -> None:
    assert compressed_weights(header(quant_method="gptq", config_groups={"a": group(FOUR, "Linear")}), NAME) is None


def test_gptq_has_rules_for_some_modules() -> None:
    rules = {"-:lm_head": {}, "+:.*up_proj": {"bits": 3}, r".*\.down_proj$": {"bits": 8}, ".*": {"bits": 2}}
    assert gptq_section(header(bits=4, dynamic=rules), NAME)["bits"] == 8
    assert gptq_section(header(bits=4, dynamic={"+:down_proj": {"bits": 8}}), NAME)["bits"] == 4
    assert gptq_section(header(bits=4), NAME)["bits"] == 4


AUTO = {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4, "group_size": 128}


@pytest.mark.parametrize(
    ("extra", "bits"),
    [
        ({}, 4),
        ({NAME.removesuffix(".weight"): {"bits": 8}, r".*\.mlp\..*": {"bits": 2}}, 8),  # a name before a pattern
        ({r".*\.mlp\..*": {"bits": 8}, r".*self_attn.*": {"bits": 2}}, 8),
        ({r"down_proj$": {"bits": 8}, r"layers\.[0-3]\.mlp": {"bits": 8}}, 8),  # a pattern is found anywhere
        ({"down_proj": {"bits": 8}}, 4),  # a name is all of one
        ({"([": {"bits": 8}}, 4),
        (None, 4),
    ],
)
def test_auto_round_has_patterns(extra: Any, bits: int) -> None:
    found = auto_round_section(header(**AUTO, extra_config=extra), NAME)
    assert (found["quant_method"], found["bits"], found["group_size"]) == ("gptq", bits, 128)


def test_auto_round_says_two_things() -> None:
    extra = {".*mlp.*": {"bits": 8}, ".*down.*": {"bits": 2}}
    with pytest.raises(UnsupportedError, match=r"several patterns for this module \(\.\*mlp\.\*, \.\*down\.\*\)"):
        auto_round_section(header(**AUTO, extra_config=extra), NAME)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"weight_block_size": [64, 32]}, [64, 32]),
        ({"quant_algo": "FP8_PB_WO"}, [128, 128]),
        ({"quant_algo": "MXFP8"}, [1, 32]),
        ({"quant_algo": "FP8"}, None),
    ],
)
def test_the_size_of_blocks(section: dict[str, Any], expected: Any) -> None:
    assert block_size(header(**section), NAME) == expected


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"strategy": "block", "block_structure": [128, 64]}, [128, 64]),
        ({"strategy": "block", "block_structure": "128x64"}, [128, 64]),
        ({"strategy": "block", "block_structure": "wide"}, "wide"),
        ({"strategy": "group", "group_size": 32}, [1, 32]),
        ({"strategy": "channel"}, None),
    ],
)
def test_the_size_of_the_blocks_of_a_group(weights: dict[str, Any], expected: Any) -> None:
    assert block_size(groups(group(weights, "Linear")), NAME) == expected
