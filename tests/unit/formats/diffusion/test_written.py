"""What modules are called in files that are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adapterops.errors import UnsupportedError
from adapterops.formats.diffusion.flat import flat
from adapterops.formats.diffusion.written import dotted, in_pipeline, underscored

MODULES = ["unet.down_blocks.0.resnets.0.conv1", "transformer_blocks.0.attn.to_q", "text_encoder_2.text_model.fc1"]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("named", [underscored, dotted, in_pipeline])
def test_every_name_is_of_the_same_weight(module: str, named: Callable[[str], str]) -> None:
    assert flat(named(module)).meets(flat(module))
    assert named(named(module)) == named(module)


@pytest.mark.parametrize("named", [dotted, in_pipeline])
def test_the_second_transformer_of_a_pipeline_is_a_component(named: Callable[[str], str]) -> None:
    assert named("transformer_2.blocks.0.attn1.to_q") == "transformer_2.blocks.0.attn1.to_q"


@pytest.mark.parametrize("named", [underscored, dotted])
def test_which_text_encoder_has_to_be_said(named: Callable[[str], str]) -> None:
    """A name without a prefix would be taken for the denoiser's, and loaded by no program."""
    with pytest.raises(UnsupportedError, match="does not say which one"):
        named("text_model.encoder.layers.0.mlp.fc1")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("lora_unet_blocks_0_attn_q", "underscores in the place of dots"),
        ("double_blocks.0.img_attn.qkv", "the name that the authors"),
        ("diffusion_model.double_blocks.0.img_attn.qkv", "the name that the authors"),
        ("transformer.single_blocks.0.linear1", "the name that the authors"),
        ("cond_stage_model.transformer.text_model.fc1", "its part"),
    ],
)
def test_what_diffusers_calls_otherwise_needs_a_base(module: str, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said) as caught:
        in_pipeline(module)
    assert "--base" in str(caught.value.hint)


def test_names_of_one_model_s_authors_that_are_those_of_diffusers_in_another() -> None:
    """Z-Image has them everywhere, and of Lumina 2 only the authors do."""
    assert in_pipeline("layers.0.feed_forward.w1") == "transformer.layers.0.feed_forward.w1"
