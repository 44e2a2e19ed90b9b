"""Which modules diffusers loads, by their names, of models that are known: as its pipelines did when they were run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from adapterops.formats.diffusion.by_diffusers import by_diffusers
from adapterops.formats.diffusion.taken import Found, denoiser, models

UP, AB = "lora_down", "lora_A"


def found(names: Sequence[str], end: str = "", said: str = "", base: Sequence[str] = (), alphas: int = 0) -> Found:
    """With the factors that names with underscores, or with dots, have.

    Args:
        alphas: how many of the names have one.
    """
    ends = {name: end or (AB if "." in name else UP) for name in names}
    modules = denoiser({name: f"{name}.{each}.weight" for name, each in ends.items()})
    known = models([each.key for each in modules.values()], said, base)
    tensors = {name: [each.spelled] for name, each in modules.items()}
    for name in [*modules][:alphas]:
        tensors[name].append(f"{name}.alpha")
    return by_diffusers(modules, known, base, tensors)


FLUX = ["double_blocks.18.img_attn.qkv", "single_blocks.37.linear1"]
FLUX_IN_DIFFUSERS = ["transformer_blocks.18.attn.to_q", "single_transformer_blocks.37.attn.to_v"]
FLUX_2 = ["double_blocks.7.img_attn.qkv", "single_blocks.47.linear1", "single_stream_modulation.lin"]
HUNYUAN = ["double_blocks.19.img_attn_qkv", "single_blocks.39.linear2", "txt_in.c_embedder.linear_1"]
Z_IMAGE = ["layers.29.attention.qkv", "layers.29.feed_forward.w1"]
Z_IN_DIFFUSERS = ["layers.29.attention.to_q", "layers.29.attention.to_out.0"]
QWEN = ["transformer_blocks.59.attn.to_q", "transformer_blocks.59.img_mlp.net.2"]
KREA = ["blocks.0.attn.wq", "blocks.0.mlp.up", "tproj.1"]
WAN = [
    *(f"blocks.0.{one}_attn.{part}" for one in ("self", "cross") for part in "qkvo"),
    *("blocks.0.ffn.0", "blocks.0.ffn.2"),
]
REFINED = ["attention.qkv", "attention.out", *(f"feed_forward.w{each}" for each in (1, 2, 3))]
LUMINA = [
    *(f"{root}.0.{each}" for root in ("layers", "noise_refiner", "context_refiner") for each in REFINED),
    *(f"{root}.0.adaLN_modulation.1" for root in ("layers", "noise_refiner")),
]
SD_3 = ["joint_blocks.0.x_block.attn.qkv"]
LTX = ["transformer_blocks.27.attn1.to_q", "transformer_blocks.0.ff.net.2"]
XL = ["input_blocks.8.1.transformer_blocks.0.attn1.to_q", "output_blocks.5.1.proj_in"]
SD_1 = ["input_blocks.8.1.transformer_blocks.0.attn1.to_q", "output_blocks.11.1.proj_in"]
UNET = ["down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "conv_in"]
ACE = ["layers.0.self_attn.q_proj", "layers.0.cross_attn.o_proj", "time_embed.linear_1"]


@pytest.mark.parametrize(
    ("start", "end", "names", "alphas", "expected"),
    [
        ("lora_unet_", UP, FLUX, 2, "right"),
        ("lora_unet_", UP, [*FLUX, "img_in"], 2, [2]),
        ("lora_unet_", UP, [*FLUX, "double_blocks.3.other"], 2, "refused"),
        ("lora_unet_", UP, FLUX_IN_DIFFUSERS, 2, "refused"),
        ("lora_transformer_", UP, FLUX_IN_DIFFUSERS, 2, "right"),
        ("lora_transformer_", UP, FLUX_IN_DIFFUSERS, 0, "refused"),
        ("lora_transformer_", UP, [*FLUX_IN_DIFFUSERS, "transformer_blocks.18.ff.net.2"], 3, "refused"),
        ("lora_transformer_", UP, FLUX, 2, "refused"),
        ("lycoris_", UP, FLUX, 2, "refused"),
        ("diffusion_model.", UP, FLUX, 2, "right"),
        ("diffusion_model.", AB, FLUX, 0, [0, 1]),
        ("", AB, FLUX, 2, [0, 1]),
        ("base_model.model.", AB, FLUX, 0, "refused"),
        ("transformer.", AB, FLUX_IN_DIFFUSERS, 2, "right"),
        ("transformer.", UP, FLUX_IN_DIFFUSERS, 0, "right"),
        ("transformer.", UP, FLUX_IN_DIFFUSERS, 1, "changed 0"),
        ("transformer.base_model.model.", AB, FLUX_IN_DIFFUSERS, 0, "refused"),
        ("lora_unet_", UP, FLUX_2, 3, [2]),
        ("diffusion_model.", AB, FLUX_2, 0, "right"),
        ("diffusion_model.", AB, FLUX_2, 1, "refused"),
        ("diffusion_model.", UP, FLUX_2, 0, [0, 1, 2]),
        ("base_model.model.", AB, FLUX_2, 0, "right"),
        ("diffusion_model.", AB, HUNYUAN, 0, "right"),
        ("transformer.", AB, HUNYUAN, 0, "right"),
        ("diffusion_model.", AB, [*HUNYUAN, "final_layer.adaLN_modulation.1"], 0, "changed 3"),
        ("diffusion_model.", AB, [each.replace("n_qkv", "n.qkv") for each in HUNYUAN], 0, [0, 1, 2]),
        ("diffusion_model.", AB, HUNYUAN, 1, "refused"),
        ("lora_unet_", UP, HUNYUAN, 3, "refused"),
        ("lora_unet_", UP, [*Z_IMAGE, "x_embedder"], 3, [2]),
        ("diffusion_model.", AB, Z_IMAGE, 0, [0]),
        ("diffusion_model.", AB, Z_IN_DIFFUSERS, 2, "right"),
        ("", AB, Z_IN_DIFFUSERS, 2, "right"),
        ("", AB, Z_IN_DIFFUSERS, 0, [0, 1]),
        ("lycoris_", UP, Z_IN_DIFFUSERS, 2, "refused"),
        ("lora_unet_", UP, QWEN, 2, "right"),
        ("diffusion_model.", UP, QWEN, 2, "right"),
        ("", UP, QWEN, 0, [0, 1]),
        ("transformer.", AB, QWEN, 2, "refused"),
        ("diffusion_model.", AB, KREA, 0, "right"),
        ("diffusion_model.", AB, KREA, 1, "refused"),
        ("base_model.model.", AB, KREA, 0, "right"),
        ("lora_unet_", UP, KREA, 3, [0, 1, 2]),
        ("lora_unet_", UP, WAN, 10, "right"),
        ("lora_unet_", UP, WAN[:-1], 9, "refused"),
        ("lora_unet_", UP, [each.replace("0", "1", 1) for each in WAN], 10, "refused"),
        ("lora_transformer_", UP, WAN, 10, [*range(10)]),
        ("diffusion_model.", AB, [*WAN[:3], "time_embedding.0"], 3, "right"),
        ("diffusion_model.", AB, ["time_embedding.0", *WAN[:3]], 1, "refused"),
        ("diffusion_model.", AB, ["blocks.0.attn1.to_q"], 0, "refused"),
        ("diffusion_model.", AB, LUMINA, 0, "right"),
        ("diffusion_model.", AB, LUMINA[1:], 0, "refused"),
        ("diffusion_model.", UP, LUMINA, 0, "refused"),
        ("lora_unet_", UP, ["layers.25.attention.qkv"], 1, [0]),
        ("lora_unet_", UP, SD_3, 1, [0]),
        ("lycoris_", UP, SD_3, 1, "refused"),
        ("diffusion_model.", AB, SD_3, 0, [0]),
        ("diffusion_model.", AB, SD_3, 1, "refused"),
        ("lora_unet_", UP, XL, 2, "right"),
        ("lora_unet_", UP, SD_1, 2, "refused"),
        ("lora_unet_", UP, [*SD_1, "input_blocks.0.0"], 3, [0, 1]),
        ("lora_unet_", UP, UNET, 2, "right"),
        ("lora_unet_", UP, [*UNET, "add_embedding.linear_1"], 3, [2]),
        ("unet.", AB, UNET, 1, "refused"),
        ("diffusion_model.", AB, ACE, 0, "refused"),
        ("base_model.model.", AB, ACE, 0, "right"),
        ("lora_unet_", UP, ["blocks.0.attn.qkv_proj", "blocks.0.attn.to_q"], 2, "refused"),
        ("lora_unet_", UP, ["double_blocks.0.img_mlp.fc1"], 1, [0]),
    ],
    ids=str,
)  # fmt: skip
def test_what_becomes_of_names(start: str, end: str, names: list[str], alphas: int, expected: str | list[int]) -> None:
    own = [start + (name if start.endswith(".") or not start else name.replace(".", "_")) for name in names]
    judged = found(own, end, alphas=alphas)
    assert (judged.stops, judged.unsure) == (expected == "refused", ())
    if expected != "refused":
        changed = [int(expected.split()[1])] if isinstance(expected, str) and "changed" in expected else []
        left = expected if isinstance(expected, list) else []
        assert judged == Found(tuple(own[each] for each in left), changed=tuple(own[each] for each in changed))


@pytest.mark.parametrize(
    ("names", "left", "unsure"),
    [
        (["transformer.transformer_blocks.7.attn.to_q", "transformer.single_transformer_blocks.37.proj_mlp"], [], []),
        (["transformer.transformer_blocks.7.attn.to_q", "transformer.transformer_blocks.7.ff.linear1"], [1], []),
        (["transformer.transformer_blocks.3.attn.to_q", "transformer.transformer_blocks.3.img_ff.mlp_in"], [1], []),
        (["transformer.layers.3.attention.to_q", "transformer.layers.3.attention.qkv"], [1], []),
        (["transformer.blocks.39.attn2.add_k_proj", "transformer.condition_embedder.time_proj"], [], []),
        (["unet.down_blocks.1.attentions.0.proj_in", "unet.conv_in", "unet.mid_block.other"], [2], []),
        (["transformer.unheard_of.0.layer"], [], [0]),
    ],
)
def test_which_names_of_diffusers_are_layers(names: list[str], left: list[int], unsure: list[int]) -> None:
    assert found(names) == Found(tuple(names[each] for each in left), tuple(names[each] for each in unsure))
    flat_names = [each.partition(".")[2].replace(".", "_") for each in names]
    assert found(names, base=flat_names) == Found()


@pytest.mark.parametrize(
    "names", [["layers_0_attn_to_q", "x_embedder"], ["layers_0_attention_qkv", "layers_0_attention_out"]]
)
def test_a_base_by_its_authors_shows_no_names_of_diffusers_and_one_of_diffusers_shows_all(names: list[str]) -> None:
    """Of Lumina 2, whose authors have names that layers of Z-Image have in diffusers."""
    own = [f"transformer.layers.0.{each}" for each in ("attention.qkv", "attention.out", "feed_forward.w1")]
    expected = own if "x_embedder" in names else own[:2]
    found_there = found([*own, "transformer.x_embedder"], base=names)
    assert {*expected} <= {*found_there.left}
    assert "transformer.x_embedder" not in found_there.left


def test_a_base_by_its_authors_may_have_most_names_of_diffusers() -> None:
    """As that of LTX-Video."""
    names = [
        "transformer.proj_in",
        "transformer.transformer_blocks.0.attn1.to_q",
        "transformer.transformer_blocks.0.ff.net.2",
    ]
    there = ["patchify_proj", "transformer_blocks_0_attn1_to_q", "transformer_blocks_0_ff_net_2"]
    assert found(names, base=there) == Found()


def test_a_layer_that_peft_has_no_lora_for_stops_it_also_where_the_base_has_it() -> None:
    names = [f"transformer.transformer_blocks.0.{each}" for each in ("attn1.to_q", "ff.conv_depth")]
    flat_names = [each.partition(".")[2].replace(".", "_") for each in names]
    for base in ([], flat_names):
        assert found(names, base=base) == Found((names[1],), (), (), stops=True)


@pytest.mark.parametrize("base", ["authors", "diffusers"])
def test_what_only_the_model_settles(base: str) -> None:
    """Its header, or a base, whose names may be those of diffusers."""
    names = ["lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_double_blocks_0_txt_attn_proj"]
    unsure = found(names, alphas=2)
    assert (unsure.unsure, unsure.models) == (tuple(names), ("Flux", "FLUX.2", "HunyuanVideo"))
    assert found(names, said="flux-1-dev/lora", alphas=2) == Found()
    flux, hunyuan = (
        (FLUX, ["double_blocks.19.img_mod.linear", "single_blocks.39.linear1"])
        if base == "authors"
        else (FLUX_IN_DIFFUSERS, ["transformer_blocks.19.attn.to_q", "single_transformer_blocks.39.proj_mlp"])
    )
    assert found(names, base=[each.replace(".", "_") for each in flux], alphas=2) == Found()
    assert found(names, base=[each.replace(".", "_") for each in hunyuan]).stops


def test_names_of_no_model() -> None:
    """Of kohya's none is loaded; what becomes of others is not known."""
    assert found(["lora_unet_unheard_of_0_layer"]) == Found(("lora_unet_unheard_of_0_layer",))
    assert found(["diffusion_model.unheard_of.0.layer"]) == Found((), ("diffusion_model.unheard_of.0.layer",))


