"""Names of image and video models, judged by diffusers: what its converters make of the authors' names is what `fuse` does
with them, and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from image_models import CONVERTERS, EVERY, HUNYUAN_DIT, H, M, by_diffusers
from safetensors.torch import load_file, save_file

from adapterops.cli.main import run
from adapterops.operations.serving import check

pytest.importorskip("diffusers")


def pair(name: str, shape: tuple[int, int]) -> dict[str, torch.Tensor]:
    return {f"{name}.lora_A.weight": torch.randn(4, shape[1]), f"{name}.lora_B.weight": torch.randn(shape[0], 4)}


def fused(folder: Path, base: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `fuse` adds to every weight."""
    (folder / "base").mkdir()
    save_file({f"{name}.weight": each for name, each in base.items()}, folder / "base" / "model.safetensors")
    save_file(tensors, folder / "a.safetensors")
    assert run(["fuse", str(folder / "base"), str(folder / "a.safetensors"), "-o", str(folder / "fused")]) == 0
    found = load_file(folder / "fused" / "model.safetensors")
    return {name: found[f"{name}.weight"] - each for name, each in base.items()}


@pytest.mark.parametrize("model", CONVERTERS)
def test_the_authors_names_on_a_model_of_diffusers(tmp_path: Path, model: str) -> None:
    torch.manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in CONVERTERS[model].items():
        tensors |= pair(f"diffusion_model.{name}", shape)
    wanted = by_diffusers(model, tensors)
    found = fused(tmp_path, {name: torch.randn(each.shape) for name, each in wanted.items()}, tensors)
    for name, each in wanted.items():
        torch.testing.assert_close(found[name], each, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("model", CONVERTERS)
def test_the_names_of_diffusers_on_the_authors_model(tmp_path: Path, model: str) -> None:
    """Each part of what the authors have joined gets its rows: as the converter cuts them out of the whole."""
    torch.manual_seed(0)
    authors: dict[str, torch.Tensor] = {}
    for name, shape in CONVERTERS[model].items():
        authors |= pair(f"diffusion_model.{name}", shape)
    wanted = {
        name: authors[f"diffusion_model.{name}.lora_B.weight"] @ authors[f"diffusion_model.{name}.lora_A.weight"]
        for name in CONVERTERS[model]
    }
    tensors: dict[str, torch.Tensor] = {}
    for name, each in by_diffusers(model, authors).items():
        tensors |= {
            f"transformer.{name}.lora_A.weight": torch.eye(each.shape[1]),
            f"transformer.{name}.lora_B.weight": each.contiguous(),
        }
    found = fused(tmp_path, {name: torch.randn(each.shape) for name, each in wanted.items()}, tensors)
    for name, each in wanted.items():
        torch.testing.assert_close(found[name], each, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


def test_parts_of_a_joined_weight_by_a_name_of_their_own(tmp_path: Path) -> None:
    """XLabs' qkv_lora of a single block is the first rows of the authors' linear1, and three weights of diffusers."""
    from diffusers.loaders.lora_conversion_utils import _convert_xlabs_flux_lora_to_diffusers as convert

    torch.manual_seed(0)
    start = "single_blocks.0.processor.qkv_lora"
    tensors = {f"{start}.down.weight": torch.randn(4, H), f"{start}.up.weight": torch.randn(3 * H, 4)}
    converted = convert({name: each.clone() for name, each in tensors.items()})
    modules = [name.removesuffix(".lora_A.weight") for name in converted if name.endswith(".lora_A.weight")]
    wanted = {
        module.removeprefix("transformer."): converted[f"{module}.lora_B.weight"] @ converted[f"{module}.lora_A.weight"]
        for module in modules
    }
    assert len(wanted) == 3
    others = {"single_transformer_blocks.0.proj_mlp": torch.zeros(M, H)}
    for where, base in (
        ("diffusers", wanted | others),
        ("authors", {"single_blocks.0.linear1": torch.zeros(3 * H + M, H)}),
    ):
        (tmp_path / where).mkdir()
        found = fused(tmp_path / where, {name: torch.randn(each.shape) for name, each in base.items()}, tensors)
        expected = wanted | others
        if where == "authors":
            names = [*(f"single_transformer_blocks.0.attn.to_{part}" for part in "qkv"), *others]
            expected = {"single_blocks.0.linear1": torch.cat([expected[name] for name in names])}
        for name, each in expected.items():
            torch.testing.assert_close(found[name], each, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("start", ["", "model.diffusion_model."])
def test_a_module_that_is_called_like_a_part_of_a_pipeline(tmp_path: Path, start: str) -> None:
    """Stable Audio's authors have a `transformer` in their model: kohya's name of what is in it has that, too."""
    module = "transformer.layers.0.self_attn.to_qkv"
    A, B = torch.randn(4, H), torch.randn(3 * H, 4)
    flat = f"lora_unet_{module.replace('.', '_')}"
    found = fused(
        tmp_path, {start + module: torch.randn(3 * H, H)}, {f"{flat}.lora_down.weight": A, f"{flat}.lora_up.weight": B}
    )
    torch.testing.assert_close(found[start + module], B @ A, atol=1e-5, rtol=1e-5)
    save_file(
        {f"diffusion_model.{module}.lora_A.weight": A, f"diffusion_model.{module}.lora_B.weight": B},
        tmp_path / "c.safetensors",
    )
    assert (
        run(["convert", str(tmp_path / "c.safetensors"), "--to", "kohya", "-o", str(tmp_path / "k.safetensors")]) == 0
    )
    assert f"{flat}.lora_down.weight" in load_file(tmp_path / "k.safetensors")


@pytest.mark.parametrize("start", ["net.", "model.diffusion_model."])
def test_an_expert_of_an_image_model_below_another_prefix(tmp_path: Path, start: str) -> None:
    """HiDream's experts have the names of a language model's, one by one."""
    module = "double_stream_blocks.0.block.ff_i.experts.0.w1"
    tensors = pair(f"diffusion_model.{module}", (M, H))
    found = fused(tmp_path, {start + module: torch.randn(M, H)}, tensors)
    A, B = (tensors[f"diffusion_model.{module}.lora_{half}.weight"] for half in "AB")
    torch.testing.assert_close(found[start + module], B @ A, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("both", [False, True])
def test_a_prefix_that_says_the_part_is_not_left_out(tmp_path: Path, both: bool) -> None:
    """Anima's text conditioner, by diffusers' name, has blocks like those of the denoiser: it was added to them."""
    torch.manual_seed(0)
    module = "blocks.0.self_attn.q_proj"
    tensors = pair(f"text_conditioner.{module}", (H, H)) | (pair(f"diffusion_model.{module}", (H, H)) if both else {})
    found = fused(tmp_path, {f"llm_adapter.{module}": torch.randn(H, H), module: torch.randn(H, H)}, tensors)
    for name, start in ((f"llm_adapter.{module}", "text_conditioner."), (module, "diffusion_model.")):
        A, B = (tensors.get(f"{start}{module}.lora_{half}.weight", torch.zeros(1)) for half in "AB")
        torch.testing.assert_close(found[name], B @ A if len(B) > 1 else torch.zeros(H, H), atol=1e-5, rtol=1e-5)
    line = ["verify", str(tmp_path / "fused"), "--base", str(tmp_path / "base")]
    assert run([*line, "--adapter", str(tmp_path / "a.safetensors")]) == 0


@pytest.mark.parametrize("start", ["lycoris_", "lora_unet_decoder_", "diffusion_model.decoder."])
def test_ace_step(tmp_path: Path, start: str) -> None:
    """Adapters of its authors' trainer have PEFT's names, without what their files, and ComfyUI, hold the model in."""
    torch.manual_seed(0)
    modules = [f"layers.0.{each}_attn.{one}_proj" for each in ("self", "cross") for one in "qkvo"]
    tensors = {name: each for module in modules for name, each in pair(module, (H, H)).items()}
    wanted = by_diffusers("ace_step", {f"base_model.model.{name}": each for name, each in tensors.items()})
    modules.append("layers.0.mlp.gate_proj")  # which diffusers calls the same
    tensors |= pair(modules[-1], (M, H))
    wanted[modules[-1]] = tensors[f"{modules[-1]}.lora_B.weight"] @ tensors[f"{modules[-1]}.lora_A.weight"]
    named = {start + (module.replace(".", "_") if start.endswith("_") else module): module for module in modules}
    stored = {
        name.replace(module, own): each
        for own, module in named.items()
        for name, each in tensors.items()
        if module in name
    }
    found = fused(tmp_path, {name: torch.randn(each.shape) for name, each in wanted.items()}, stored)
    for name, each in wanted.items():
        torch.testing.assert_close(found[name], each, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("layer", ["attention_blocks.0.to_q", "attention_blocks.1.to_out.0", "ff.net.2"])
def test_motion_modules(tmp_path: Path, layer: str) -> None:
    """AnimateDiff's motion LoRA, by the names of its authors and by those that diffusers gives the same layers."""
    from diffusers.loaders.single_file_utils import convert_animatediff_checkpoint_to_diffusers as convert

    torch.manual_seed(0)
    module = f"down_blocks.0.motion_modules.1.temporal_transformer.transformer_blocks.0.{layer}"
    (other,) = (name.removesuffix(".weight") for name in convert({f"{module}.weight": torch.zeros(1)}))
    assert other != module
    above, _, part = module.removesuffix(".0" if ".to_out." in module else "").rpartition(".")
    own = f"{above}.processor.{part}_lora" if "attention" in layer else f"{module}.lora"
    down, up = torch.randn(4, H), torch.randn(H, 4)
    for number, (base, file) in enumerate(((module, own), (other, own), (module, f"unet.{other}.lora"))):
        tensors = {f"{file}.down.weight": down, f"{file}.up.weight": up}
        (tmp_path / str(number)).mkdir()
        decoy = base.replace("modules.1", "modules.0")
        found = fused(tmp_path / str(number), {base: torch.randn(H, H), decoy: torch.randn(H, H)}, tensors)
        torch.testing.assert_close(found[base], up @ down, atol=1e-5, rtol=1e-5)
        assert not found[decoy].any()


def test_hunyuan_dit(tmp_path: Path) -> None:
    """By names with underscores, on the authors' weights and on those of diffusers, which has the joined ones in parts."""
    torch.manual_seed(0)
    tensors, whole, apart = {}, {}, {}
    for name, others in HUNYUAN_DIT.items():
        key, (down, up) = name.replace(".", "_"), (torch.randn(4, H), torch.randn(H * len(others), 4))
        tensors |= {f"lora_unet_{key}.lora_down.weight": down, f"lora_unet_{key}.lora_up.weight": up}
        whole[name] = up @ down
        apart |= dict(zip(others, whole[name].chunk(len(others)), strict=True))
    for where, wanted in (("authors", whole), ("diffusers", apart)):
        (tmp_path / where).mkdir()
        found = fused(tmp_path / where, {name: torch.randn(each.shape) for name, each in wanted.items()}, tensors)
        for name, each in wanted.items():
            torch.testing.assert_close(found[name], each, atol=1e-5, rtol=1e-5)


LOADERS = {
    "Stable Diffusion 1.5": "StableDiffusion",
    "Stable Diffusion 3": "SD3",
    "AuraFlow": "AuraFlow",
    "Sana": "Sana",
    "FLUX.3": "Flux3",
    "Z-Image": "ZImage",
    "Lumina 2": "Lumina2",
    "HunyuanVideo": "HunyuanVideo",
    "Chroma": "Flux",
    "flux2, adapters": "Flux2",
    "wan, adapters": "Wan",
    "krea2, adapters": "Krea2",
    "minimax_h3, adapters": "MiniMaxH3",
    "ideogram4, adapters": "Ideogram4",
    "anima, adapters": "Anima",
    "Qwen-Image": "QwenImage",
    "HiDream": "HiDreamImage",
    "Kandinsky 5": "Kandinsky",
    "Ernie-Image": "ErnieImage",
    "CogVideoX": "CogVideoX",
}
"""Model → the pipeline of diffusers that loads its adapters."""


@pytest.mark.parametrize("whose", [0, 1], ids=["authors", "diffusers"])
@pytest.mark.parametrize("model", LOADERS)
def test_what_check_says_of_kohyas_names_is_what_diffusers_does(tmp_path: Path, model: str, whose: int) -> None:
    """Module by module, of all names of the model in one file."""
    import diffusers

    mixin = getattr(diffusers.loaders, f"{LOADERS[model]}LoraLoaderMixin")
    sides = EVERY[model]()
    names = {name.removesuffix(".weight"): each.shape for name, each in sides[whose].items() if each.ndim == 2}
    own = {f"lora_unet_{name.replace('.', '_')}": shape for name, shape in names.items()}

    def stored(modules: Iterable[str]) -> dict[str, torch.Tensor]:
        tensors = {}
        for module in modules:
            out, into = own[module]
            tensors |= {
                f"{module}.lora_down.weight": torch.ones(4, into),
                f"{module}.lora_up.weight": torch.ones(out, 4),
            }
            tensors[f"{module}.alpha"] = torch.tensor(4.0)
        return tensors

    def converted(modules: Iterable[str]) -> set[str] | None:
        try:
            found = mixin.lora_state_dict(stored(modules))
        except (ValueError, KeyError, IndexError):
            return None
        found = found[0] if isinstance(found, tuple) else found
        return {name.replace(".processor", "").partition(".")[2] for name in found}

    def right(modules: Iterable[str]) -> bool:
        """Whether each is where the model has it."""
        there = {name.removesuffix(".weight") for name in sides[1]}
        found = converted(modules)
        ends = (".lora_A.weight", ".lora.down.weight", "_lora.down.weight", ".0_lora.down.weight")
        places = {name.removesuffix(end) for name in found or () for end in ends if name.endswith(end)}
        places = {f"{place}.0" if place.endswith("to_out") and f"{place}.0" in there else place for place in places}
        return bool(places) and places <= there

    save_file(stored(own), tmp_path / "a.safetensors")
    (verdict,) = check(tmp_path / "a.safetensors", ["diffusers"]).values()
    said = {each.fact.name: each.fact.modules for each in verdict.findings if each.fact.name.startswith("diffusers_")}
    left = [*said.get("diffusers_stops", ()), *said.get("diffusers_left", ())]
    taken = [module for module in own if module not in left]
    if said.get("diffusers_unsure"):  # as another model, too, has these names
        assert not left or not right(left)
    elif "diffusers_stops" in said:
        assert converted(own) is None
        assert not right(left)
    else:
        assert not taken or right(taken)
        assert not any(right([module]) for module in left)
