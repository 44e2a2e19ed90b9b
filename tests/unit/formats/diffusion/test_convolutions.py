"""Which modules are convolutions, by their names."""

from __future__ import annotations

import pytest

from adapterops.errors import UnsupportedError
from adapterops.formats.diffusion.convolutions import flattened, with_kernels
from adapterops.formats.diffusion.unet import OTHERS
from adapterops.updates.layout import Layout

AROUND, KEY = (
    "lora_unet_mid_block_attentions_0_proj_in",
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k",
)


def test_both_names_of_a_layer_are_of_one_kernel() -> None:
    """As the table of the UNet has them; norms and embeddings of time have none."""
    found = {
        key: [with_kernels({f"lora_unet_{name}": LAYOUT}, needed=True)[f"lora_unet_{name}"].kernel for name in names]
        for key, names in OTHERS.items()
    }
    for key, others in found.items():
        own = with_kernels({f"lora_unet_{key}": LAYOUT}, needed=True)[f"lora_unet_{key}"].kernel
        assert set(others) == {own}
        plain = ("norm", "emb", "layers_0", "out_0")
        assert bool(own) == (not any(word in key for word in plain)), key


LAYOUT = Layout((8, 36), 2, "F32", kind="LoHa")


@pytest.mark.parametrize(("width", "kernel"), [(768, (36, 1, 1)), (1024, ()), (2048, ())])
def test_what_is_around_attention_is_told_by_the_width_of_a_text(width: int, kernel: tuple[int, ...]) -> None:
    layout = {AROUND: LAYOUT, KEY: Layout((8, width), 2, "F32")}
    assert with_kernels(layout, needed=True)[AROUND].kernel == kernel


def test_what_is_not_told_is_refused_where_it_is_needed() -> None:
    with pytest.raises(UnsupportedError, match="a convolution in some models") as raised:
        with_kernels({AROUND: LAYOUT}, needed=True)
    assert raised.value.hint == "name the model with --base"
    assert with_kernels({AROUND: LAYOUT}, needed=False) == {AROUND: LAYOUT}
    lora = {AROUND: Layout((8, 36), 2, "F32")}  # whose tensors have the dimensions of the weight
    assert with_kernels(lora, needed=True) == lora
    assert flattened(lora) == ()
    with pytest.raises(UnsupportedError, match="a convolution in some models"):
        with_kernels({"transformer.patch_embed.proj": LAYOUT}, needed=True)


@pytest.mark.parametrize(
    ("module", "others", "columns", "kernel"),
    [
        ("lora_unet_patch_embedding", [], 64, (16, 1, 2, 2)),
        ("diffusion_model.vace_patch_embedding", [], 384, (96, 1, 2, 2)),
        ("transformer.transformer_blocks.3.ff.conv_inverted", [], 36, (36, 1, 1)),
        ("lora_unet_blocks_3_mlp_point_conv_conv", [], 36, (36, 1, 1)),
        ("transformer.transformer_blocks.3.ff.conv_temp", [], 36, (12, 3, 1)),
        ("transformer.pos_embed.proj", ["transformer.transformer_blocks.23.ff_context.net.2"], 64, (16, 2, 2)),
        ("lora_unet_x_embedder_proj", ["lora_unet_joint_blocks_0_x_block_attn_qkv"], 64, (16, 2, 2)),
        ("transformer.pos_embed.proj", ["transformer.joint_transformer_blocks.0.ff.linear_1"], 64, ()),
    ],
)
def test_inputs_of_other_models(module: str, others: list[str], columns: int, kernel: tuple[int, ...]) -> None:
    """As diffusers has them: Wan, Sana, Stable Diffusion 3, and AuraFlow, whose input is a Linear layer."""
    layout = {module: Layout((8, columns), 2, "F32", kind="LoHa"), **dict.fromkeys(others, LAYOUT)}
    assert with_kernels(layout, needed=True)[module].kernel == kernel
