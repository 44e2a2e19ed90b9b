"""Adapters of image models, judged by diffusers and LyCORIS: what they make of a file is what fuse makes of it."""

from __future__ import annotations

import copy
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import corpus
import peft
import pytest
import torch
from corpus import write_adapter
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.formats.peft.header import EMBEDDED
from adapterops.operations.serving import check

diffusers = pytest.importorskip("diffusers")
WIDTH = 32
BASE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def flux(folder: Path) -> Any:
    model = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=[4, 4, 8],
    )
    model.save_pretrained(folder)
    return model


def unet(folder: Path, **fields: Any) -> Any:
    model = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=4,
        **{"cross_attention_dim": 24, **fields},
    )
    model.save_pretrained(folder)
    return model


def pair(key: str, shape: tuple[int, ...], rank: int, alpha: float, ends: str = "lora_down lora_up") -> dict[str, Any]:
    down, up = ends.split()
    return {
        f"{key}.{down}.weight": 0.1 * torch.randn(rank, *shape[1:]),
        f"{key}.{up}.weight": 0.1 * torch.randn(shape[0], rank, *(1,) * (len(shape) - 2)),
        f"{key}.alpha": torch.tensor(alpha),
    }


def fused(tmp_path: Path, adapter: Path, *options: str) -> dict[str, torch.Tensor]:
    assert run(["fuse", str(tmp_path / "base"), str(adapter), *options, "-o", str(tmp_path / "fused")]) == 0
    given = ["--base", str(tmp_path / "base"), "--adapter", str(adapter)]
    assert run(["verify", str(tmp_path / "fused"), *given]) == 0
    return load_file(next((tmp_path / "fused").glob("*.safetensors")))


