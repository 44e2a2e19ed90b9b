"""The tables of families: nothing is there twice, and the rows of parts fill what they are in."""

from __future__ import annotations

import pytest

from adapterops.formats.diffusion.families import (
    JOINED,
    RENAMED,
    by_authors,
    divided,
    exchanged,
    first_rows,
    forms,
    renamed,
    weight_of_first_rows,
    wholes,
    whose,
)
from adapterops.formats.diffusion.table import Joined

PARTS = Joined("whole", ("q", "k", "v", "mlp"), (1, 2), (0, 1, 2))


def test_no_name_is_whole_and_renamed() -> None:
    assert not {(each.whole, *each.parts) for each in JOINED if len(each.parts) == 1} & set(RENAMED)
    assert len({(each.whole, each.parts) for each in JOINED}) == len(JOINED)
    assert all(one != other for one, other in RENAMED)


def test_there_and_back() -> None:
    for authors, other in RENAMED:
        one, two = authors.replace("#", "7"), other.replace("#", "7")
        assert two in renamed(one)
        assert one in renamed(two)
    for each in JOINED:
        assert (each, "7" if "#" in each.whole else "") in list(divided(each.whole.replace("#", "7")))
        for index, part in enumerate(each.parts):
            assert (each, index, "7" if "#" in part else "") in list(wholes(part.replace("#", "7")))


def test_names_of_xlabs() -> None:
    assert by_authors("double_blocks_3_processor_qkv_lora2") == "double_blocks_3_txt_attn_qkv"
    assert by_authors("double_blocks_3_img_attn_qkv") is None
    assert weight_of_first_rows("single_blocks_3_processor_qkv_lora") == "single_blocks_3_linear1"


def test_the_first_number_is_the_block() -> None:
    assert ("transformer_blocks_#_ff_net_0_proj", "12") in forms("transformer_blocks_12_ff_net_0_proj")
    assert forms("img_in") == [("img_in", "")]


@pytest.mark.parametrize(
    ("known", "height", "width", "found"),
    [
        ({0: 8, 1: 8, 2: 8, 3: 32}, 56, 8, [0, 8, 16, 24, 56]),
        ({3: 32}, 56, 8, [0, 8, 16, 24, 56]),
        ({0: 8}, 56, 8, [0, 8, 16, 24, 56]),
        ({1: 4, 0: 8}, 48, 8, [0, 8, 12, 16, 48]),
        ({0: 8, 1: 8, 2: 4, 3: 32}, 52, 8, None),
        ({3: 60}, 56, 8, None),
        ({0: 8, 1: 8, 2: 8, 3: 8}, 56, 8, None),
    ],
)
def test_rows_of_parts(known: dict[int, int], height: int, width: int, found: list[int] | None) -> None:
    assert first_rows(PARTS, known, height, width) == found


def test_grouped_keys_and_values() -> None:
    qkv = next(each for each in JOINED if each.whole == "layers_#_attention_qkv")
    assert first_rows(qkv, {0: 16}, 24, 16) == [0, 16, 20, 24]
    assert first_rows(qkv, {2: 4}, 24, 16) == [0, 16, 20, 24]
    assert first_rows(qkv, {0: 8}, 32, 16) is None  # k and v would be longer than q
    assert first_rows(qkv, {0: 8, 1: 12, 2: 12}, 32, 16) == [0, 8, 20, 32]
    assert first_rows(qkv, {}, 24, 16) is None or first_rows(qkv, {}, 24, 16) == [0, 8, 16, 24]


def test_whose_names_are_known_where_two_weights_are_exchanged() -> None:
    assert list(exchanged("blocks_3_norm2_bias")) == [("HunyuanDiT", ["blocks_3_norm2", "blocks_3_norm3"])]
    assert list(exchanged("blocks_3_norm1")) == []
    for alone in (False, True):
        assert whose("HunyuanDiT", ["blocks_3_attn1_Wqkv"], only_exchanged=alone) == {"its authors"}
        assert whose("HunyuanDiT", ["time_extra_emb_pooler_q_proj", "mlp_t5_0"], only_exchanged=alone) == {
            "diffusers",
            "its authors",
        }
    assert whose("HunyuanDiT", ["blocks_3_attn1_to_q_bias"]) == {"diffusers"}
    assert whose("HunyuanDiT", ["blocks_3_attn1_to_q"], only_exchanged=True) == set()  # Wan has these, too
