"""The convolutions of image and video models, by their names: LoHa and LoKr are stored as matrices of these, too, and programs
that load LoRA need the dimensions of the kernel. Names are flat (see `flat`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import prod

from adapterops.errors import UnsupportedError
from adapterops.formats.diffusion.flat import DENOISER, flat
from adapterops.formats.diffusion.known_names import UNET_IN_DIFFUSERS
from adapterops.formats.diffusion.taken import models
from adapterops.formats.diffusion.unet import renamed
from adapterops.regex import Regex
from adapterops.updates.layout import PRODUCTS, Layout

BLOCK = r"(?:(?:down|up)_blocks_\d+|mid_block)"
OF_3 = re.compile(rf"conv_(?:in|out)|{BLOCK}_(?:resnets_\d+_conv[12]|(?:down|up)samplers_\d+_conv)")
"""Kernels of 3 × 3, by the names of diffusers."""

OF_1 = re.compile(rf"{BLOCK}_resnets_\d+_conv_shortcut")
AROUND = Regex(rf"{BLOCK}_attentions_\d+_proj_(?:in|out)")
"""Kernels of 1 × 1, and what is one in the first of these models, and a Linear layer in the others."""

TEXT = Regex(r".*_attn2_to_[kv]")
OF_TEXT = {768: True, 1024: False, 2048: False}
"""How many numbers of a text the attention of each of these models gets → whether it has convolutions around attention."""

OF_ANY = {
    r"(?:vace_|pose_)?patch_embedding": (1, 2, 2),
    r"(?:transformer_)?blocks_\d+_(?:ff_conv_(?:inverted|point)|mlp_(?:inverted|point)_conv_conv)": (1, 1),
    r"(?:transformer_)?blocks_\d+_(?:ff_conv_temp|mlp_t_conv)": (3, 1),
}
"""Names that are of convolutions in every model that has them (Wan, Sana) → height and width, and before them frames."""

INPUTS = Regex(r"(?:x_embedder|pos_embed|patch_embed|img_in)_proj")
OF_MODEL: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "Stable Diffusion 3": {"x_embedder_proj": (2, 2)},
    "Stable Diffusion 3 in diffusers' names": {"pos_embed_proj": (2, 2)},
    "PixArt in diffusers' names": {"pos_embed_proj": (2, 2)},
    "AuraFlow in diffusers' names": {"pos_embed_proj": ()},
    "HunyuanVideo in diffusers' names": {"x_embedder_proj": (1, 2, 2)},
    "Ernie-Image": {"x_embedder_proj": (1, 1)},
    "Mochi": {"x_embedder_proj": (2, 2)},
}
"""Inputs that have the same name in several models → the kernel in each; empty for a Linear layer."""


def with_kernels(layout: Mapping[str, Layout], *, needed: bool) -> dict[str, Layout]:
    """Layouts with the kernels that no base says, where the names do.

    Args:
        needed: whether what is written is read with them alone.

    >>> list(with_kernels({"unet.conv_in": Layout((8, 36), 2, "F32")}, needed=True).values())[0].kernel
    (4, 3, 3)

    Raises:
        UnsupportedError: LoHa or LoKr may be of a convolution or of a Linear layer, and kernels are needed.
    """
    found = {module: (each, _key(module)) for module, each in layout.items()}
    widths = {each.shape[1] for each, key in found.values() if TEXT.fullmatch(key)}
    convolved = {OF_TEXT[width] for width in widths if width in OF_TEXT}

    inner = {module: flat(module).key for module in layout if flat(module).part in ("", DENOISER)}
    of_models = models(inner.values()) if any(map(INPUTS.fullmatch, inner.values())) else ()

    def known(module: str, each: Layout, key: str) -> Layout:
        if each.kernel or each.vector or not each.matrix:
            return each
        if OF_3.fullmatch(key):
            return _with(each, (3, 3))
        if OF_1.fullmatch(key) or (AROUND.fullmatch(key) and convolved == {True}):
            return _with(each, (1, 1))
        name = inner.get(module, "")
        if own := next((kernel for pattern, kernel in OF_ANY.items() if re.fullmatch(pattern, name)), None):
            return _with(each, own)
        kernels = {OF_MODEL.get(names.model, {}).get(name) for names in of_models} if INPUTS.fullmatch(name) else set()
        if len(kernels) == 1 and (kernel := kernels.pop()) is not None:
            return _with(each, kernel)
        if (
            needed
            and each.kind in PRODUCTS
            and (INPUTS.fullmatch(name) or (AROUND.fullmatch(key) and len(convolved) != 1))
        ):
            raise UnsupportedError(
                f"is {each.kind} of a convolution in some models (Stable Diffusion 1 and 3), and of a Linear layer or another "
                "convolution in others: which of these the adapter is for is not seen, and programs that load it as LoRA need "
                "the dimensions that the weight has",
                tensor=module,
                hint="name the model with --base",
            )
        return each

    return {module: known(module, each, key) for module, (each, key) in found.items()}


def _with(layout: Layout, kernel: tuple[int, ...]) -> Layout:
    """A layout with a kernel, where its columns can be of one."""
    channels, rest = divmod(layout.shape[1], prod(kernel))
    return replace(layout, kernel=(channels, *kernel)) if kernel and not rest else layout


def flattened(layout: Mapping[str, Layout]) -> tuple[str, ...]:
    """The modules whose factors are matrices, and are of a convolution by their names.

    >>> flattened({"unet.conv_in": Layout((8, 36), 2, "F32"), "unet.conv_out": Layout((8, 36), 2, "F32", kernel=(4, 3, 3))})
    ('unet.conv_in',)
    """
    return tuple(module for module, each in with_kernels(layout, needed=False).items() if each != layout[module])


def _key(module: str) -> str:
    """The name that diffusers has for a module of a denoiser; empty for others."""
    key, part = flat(module)
    names = (key, *renamed(key)) if part in ("", DENOISER) else ()
    return next((name for name in names if re.fullmatch(UNET_IN_DIFFUSERS, name)), "")