@pytest.mark.parametrize(
    ("names", "said", "expected"),
    [
        (["transformer.transformer_blocks.18.attn.to_q.diff_b"], "flux-1", "left"),
        (["transformer.transformer_blocks.18.attn.to_q.lokr_w1"], "flux-1", "refused"),
        (["transformer.transformer_blocks.18.attn.to_q.hada_w1_a"], "flux-1", "refused"),
        (["lora_unet_double_blocks_18_img_attn_qkv.hada_w1_a"], "flux-1", "left"),
        (["transformer.transformer_blocks.0.attn.to_q.magnitude"], "stable-diffusion-3", "refused"),
        (["transformer.transformer_blocks.0.attn.to_q.lora_magnitude_vector"], "stable-diffusion-3", "right"),
        (["unet.mid_block.attentions.0.proj_in.lokr_w1"], "xl", "refused"),
        (["lora_unet_mid_block_attentions_0_proj_in.lokr_w1"], "xl", "refused"),
        (["diffusion_model.layers.29.attention.to_q.lokr_w1"], "z-image", "right"),
        (["diffusion_model.layers.29.attention.to_q.lokr_w1", ".alpha"], "z-image", "right"),
        (["transformer.layers.29.attention.to_q.lokr_w1"], "z-image", "right"),
        (["transformer.layers.29.attention.to_q.lokr_w1", ".alpha"], "z-image", "refused"),
        (["diffusion_model.double_blocks.0.img_attn.qkv.lokr_w1"], "flux-2", "right"),
        (["lycoris_transformer_blocks_0_attn_to_q.lokr_w1"], "flux-2", "right"),
        (["diffusion_model.blocks.0.self_attn.q.diff_b"], "wan", "right"),
        (["diffusion_model.blocks.0.norm3.diff"], "wan", "left"),
        (["diffusion_model.blocks.0.self_attn.q.set_weight"], "wan", "refused"),
        (["lora_unet_joint_blocks_0_x_block_attn_qkv.lokr_w1"], "sd3", "left"),
    ],
    ids=str,
)
def test_what_is_no_factor_of_lora(names: list[str], said: str, expected: str) -> None:
    """Next to factors that are loaded, where it stops without."""
    module = names[0].rpartition(".")[0]
    modules = denoiser({module: names[0]})
    known = models([each.key for each in modules.values()], said)
    judged = by_diffusers(modules, known, (), {module: [names[0], *(module + each for each in names[1:])]})
    assert (judged.stops, bool(judged.left), judged.unsure) == (expected == "refused", expected != "right", ())
