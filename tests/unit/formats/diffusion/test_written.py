"""What modules are called in files that are written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from adapterops.errors import UnsupportedError
from adapterops.formats.diffusion.flat import flat
from adapterops.formats.diffusion.spellings import parse
from adapterops.formats.diffusion.taken import encoders_left
from adapterops.formats.diffusion.written import (
    component_of,
    dotted,
    halves,
    in_pipeline,
    of_no_layer,
    single,
    underscored,
)
from adapterops.updates.layout import DIFFERENCE, Layout

MODULES = ["unet.down_blocks.0.resnets.0.conv1", "transformer_blocks.0.attn.to_q", "text_encoder_2.text_model.fc1"]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("named", [underscored, dotted, in_pipeline])
def test_every_name_is_of_the_same_weight(module: str, named: Callable[[str], str]) -> None:
    assert flat(named(module)).meets(flat(module))
    assert named(named(module)) == named(module)


@pytest.mark.parametrize(
    ("module", "A", "alpha"),
    [
        ("unet.{}.attn2.to_out.0", "{}.attn2.processor.to_out_lora.down.weight", "{}.attn2.processor.to_out"),
        ("{}.attn1.to_q", "{}.attn1.processor.to_q_lora.down.weight", "{}.attn1.processor.to_q"),
        ("unet.{}.ff.net.2", "{}.ff.net.2.lora.down.weight", "{}.ff.net.2"),
    ],
)
def test_a_unet_in_the_names_that_comfyui_has(module: str, A: str, alpha: str) -> None:
    """Its key map has `unet.` and the name in diffusers, with `.processor.to_` for `.to_` and without the 0 of `to_out.0`."""
    above = "mid_block.attentions.0.transformer_blocks.0"
    start = dotted(module.format(above), "unet")
    assert (halves(start)[0], start) == (A.format(f"unet.{above}"), alpha.format(f"unet.{above}"))
    own = f"unet.{module.removeprefix('unet.').format(above)}"
    assert {parse(name).module for name in (*halves(start), f"{start}.alpha", f"{start}.dora_scale")} == {own}


def test_a_prefix_is_at_the_start_alone() -> None:
    """`net.` is one, and the name of a layer."""
    inner = "output_blocks.5.1.transformer_blocks.0.ff.net.2"
    assert dotted(f"model.diffusion_model.{inner}") == f"diffusion_model.{inner}"
    assert dotted("net.blocks.0.mlp.net.0") == "diffusion_model.blocks.0.mlp.net.0"


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2", "text_encoder_3"])
def test_t5_in_the_names_that_comfyui_has(part: str) -> None:
    """It counts encoders from 1 in kohya's names, and has its own for a file with dots; of diffusers' it has CLIP's."""
    layer, number = "encoder.block.0.layer.0.SelfAttention.q", part[-1] if part[-1].isdecimal() else "1"
    named = [underscored(f"{part}.{layer}"), f"{dotted(f'{part}.{layer}')}"]
    assert named == [f"lora_te{number}_{layer.replace('.', '_')}", f"text_encoders.transformer.{layer}"]
    assert not encoders_left({name: f"{name}.lora_A.weight" for name in named})
    assert encoders_left({f"{part}.{layer}": f"{part}.{layer}.lora_A.weight"})


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
    """Z-Image has them everywhere, and of Lumina 2 only the authors do; so has ACE-Step those of Stable Audio."""
    for name in ("layers.0.feed_forward.w1", "layers.0.cross_attn.to_q", "transformer_blocks.0.ff.net.0.proj"):
        assert in_pipeline(name) == f"transformer.{name}"


def test_differences_of_what_is_no_layer_s_matrix() -> None:
    """Those of matrices, and LoRA of whatever name, are none."""
    shapes = {
        "blocks.0.q": (8, 4),
        "blocks.0.q.bias": (1, 8),
        "blocks.0.norm3": (1, 8),
        "blocks.0.modulation": (6, 8),
        "blocks.0.scale_shift_table": (6, 8),
    }
    layout = {module: Layout(shape, min(shape), "F32", True, DIFFERENCE) for module, shape in shapes.items()}
    assert of_no_layer(layout | {"blocks.1.modulation": Layout((6, 8), 2, "F32")}) == {
        "blocks.0.q.bias": "a vector",
        "blocks.0.norm3": "a vector",
        "blocks.0.modulation": "a parameter that is no layer's",
        "blocks.0.scale_shift_table": "a parameter that is no layer's",
    }


def test_comfyui_has_a_difference_of_any_parameter_and_kohya_one_of_modulations() -> None:
    """ComfyUI takes `diff` after the whole name of a tensor that is no weight, of its very shape, and knows no `diff_m`."""
    stack, matrix = (Layout((6, 8), 6, "F32", True, DIFFERENCE, kernel=kernel) for kernel in ((), (8,)))
    assert single("blocks.0.modulation", stack, dotted) == ("diffusion_model.blocks.0.modulation.diff", (1, 6, 8))
    assert single("scale_shift_table", matrix, dotted) == ("diffusion_model.scale_shift_table.diff", (6, 8))
    assert single("modulation", matrix, dotted) == ("diffusion_model.modulation.diff", (6, 8))
    kohya = partial(single, named=underscored, parameters=False)
    assert kohya("blocks.0.modulation", stack) == ("lora_unet_blocks_0.diff_m", (1, 6, 8))
    assert kohya("blocks.0.modulation", matrix) == ("lora_unet_blocks_0_modulation.diff", (6, 8))
    for module, layout in (("scale_shift_table", matrix), ("pos_embed", stack)):
        with pytest.raises(UnsupportedError, match="no layer's") as caught:
            kohya(module, layout)
        assert "--to comfy" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("names", "component"),
    [
        (["transformer_blocks.0.attn.to_q", "context_embedder", "time_embedding.linear_1"], "transformer"),
        (["single_transformer_blocks.0.proj_mlp", "x_embedder"], "transformer"),
        (["down_blocks.0.resnets.0.conv1", "conv_in", "time_embedding.linear_1"], "unet"),
        (["layers.0.self_attention.to_q", "time_embedding.linear_1"], ""),
        (["transformer_blocks.0.attn1.to_q", "patchify_proj"], ""),
        (["transformer_blocks.0.attn.to_q", "transformer_blocks.0.txt_mlp.net.2", "img_in"], ""),
        (["transformer_blocks.0.audio_attn1.to_q"], ""),
        (["blocks.0.attn1.to_q"], ""),
        ([], ""),
    ],
)
def test_all_modules_are_in_the_component_that_their_names_tell(names: list[str], component: str) -> None:
    assert component_of(names) == component
    for named, root in ((dotted, component or "diffusion_model"), (in_pipeline, component or "transformer")):
        assert [named(name, component) for name in names] == [f"{root}.{name}" for name in names]
    start = "lora_transformer_" if component == "transformer" else "lora_unet_"
    assert all(underscored(name, component).startswith(start) for name in names)