def agree(model: Any, found: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> None:
    """Every weight is as diffusers has it, and some have changed."""
    changed = 0
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(found[name], weight, atol=2e-6, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
        changed += not torch.equal(weight, before[name])
    assert changed


KOHYA = {
    "double_blocks_0_img_attn_qkv": (3 * WIDTH, WIDTH),
    "double_blocks_0_txt_attn_qkv": (3 * WIDTH, WIDTH),
    "double_blocks_0_img_attn_proj": (WIDTH, WIDTH),
    "double_blocks_0_txt_attn_proj": (WIDTH, WIDTH),
    "double_blocks_0_img_mlp_0": (4 * WIDTH, WIDTH),
    "double_blocks_0_txt_mlp_2": (WIDTH, 4 * WIDTH),
    "double_blocks_0_img_mod_lin": (6 * WIDTH, WIDTH),
    "single_blocks_0_linear2": (WIDTH, 5 * WIDTH),
    "single_blocks_0_modulation_lin": (3 * WIDTH, WIDTH),
}


def kohya_flux() -> dict[str, Any]:
    tensors = {}
    for rank, (key, shape) in enumerate(KOHYA.items(), 2):
        tensors |= pair(f"lora_unet_{key}", shape, rank, 1.5)
    return tensors


def xlabs() -> dict[str, Any]:
    tensors = {}
    for stored, out in (("qkv_lora1", 3), ("qkv_lora2", 3), ("proj_lora1", 1), ("proj_lora2", 1)):
        found = pair(f"double_blocks.0.processor.{stored}", (out * WIDTH, WIDTH), 4, 1, "down up")
        tensors |= {key: each for key, each in found.items() if not key.endswith("alpha")}
    return tensors


def of_diffusers() -> dict[str, Any]:
    tensors = {}
    shapes = {
        "transformer_blocks.0.attn.to_q": (WIDTH, WIDTH),
        "single_transformer_blocks.0.proj_mlp": (4 * WIDTH, WIDTH),
    }
    for name, shape in shapes.items():
        found = pair(f"transformer.{name}", shape, 4, 1, "lora_A lora_B")
        tensors |= {key: each for key, each in found.items() if not key.endswith("alpha")}
    return tensors


def with_biases() -> dict[str, Any]:
    """LoRA whose layers have biases, too: `lora_bias` of PEFT, which diffusers tells by the names."""
    tensors = of_diffusers()
    biases = {
        key.replace("B.weight", "B.bias"): 0.1 * torch.randn(len(each)) for key, each in tensors.items() if "B" in key
    }
    return tensors | biases


def with_diffusers(model: Any, adapter: Path) -> Any:
    """A model with an adapter that is merged, found as cards say: `load_lora_weights(FOLDER, weight_name=FILE)`."""
    mixin = diffusers.loaders.FluxLoraLoaderMixin
    state, alphas = mixin.lora_state_dict(str(adapter.parent), weight_name=adapter.name, return_alphas=True)[:2]
    mixin.load_lora_into_transformer(state, alphas, model)
    model.fuse_lora()
    model.unload_lora()
    return model


@pytest.mark.parametrize("make", [kohya_flux, xlabs, of_diffusers, with_biases])
@pytest.mark.filterwarnings("ignore")
def test_flux_as_diffusers_loads_it(tmp_path: Path, make: Any) -> None:
    model = flux(tmp_path / "base")
    save_file(make(), tmp_path / "a.safetensors")
    before = load_file(tmp_path / "base" / BASE)
    agree(with_diffusers(model, tmp_path / "a.safetensors"), fused(tmp_path, tmp_path / "a.safetensors"), before)


FILES = {"diffusers": "pytorch_lora_weights.safetensors", "peft": "adapter_model.safetensors"}


@pytest.mark.parametrize("make", [kohya_flux, of_diffusers])
@pytest.mark.parametrize("form", ["kohya", "comfy", "diffusers", "peft"])
@pytest.mark.filterwarnings("ignore")
def test_diffusers_loads_what_is_written(tmp_path: Path, form: str, make: Any) -> None:
    """In the names of a model of diffusers, but for kohya's; ranks differ from module to module."""
    model = flux(tmp_path / "base")
    save_file(make(), tmp_path / "a.safetensors")
    out, line = tmp_path / "out", ["merge", str(tmp_path / "a.safetensors"), "-w", "0.5", "--format", form]
    assert run([*line, *([] if form == "kohya" else ["--base", str(tmp_path / "base")]), "-o", str(out)]) == 0
    before = load_file(tmp_path / "base" / BASE)
    found = fused(tmp_path, out)
    file = out / FILES.get(form, "lora.safetensors")
    if form == "peft":  # whose prefix diffusers does not know
        state = {key.replace("base_model.model.", "transformer."): each for key, each in load_file(file).items()}
        scaled = json.loads((out / "adapter_config.json").read_text())
        fields = {f"transformer.{key}": scaled[key] for key in ("r", "lora_alpha", "rank_pattern", "alpha_pattern")}
        save_file(state, file, {"lora_adapter_metadata": json.dumps(fields)})
    if (form, make) != ("kohya", of_diffusers):  # of `lora_transformer_` diffusers knows attention alone
        agree(with_diffusers(model, file), found, before)
    full = {name: each - before[name] for name, each in fused(tmp_path, tmp_path / "a.safetensors", "--force").items()}
    for name, each in found.items():
        torch.testing.assert_close(each, before[name] + 0.5 * full[name], atol=2e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_biases_are_written_for_diffusers(tmp_path: Path) -> None:
    """Half of an adapter: its biases are half, too, and ComfyUI's format has them as differences."""
    model = flux(tmp_path / "base")
    save_file(with_biases(), tmp_path / "a.safetensors")
    for form in ("diffusers", "comfy"):
        line = ["merge", str(tmp_path / "a.safetensors"), "-w", "0.5", "--format", form, "-o", str(tmp_path / form)]
        assert run(line) == 0
    before, file = load_file(tmp_path / "base" / BASE), tmp_path / "diffusers" / FILES["diffusers"]
    found = fused(tmp_path, file)
    assert not torch.equal(found["transformer_blocks.0.attn.to_q.bias"], before["transformer_blocks.0.attn.to_q.bias"])
    agree(with_diffusers(model, file), found, before)
    other = fused(tmp_path, tmp_path / "comfy" / "lora.safetensors", "--force")
    for name, each in found.items():
        torch.testing.assert_close(other[name], each)


@pytest.mark.parametrize("first", ["kohya", "diffusers"])
@pytest.mark.filterwarnings("ignore")
def test_a_merge_across_formats(tmp_path: Path, first: str) -> None:
    """In the format of the first; with names of the base, which diffusers loads where they are its own."""
    model = flux(tmp_path / "base")
    before = load_file(tmp_path / "base" / BASE)
    save_file(kohya_flux(), tmp_path / "kohya.safetensors")
    save_file(of_diffusers(), tmp_path / "diffusers.safetensors")
    changes = {}
    for name in ("kohya", "diffusers"):
        after = fused(tmp_path, tmp_path / f"{name}.safetensors", "--force")
        changes[name] = {tensor: each - before[tensor] for tensor, each in after.items()}
    order = [first, *(name for name in changes if name != first)]
    weights = [option for name in order for option in ("-w", "0.7" if name == "kohya" else "-0.3")]
    line = ["merge", *(str(tmp_path / f"{name}.safetensors") for name in order), *weights]
    assert run([*line, "--base", str(tmp_path / "base"), "-o", str(tmp_path / "out")]) == 0
    found = fused(tmp_path, tmp_path / "out", "--force")
    for name, weight in found.items():
        wanted = before[name] + 0.7 * changes["kohya"][name] - 0.3 * changes["diffusers"][name]
        torch.testing.assert_close(weight, wanted, atol=2e-6, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    (file,) = (tmp_path / "out").glob("*.safetensors")
    assert file.name == ("lora.safetensors" if first == "kohya" else FILES["diffusers"])
    if first == "diffusers":
        agree(with_diffusers(model, file), found, before)


UNET = (
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
    "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "down_blocks.1.attentions.0.proj_in",
    "down_blocks.0.resnets.0.conv1",
    "down_blocks.0.downsamplers.0.conv",
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0",
)


def of_unet(path: Path, before: dict[str, torch.Tensor]) -> Path:
    tensors: dict[str, Any] = {}
    for rank, name in enumerate(UNET, 2):
        tensors |= pair(f"lora_unet_{name.replace('.', '_')}", tuple(before[f"{name}.weight"].shape), rank, 3.0)
    save_file(tensors, path)
    return path


def unet_with_diffusers(model: Any, file: Path) -> Any:
    mixin = diffusers.loaders.StableDiffusionLoraLoaderMixin
    state, alphas = mixin.lora_state_dict(str(file))
    mixin.load_lora_into_unet(state, alphas, model)
    model.fuse_lora()
    model.unload_lora()
    return model


@pytest.mark.filterwarnings("ignore")
def test_a_unet_with_convolutions(tmp_path: Path) -> None:
    model = unet(tmp_path / "base")
    before = load_file(tmp_path / "base" / BASE)
    file = of_unet(tmp_path / "a.safetensors", before)
    agree(unet_with_diffusers(model, file), fused(tmp_path, file), before)


CONVOLVED = (
    *("conv_in", "conv_out", "down_blocks.0.resnets.0.conv1", "down_blocks.1.resnets.0.conv_shortcut"),
    *("down_blocks.0.downsamplers.0.conv", "up_blocks.0.upsamplers.0.conv", "mid_block.attentions.0.proj_in"),
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
)


@pytest.mark.parametrize(("width", "linear"), [(768, False), (2048, True)], ids=["as 1", "as XL"])
@pytest.mark.filterwarnings("ignore")
def test_loha_of_convolutions_is_written_with_their_kernels(tmp_path: Path, width: int, linear: bool) -> None:
    """Also without a base, which alone has them: diffusers and LyCORIS load no LoRA in matrices on a convolution."""
    locon = pytest.importorskip("lycoris.modules").LoConModule
    model = unet(tmp_path / "base", cross_attention_dim=width, use_linear_projection=linear)
    before, tensors = load_file(tmp_path / "base" / BASE), {}
    keys = {name: f"lora_unet_{name.replace('.', '_')}" for name in CONVOLVED}
    for name, key in keys.items():
        out, into = before[f"{name}.weight"].flatten(1).shape
        tensors |= {f"{key}.hada_w{n}_a": 0.3 * torch.randn(out, 2) for n in (1, 2)}
        tensors |= {f"{key}.hada_w{n}_b": 0.3 * torch.randn(2, into) for n in (1, 2)}
    a, out, flat = (tmp_path / f"{name}.safetensors" for name in ("a", "out", "flat"))
    save_file(tensors, a)
    assert run(["convert", str(a), "--to", "kohya", "-o", str(out)]) == 0
    written = load_file(out)
    agree(unet_with_diffusers(model, out), fused(tmp_path, a), before)
    layer, key = torch.nn.Conv2d(4, 16, 3, padding=1), keys["conv_in"]
    down, up, alpha = (written[f"{key}.{end}"] for end in ("lora_down.weight", "lora_up.weight", "alpha"))
    made = locon.make_module_from_state_dict(key, layer, up, down, None, alpha, None)
    wanted = fused(tmp_path, a, "--force")["conv_in.weight"] - before["conv_in.weight"]
    torch.testing.assert_close(made.get_diff_weight()[0], wanted, atol=1e-5, rtol=1e-4)
    save_file({name: each.flatten(1) if each.ndim > 1 else each for name, each in written.items()}, flat)
    assert [check(file)["diffusers"].severity for file in (out, flat)] == ["fine", "refused"]
    assert check(flat)["comfyui"].findings[-1].rule.severity == "fine"
    with pytest.raises(RuntimeError, match="size mismatch"):
        unet_with_diffusers(unet(tmp_path / "again", cross_attention_dim=width, use_linear_projection=linear), flat)
    with pytest.raises(RuntimeError, match="broadcast shape"):
        locon.make_module_from_state_dict(key, layer, up.flatten(1), down.flatten(1), None, alpha, None)
    assert run(["convert", str(flat), "--to", "kohya", "-o", str(tmp_path / "mended.safetensors")]) == 0
    mended = load_file(tmp_path / "mended.safetensors")
    assert {name: each.shape for name, each in mended.items()} == {name: each.shape for name, each in written.items()}


@pytest.mark.parametrize("form", ["kohya", "comfy", "diffusers"])
@pytest.mark.filterwarnings("ignore")
def test_the_difference_of_two_unets(tmp_path: Path, form: str) -> None:
    """Convolutions are extracted, too, and diffusers loads what is written."""
    model = unet(tmp_path / "base")
    before = load_file(tmp_path / "base" / BASE)
    wanted = fused(tmp_path, of_unet(tmp_path / "a.safetensors", before))
    line = ["extract", str(tmp_path / "fused"), "--base", str(tmp_path / "base"), "--rank", "8", "--format", form]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").glob("*.safetensors")
    assert (check(file)["comfyui"].severity == "fine") == (form != "diffusers")
    found = unet_with_diffusers(model, file).state_dict()
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("form", ["kohya", "comfy"])
@pytest.mark.filterwarnings("ignore")
def test_changed_norms_and_biases_are_extracted_as_differences(tmp_path: Path, form: str) -> None:
    unet(tmp_path / "base")
    tuned = load_file(tmp_path / "base" / BASE)
    ends = (".norm1.weight", ".norm1.bias", "to_q.weight", "to_out.0.bias")
    tuned = {
        name: each + 0.1 * torch.randn(each.shape) if name.endswith(ends) else each for name, each in tuned.items()
    }
    unet(tmp_path / "tuned")
    save_file(tuned, tmp_path / "tuned" / BASE)
    line = ["extract", str(tmp_path / "tuned"), "--base", str(tmp_path / "base"), "--energy", "1", "--format", form]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").glob("*.safetensors")
    assert any(name.endswith(".diff_b") for name in load_file(file))
    found = fused(tmp_path, file)
    for name, weight in tuned.items():
        torch.testing.assert_close(found[name], weight, atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


PARAMETERS = {
    "blocks.0.self_attn.q.weight": (8, 8),
    "blocks.0.self_attn.q.bias": (8,),
    "blocks.0.norm3.weight": (8,),
    "blocks.0.modulation": (1, 6, 8),
    "scale_shift_table": (2, 8),
    "x_pad_token": (1, 8),
    "tokens": (1, 1, 8),
    "pos_embed": (2, 3, 8),
    "attn.in_proj_weight": (24, 8),
    "text_projection": (8, 8),
}


@pytest.mark.parametrize("kept", ["no layer", "self_attn"])
def test_any_parameter_is_extracted_as_comfyui_reads_it(tmp_path: Path, kept: str) -> None:
    """It takes `diff` after the name of a weight's layer, and after that of any other tensor, of exactly its shape: but for
    the text projection of OpenCLIP, which is a layer there.
    """
    before = {name: torch.randn(shape) for name, shape in PARAMETERS.items()}
    after = {name: each if name.startswith(f"blocks.0.{kept}") else 2 * each for name, each in before.items()}
    for name, tensors in (("base", before), ("tuned", after)):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    line = ["extract", str(tmp_path / "tuned.safetensors"), "--base", str(tmp_path / "base.safetensors"), "--rank", "8"]
    assert run([*line, "--format", "comfy", "-o", str(tmp_path / "a.safetensors")]) == 0
    patches = load_file(tmp_path / "a.safetensors")
    wanted = {name: after[name] - each for name, each in before.items() if not torch.equal(after[name], each)}
    for name, each in wanted.items():
        key = f"diffusion_model.{name.removesuffix('.weight')}"
        if f"{key}.lora_A.weight" in patches:
            found = patches[f"{key}.lora_B.weight"] @ patches[f"{key}.lora_A.weight"]
        else:
            found = patches.get(f"{key}.diff", patches.get(f"{key.removesuffix('.bias')}.diff_b"))
        assert found is not None
        torch.testing.assert_close(found, each.T if name == "text_projection" else each, atol=1e-5, rtol=1e-4)
    fused = ao.fuse(ao.open_checkpoint(tmp_path / "base.safetensors"), ao.open_adapter(tmp_path / "a.safetensors"))
    ao.save_checkpoint(fused, tmp_path / "fused")
    for name, each in load_file(tmp_path / "fused" / "model.safetensors").items():
        torch.testing.assert_close(each, after[name], atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


LINEAR, CONV, CONV_1D = (24, 20), (24, 12, 3, 3), (24, 12, 3)
MODULES = {
    "LoCon": ("locon", {}, LINEAR),
    "LoCon of a convolution": ("locon", {}, CONV),
    "Tucker": ("locon", {"use_tucker": True}, CONV),
    "LoHa": ("loha", {}, LINEAR),
    "LoHa of a convolution": ("loha", {}, CONV),
    "LoHa, Tucker": ("loha", {"use_tucker": True}, CONV),
    "LoKr, Tucker": ("lokr", {"factor": 4, "use_tucker": True}, CONV),
    "LoKr": ("lokr", {"factor": 4}, LINEAR),
    "LoKr, all of both": ("lokr", {"factor": 4, "full_matrix": True}, LINEAR),
    "LoKr of both factored": ("lokr", {"factor": 4, "decompose_both": True}, LINEAR),
    "LoKr of a convolution": ("lokr", {"factor": 4}, CONV),
    "DoRA": ("locon", {"weight_decompose": True, "wd_on_out": True}, (20, 20)),
    "DoRA of a convolution": ("locon", {"weight_decompose": True, "wd_on_out": True}, CONV),
    "DoRA by inputs": ("locon", {"weight_decompose": True, "wd_on_out": False}, (20, 20)),
    "DoRA by inputs of a convolution": ("locon", {"weight_decompose": True, "wd_on_out": False}, CONV),
    "DoRA of LoHa": ("loha", {"weight_decompose": True, "wd_on_out": True}, LINEAR),
    "LoCon of a convolution in one dimension": ("locon", {}, CONV_1D),
    "Tucker in one dimension": ("locon", {"use_tucker": True}, CONV_1D),
    "LoHa in one dimension": ("loha", {}, CONV_1D),
    "LoHa, Tucker in one dimension": ("loha", {"use_tucker": True}, CONV_1D),
    "LoKr in one dimension": ("lokr", {"factor": 4}, CONV_1D),
    "DoRA in one dimension": ("locon", {"weight_decompose": True, "wd_on_out": True}, CONV_1D),
    "DoRA by inputs in one dimension": ("locon", {"weight_decompose": True, "wd_on_out": False}, CONV_1D),
    "DoRA of LoKr by inputs": ("lokr", {"factor": 4, "weight_decompose": True, "wd_on_out": False}, CONV),
}


UNSEEN = {"DoRA of LoKr by inputs"}
"""Of which the file does not say how many numbers of a kernel are of one input."""


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_kinds_of_lycoris(tmp_path: Path, kind: str) -> None:
    modules = pytest.importorskip("lycoris.modules")
    name, options, shape = MODULES[kind]
    cls = {"locon": modules.LoConModule, "loha": modules.LohaModule, "lokr": modules.LokrModule}[name]
    layer: Any = torch.nn.Linear(shape[1], shape[0], bias=False)
    if len(shape) > 2:
        convolution: Any = torch.nn.Conv2d if len(shape) == 4 else torch.nn.Conv1d
        layer = convolution(shape[1], shape[0], 3, padding=1, bias=False)
    W = layer.weight.data.clone()
    module = cls("lora_unet_blocks_0_attn_q", layer, 1.0, 2, 3.0, **options)
    for parameter in module.parameters():
        if parameter is not getattr(module, "dora_scale", None):
            torch.nn.init.normal_(parameter, std=0.3)
    if options.get("weight_decompose"):
        module.dora_scale.data = module.dora_scale.data * (1 + 0.3 * torch.rand_like(module.dora_scale.data))
    state = {
        f"lora_unet_blocks_0_attn_q.{key}": each.contiguous()
        for key, each in module.state_dict().items()
        if not key.startswith("org_")
    }
    (tmp_path / "base").mkdir()
    save_file({"blocks.0.attn.q.weight": W}, tmp_path / "base" / BASE)
    save_file(state, tmp_path / "a.safetensors")
    based = ["--base", str(tmp_path / "base")]
    written = {"comfy": based, "kohya": []}
    if options.get("wd_on_out"):
        written["peft"] = based
    for form, named in written.items() if options.get("weight_decompose") and kind not in UNSEEN else ():
        out = str(tmp_path / form)
        assert run(["convert", str(tmp_path / "a.safetensors"), "--to", form, *named, "-o", out]) == 0
    inputs = torch.eye(shape[1]) if len(shape) == 2 else torch.randn(2, shape[1], *[5] * (len(shape) - 2))
    module.apply_to()
    module.eval()
    with torch.no_grad():
        wanted = layer(inputs)
        layer.forward = type(layer).forward.__get__(layer)
        layer.weight.data = fused(tmp_path, tmp_path / "a.safetensors")["blocks.0.attn.q.weight"]
        torch.testing.assert_close(layer(inputs), wanted, atol=1e-5, rtol=1e-4)
        for form in written:
            if (tmp_path / form).exists():
                layer.weight.data = fused(tmp_path, tmp_path / form, "--force")["blocks.0.attn.q.weight"]
                torch.testing.assert_close(layer(inputs), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_dora_of_a_joined_weight_is_written_in_its_parts(tmp_path: Path) -> None:
    """By outputs each row has a length of its own; PEFT and diffusers apply what is written."""
    model, key = flux(tmp_path / "base"), "lora_unet_double_blocks_0_img_attn_qkv"
    names = [f"transformer_blocks.0.attn.to_{part}.weight" for part in "qkv"]
    tensors = pair(key, (3 * WIDTH, WIDTH), 4, 3.0) | {f"{key}.dora_scale": 1 + torch.rand(3 * WIDTH, 1)}
    save_file(tensors, tmp_path / "a.safetensors")
    added = 3 / 4 * tensors[f"{key}.lora_up.weight"] @ tensors[f"{key}.lora_down.weight"]
    V = torch.cat([model.state_dict()[name] for name in names]) + added
    wanted = tensors[f"{key}.dora_scale"] * V / V.norm(dim=1, keepdim=True)
    for form in ("peft", "diffusers"):
        out, base = str(tmp_path / form), str(tmp_path / "base")
        assert run(["convert", str(tmp_path / "a.safetensors"), "--to", form, "--base", base, "-o", out]) == 0
        applied = diffusers.FluxTransformer2DModel.from_pretrained(base)
        if form == "peft":
            applied = pytest.importorskip("peft").PeftModel.from_pretrained(applied, out).merge_and_unload()
        else:
            mixin = diffusers.loaders.FluxLoraLoaderMixin
            state, alphas, known = mixin.lora_state_dict(out, return_alphas=True, return_lora_metadata=True)
            mixin.load_lora_into_transformer(state, alphas, applied, metadata=known)
            applied.fuse_lora()
            applied.unload_lora()
        merged = applied.state_dict()
        torch.testing.assert_close(torch.cat([merged[name] for name in names]), wanted, atol=2e-6, rtol=1e-5)
        found = fused(tmp_path, tmp_path / form, "--force")
        torch.testing.assert_close(torch.cat([found[name] for name in names]), wanted, atol=2e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_name_that_is_the_end_of_another_has_a_rank_of_its_own(tmp_path: Path) -> None:
    """PEFT takes a pattern for the end of any name: what the header says of the one is not said of the other."""
    model, tensors = flux(tmp_path / "base"), {}
    for rank, (name, shape) in enumerate(
        {"proj_out": (4, WIDTH), "single_transformer_blocks.0.proj_out": (WIDTH, 5 * WIDTH)}.items(), 2
    ):
        found = pair(f"transformer.{name}", shape, rank, 1, "lora_A lora_B")
        tensors |= {key: each for key, each in found.items() if not key.endswith("alpha")}
    save_file(tensors, tmp_path / "a.safetensors")
    out, before = tmp_path / "out", load_file(tmp_path / "base" / BASE)
    assert run(["merge", str(tmp_path / "a.safetensors"), "-w", "0.5", "--format", "diffusers", "-o", str(out)]) == 0
    mixin = diffusers.loaders.FluxLoraLoaderMixin
    state, alphas, known = mixin.lora_state_dict(str(out), return_alphas=True, return_lora_metadata=True)
    mixin.load_lora_into_transformer(state, alphas, model, metadata=known)
    model.fuse_lora()
    model.unload_lora()
    agree(model, fused(tmp_path, out), before)


@pytest.mark.filterwarnings("ignore")
def test_a_unet_by_its_authors_names(tmp_path: Path) -> None:
    model = diffusers.UNet2DConditionModel(
        sample_size=8,
        layers_per_block=2,
        block_out_channels=(8, 16, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=24,
        attention_head_dim=4,
        norm_num_groups=4,
        use_linear_projection=True,
    )
    model.save_pretrained(tmp_path / "base")
    before = load_file(tmp_path / "base" / BASE)
    tensors: dict[str, Any] = {}
    for authors, own in {
        "input_blocks_4_1_transformer_blocks_0_attn1_to_q": "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
        "input_blocks_8_1_proj_in": "down_blocks.2.attentions.1.proj_in",
        "middle_block_1_transformer_blocks_0_ff_net_2": "mid_block.attentions.0.transformer_blocks.0.ff.net.2",
        "output_blocks_0_1_transformer_blocks_0_attn2_to_v": "up_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v",
        "output_blocks_5_1_proj_out": "up_blocks.1.attentions.2.proj_out",
    }.items():
        tensors |= pair(f"lora_unet_{authors}", tuple(before[f"{own}.weight"].shape), 2, 3.0)
    save_file(tensors, tmp_path / "a.safetensors")
    mixin = diffusers.loaders.StableDiffusionXLLoraLoaderMixin
    state, alphas = mixin.lora_state_dict(str(tmp_path / "a.safetensors"), unet_config=model.config)[:2]
    mixin.load_lora_into_unet(state, alphas, model)
    model.fuse_lora()
    model.unload_lora()
    agree(model, fused(tmp_path, tmp_path / "a.safetensors"), before)


@pytest.mark.parametrize(("make", "stops"), [(flux, KeyError), (unet, None)], ids=["flux", "unet"])
def test_diffusers_takes_no_folder_of_peft_nor_a_language_adapter(make: Any, stops: Any, tmp_path: Path) -> None:
    """What `check` says of both, and what it names to go on with."""
    model = make(tmp_path / "base")
    config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"], init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "image")
    pair_ = {f"base_model.model.model.layers.0.self_attn.q_proj.lora_{end}.weight": torch.ones(2, 2) for end in "AB"}
    write_adapter(tmp_path / "language", pair_, corpus.config(2, task_type="CAUSAL_LM", target_modules=["q_proj"]))
    for name in ("image", "language"):
        assert run(["check", str(tmp_path / name), "--for", "diffusers"]) == 8
        with pytest.raises(stops) if stops else nullcontext():
            assert not loaded(make(tmp_path / f"{name}-base"), load_file(tmp_path / name / "adapter_model.safetensors"))
    out = str(tmp_path / "out")
    assert (
        run(["convert", str(tmp_path / "image"), "--base", str(tmp_path / "base"), "--to", "diffusers", "-o", out]) == 0
    )
    assert loaded(make(tmp_path / "again"), load_file(tmp_path / "out/pytorch_lora_weights.safetensors"))


@pytest.mark.parametrize(("module", "fails"), [("attn_to_q", False), ("ff_net_2", True)])
def test_diffusers_of_flux_takes_names_with_lora_transformer_of_attention(
    module: str, fails: bool, tmp_path: Path
) -> None:
    """What `check` says of them, and what it names to go on with."""
    model, width = flux(tmp_path / "base"), 4 * WIDTH if fails else WIDTH
    tensors = pair(f"lora_transformer_transformer_blocks_0_{module}", (WIDTH, width), 2, 2.0)
    save_file(tensors, tmp_path / "a.safetensors", {"modelspec.architecture": "flux-1-dev/lora"})
    with pytest.raises(ValueError) if fails else nullcontext():  # noqa: PT011  # diffusers' own, in words of its version
        loaded(model, load_file(tmp_path / "a.safetensors"))
    (verdict,) = check(tmp_path / "a.safetensors", ["diffusers"]).values()
    assert ("diffusers_stops" in {each.fact.name for each in verdict.findings}) == fails
    line = ["convert", str(tmp_path / "a.safetensors"), "--base", str(tmp_path / "base"), "--to", "diffusers"]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    assert loaded(flux(tmp_path / "again"), load_file(tmp_path / "out/pytorch_lora_weights.safetensors"))


@pytest.mark.parametrize("alphas", [(2.0, 4.0), (2.0, 2.0)])
@pytest.mark.filterwarnings("ignore")
def test_diffusers_gives_the_attention_of_a_unet_one_alpha(alphas: tuple[float, float], tmp_path: Path) -> None:
    """What `check` says of that, and what it names to go on with."""
    unet(tmp_path / "base")
    start, tensors = "lora_unet_mid_block_attentions_0_transformer_blocks_0_", {}
    for name, (rank, alpha) in zip(("attn1_to_q", "attn1_to_v"), zip((2, 4), alphas, strict=True), strict=True):
        tensors |= pair(start + name, (32, 32), rank, alpha)
    save_file(tensors, tmp_path / "a.safetensors")
    ours = fused(tmp_path, tmp_path / "a.safetensors")
    line = ["convert", str(tmp_path / "a.safetensors"), "--base", str(tmp_path / "base"), "--to", "diffusers"]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    mixin = diffusers.loaders.StableDiffusionXLLoraLoaderMixin
    right = {}
    for file in (tmp_path / "a.safetensors", tmp_path / "out/pytorch_lora_weights.safetensors"):
        model = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "base")
        state, *scales = mixin.lora_state_dict(str(file), unet_config=model.config, return_lora_metadata=True)
        mixin.load_lora_into_unet(state, scales[0], model, metadata=scales[1])
        model.fuse_lora()
        model.unload_lora()
        found = model.state_dict()
        right[file.name] = all(torch.allclose(found[name], each, atol=2e-6) for name, each in ours.items())
    same = alphas[0] == alphas[1]
    assert right == {"a.safetensors": same, "pytorch_lora_weights.safetensors": True}
    assert run(["check", str(tmp_path / "a.safetensors"), "--for", "diffusers"]) == (0 if same else 8)


def test_diffusers_of_wan_takes_no_set_weight(tmp_path: Path) -> None:
    """As `check` says."""
    q = "diffusion_model.blocks.0.self_attn.q"
    tensors = {f"{q}.lora_A.weight": torch.ones(2, 8), f"{q}.lora_B.weight": torch.ones(8, 2)}
    tensors["diffusion_model.blocks.0.self_attn.k.set_weight"] = torch.ones(8, 8)
    with pytest.raises(ValueError, match="set_weight"):
        diffusers.loaders.WanLoraLoaderMixin.lora_state_dict(dict(tensors))
    save_file(tensors, tmp_path / "a.safetensors")
    (verdict,) = check(tmp_path / "a.safetensors", ["diffusers"]).values()
    assert {each.fact.name: each.rule.severity for each in verdict.findings}["diffusers_stops"] == "refused"


def loaded(model: Any, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether the loader of its pipeline gives the model an adapter."""
    if isinstance(model, diffusers.FluxTransformer2DModel):
        diffusers.FluxPipeline.load_lora_into_transformer(
            diffusers.FluxPipeline.lora_state_dict(tensors), network_alphas=None, transformer=model
        )
    else:
        tensors, alphas = diffusers.StableDiffusionPipeline.lora_state_dict(tensors)
        diffusers.StableDiffusionPipeline.load_lora_into_unet(tensors, network_alphas=alphas, unet=model)
    return getattr(model, "peft_config", None) is not None


@pytest.mark.parametrize("form", ["comfy", "kohya", "peft"])
def test_dora_of_parts_is_written_for_the_joined_weight(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By outputs each row has a length of its own, so the lengths of the parts are those of the whole; some parts alone say
    nothing of the rows of the others.
    """
    torch.manual_seed(0)
    weight, tensors, expected = torch.randn(24, 8), {}, []
    for row, part in enumerate("qkv"):
        A, B, lengths = torch.randn(2, 8), torch.randn(8, 2), torch.rand(8) + 1
        module = f"transformer.transformer_blocks.0.attn.to_{part}"
        tensors |= {f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}
        tensors[f"{module}.lora_magnitude_vector"] = lengths
        changed = weight[8 * row : 8 * row + 8].double() + B.double() @ A.double()
        expected.append(lengths.double()[:, None] * changed / changed.norm(dim=1, keepdim=True))
    whole = "double_blocks.0.img_attn.qkv.weight"
    save_file({whole: weight}, tmp_path / "base.safetensors")
    save_file(tensors, tmp_path / "a.safetensors")
    save_file({name: each for name, each in tensors.items() if "to_k" not in name}, tmp_path / "two.safetensors")
    base, out = str(tmp_path / "base.safetensors"), str(tmp_path / "out")
    assert run(["convert", str(tmp_path / "two.safetensors"), "--base", base, "--to", form, "-o", out]) == 4
    assert "is DoRA, and has 16 of the 24 rows that the base has in one weight" in capsys.readouterr().err
    assert run(["convert", str(tmp_path / "a.safetensors"), "--base", base, "--to", form, "-o", out]) == 0
    assert len(ao.open_adapter(out).layout) == 1
    assert run(["fuse", base, out, "--dtype", "float32", "--precision", "float64", "-o", f"{out}-fused"]) == 0
    found = next(Path(f"{out}-fused").glob("*.safetensors"))
    torch.testing.assert_close(load_file(found)[whole].double(), torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_which_text_encoders_diffusers_has_lora_on(tmp_path: Path) -> None:
    """Those of Stable Diffusion, the first of Flux, and the first two, which are CLIP's, of Stable Diffusion 3. Of any other it
    loads nothing, and says nothing: what `check` says of them.
    """
    mixins = {
        name: each for name, each in vars(diffusers.loaders.lora_pipeline).items() if name.endswith("LoaderMixin")
    }
    loaded = {
        name: [*filter(re.compile("text_encoder").match, each._lora_loadable_modules)] for name, each in mixins.items()
    }
    both = ["text_encoder", "text_encoder_2"]
    assert {name.removesuffix("LoraLoaderMixin"): parts for name, parts in loaded.items() if parts} == {
        "StableDiffusion": both[:1], "StableDiffusionXL": both, "SD3": both, "Flux": both[:1], "Amused": both[:1], "": both[:1],
    }  # fmt: skip
    pairs = {
        f"{module}.lora_{half}.weight": torch.ones(4, 4)
        for module in ("transformer.transformer_blocks.0.img_mod.1", "text_encoder.model.layers.0.mlp.up_proj")
        for half in "AB"
    }
    save_file(pairs, tmp_path / "a.safetensors")
    found = check(tmp_path / "a.safetensors")["diffusers"]
    assert [each.fact.modules for each in found.findings if each.rule.severity == "silently wrong"] == [
        ("text_encoder.model.layers.0.mlp.up_proj",)
    ]


OF_PART = {"transformer.r": 4, "transformer.lora_alpha": 8, "transformer.target_modules": ["to_q"]}


@pytest.mark.parametrize(
    ("header", "applied"),
    [
        ({EMBEDDED: json.dumps(OF_PART)}, 2),
        ({EMBEDDED: json.dumps({**OF_PART, "transformer.target_modules": None})}, None),
        ({EMBEDDED: json.dumps({name.replace("transformer", "text_encoder"): each for name, each in OF_PART.items()})}, None),
        ({"transformer.lora_alpha": "8", "transformer.r": "4"}, 1),
        ({"lora_alpha": "8"}, 1),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_which_headers_diffusers_takes_a_scale_from(
    tmp_path: Path, header: dict[str, str], applied: float | None
) -> None:
    """`check` says so, and what is written for diffusers has it where diffusers finds it."""
    name = "transformer.transformer_blocks.0.attn.to_q"
    model, A, B = flux(tmp_path / "base"), torch.randn(4, 32), torch.randn(32, 4)
    save_file({f"{name}.lora_A.weight": A, f"{name}.lora_B.weight": B}, tmp_path / "a.safetensors", header)
    scale = ao.open_adapter(tmp_path / "a.safetensors").scalings[name].scale

    def by_diffusers(file: Path) -> torch.Tensor:
        loaded, mixin = copy.deepcopy(model), diffusers.loaders.FluxLoraLoaderMixin
        state, alphas, metadata = mixin.lora_state_dict(
            str(file.parent), weight_name=file.name, return_alphas=True, return_lora_metadata=True
        )
        mixin.load_lora_into_transformer(state, alphas, loaded, metadata=metadata)
        loaded.fuse_lora()
        loaded.unload_lora()
        place = "transformer_blocks.0.attn.to_q.weight"
        return loaded.state_dict()[place] - model.state_dict()[place]

    severity = check(tmp_path / "a.safetensors")["diffusers"].severity
    assert severity == {scale: "fine", None: "refused"}.get(applied, "silently wrong")
    with nullcontext() if applied else pytest.raises(KeyError):
        torch.testing.assert_close(
            by_diffusers(tmp_path / "a.safetensors"), (applied or 0) * B @ A, rtol=1e-4, atol=1e-4
        )
    assert run(["convert", str(tmp_path / "a.safetensors"), "--to", "diffusers", "-o", str(tmp_path / "out")]) == 0
    written = tmp_path / "out" / FILES["diffusers"]
    torch.testing.assert_close(by_diffusers(written), scale * B @ A, rtol=1e-4, atol=1e-4)
    assert check(written)["diffusers"].severity == "fine"


@pytest.mark.parametrize("start", ["lora_unet_", "unet.", "lycoris_"])
@pytest.mark.parametrize("pipeline", ["StableDiffusionPipeline", "StableDiffusionXLPipeline"])
@pytest.mark.filterwarnings("ignore")
def test_no_pipeline_of_stable_diffusion_loads_lokr(tmp_path: Path, start: str, pipeline: str) -> None:
    """`load_lora_weights` asks for `lora` in every name; what it converts of kohya's has none of LoKr."""
    tensors, pipe = {}, object.__new__(type(pipeline, (getattr(diffusers, pipeline),), {"components": {}}))
    model = unet(tmp_path / "base")
    vars(pipe).update(_internal_dict={}, unet=model, text_encoder=None, text_encoder_2=None)
    before = load_file(tmp_path / "base" / BASE)
    for name in (UNET[0], UNET[-1]):
        out, into = before[f"{name}.weight"].shape
        key = f"{start}{name if start == 'unet.' else name.replace('.', '_')}"
        shapes = {"lokr_w1": (4, 4), "lokr_w2_a": (out // 4, 2), "lokr_w2_b": (2, into // 4)}
        tensors |= {f"{key}.{role}": 0.3 * torch.randn(shape) for role, shape in shapes.items()}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"Invalid LoRA checkpoint|not been correctly renamed"):
        pipe.load_lora_weights(str(tmp_path), weight_name="a.safetensors")
    assert check(tmp_path / "a.safetensors")["diffusers"].severity == "refused"
