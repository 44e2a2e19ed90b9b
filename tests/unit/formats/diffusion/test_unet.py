"""Blocks of the UNet of Stable Diffusion under both of their names."""

from __future__ import annotations

import pytest

from adapterops.formats.diffusion.unet import ATTENTIONS, PAIRS, either_way, renamed


@pytest.mark.parametrize(
    ("authors", "diffusers"),
    [
        (
            "input_blocks_4_1_transformer_blocks_0_attn1_to_q",
            "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
        ),
        ("output_blocks_5_1_proj_out", "up_blocks_1_attentions_2_proj_out"),
        ("middle_block_2_out_layers_3", "mid_block_resnets_1_conv2"),
        ("input_blocks_3_0_op_bias", "down_blocks_0_downsamplers_0_conv_bias"),
        ("out_2", "conv_out"),
    ],
)
def test_each_name_has_the_other(authors: str, diffusers: str) -> None:
    assert list(renamed(authors)) == [diffusers]
    assert authors in renamed(diffusers)


def test_every_pair_is_found_from_both_ends() -> None:
    for one, other in [*PAIRS, *((f"{a}_norm", f"{b}_norm") for a, b in ATTENTIONS.items())]:
        assert other in renamed(one)
        assert one in renamed(other)


def test_an_upsampler_may_be_in_two_places() -> None:
    assert list(renamed("up_blocks_0_upsamplers_0_conv")) == ["output_blocks_2_1_conv", "output_blocks_2_2_conv"]
    assert either_way([("a", "x"), ("b", "x")]) == {"a": ["x"], "x": ["a", "b"], "b": ["x"]}


@pytest.mark.parametrize("name", ["layers_0_self_attn_q_proj", "middle_block_1", "input_blocks_4_1", "conv_in_extra"])
def test_other_names_have_none(name: str) -> None:
    assert not list(renamed(name))
