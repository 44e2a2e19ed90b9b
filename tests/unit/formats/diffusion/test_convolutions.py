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
    with pytest.raises(UnsupportedError, match="a convolution in Stable Diffusion 1") as raised:
        with_kernels({AROUND: LAYOUT}, needed=True)
    assert raised.value.hint == "name the model with --base"
    assert with_kernels({AROUND: LAYOUT}, needed=False) == {AROUND: LAYOUT}
    lora = {AROUND: Layout((8, 36), 2, "F32")}  # whose tensors have the dimensions of the weight
    assert with_kernels(lora, needed=True) == lora
    assert flattened(lora) == ()
