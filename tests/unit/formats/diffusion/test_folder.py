"""What is recognised, what is refused, and what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import AdapterOpsError, UnsupportedError
from adapterops.formats.diffusion.spellings import OF_IMAGES
from adapterops.formats.registry import FORMATS
from adapterops.storage.place import Place

KOHYA, DOTTED = "lora_unet_blocks_0_attn_q", "diffusion_model.blocks.0.attn.q"


def factors(module: str, ends: str = "lora_down lora_up", kernel: tuple[int, ...] = ()) -> dict[str, Any]:
    torch.manual_seed(0)
    down, up = ends.split()
    return {
        f"{module}.{down}.weight": torch.randn(2, 6, *kernel),
        f"{module}.{up}.weight": torch.randn(5, 2, *(1,) * len(kernel)),
    }


def saved(path: Path, tensors: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path)
    return path


def test_a_folder_of_diffusers(tmp_path: Path) -> None:
    saved(tmp_path / "a/pytorch_lora_weights.safetensors", factors(DOTTED, "lora_A lora_B"))
    assert list(ao.open_adapter(tmp_path / "a").layout) == [DOTTED]


@pytest.mark.parametrize(
    ("module", "ends", "form"), [(KOHYA, "lora_down lora_up", "kohya"), (DOTTED, "lora_A lora_B", "comfy")]
)
@pytest.mark.parametrize("kernel", [(), (3, 3)])
def test_written_in_the_names_it_came_with(
    tmp_path: Path, module: str, ends: str, form: str, kernel: tuple[int, ...]
) -> None:
    source = saved(tmp_path / "a.safetensors", factors(module, ends, kernel))
    adapter = ao.open_adapter(source)
    assert adapter.config.format == form
    ao.save_adapter(0.5 * adapter, tmp_path / "half")
    written = load_file(tmp_path / "half/lora.safetensors")
    assert {name.removeprefix(module) for name in written} == {
        *(name.removeprefix(module) for name in load_file(source)),
        ".alpha",
    }
    assert all(written[name].shape == each.shape for name, each in load_file(source).items())
    again = ao.open_adapter(tmp_path / "half")
    torch.testing.assert_close(
        torch.from_numpy(again.updates[module].dense()), torch.from_numpy(0.5 * adapter.updates[module].dense())
    )


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"{KOHYA}.alpha": torch.ones(1), **factors("lora_unet_x")}, "has an alpha and no factors"),
        ({**factors(KOHYA), f"{KOHYA}.lora_A.weight": torch.ones(2, 6)}, "is the same module's lora_A"),
        ({**factors(KOHYA), f"{KOHYA}.dora_scale": torch.ones(1, 5)}, "expected [6]"),
        ({f"{KOHYA}.dora_scale": torch.ones(5, 1)}, "has lora_magnitude_vector but no lora_A"),
        (
            {
                f"diffusion_model.blocks.{number}.q.lora_{half}.{name}.weight": torch.ones(2, 2)
                for number, name in enumerate(("default", "other"))
                for half in "AB"
            },
            "holds several adapters: default, other",
        ),
        ({**factors(KOHYA), f"{KOHYA}.dora_scale": torch.ones(4, 1)}, "expected [5]"),
        (
            {
                f"{KOHYA}.lora_down.weight": torch.ones(2, 6, dtype=torch.int32),
                f"{KOHYA}.lora_up.weight": torch.ones(5, 2),
            },
            "not a dtype for arithmetic",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, tensors: dict[str, Any], said: str) -> None:
    with pytest.raises(AdapterOpsError) as caught:
        ao.open_adapter(saved(tmp_path / "a.safetensors", tensors))
    assert said in str(caught.value)
    assert caught.value.exit_code in (3, 4)


def test_the_name_of_an_adapter_in_that_of_a_bias_is_that_of_its_module(tmp_path: Path) -> None:
    factors = {f"{DOTTED}.lora_{half}.default_0.weight": torch.ones(2, 2) for half in "AB"}
    bias = {f"{DOTTED}.lora_B.default_0.bias": torch.ones(2)}
    adapter = ao.open_adapter(saved(tmp_path / "a.safetensors", factors | bias))
    assert adapter.updates[f"{DOTTED}.bias"].dense().tolist() == [[1, 1]]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    flat = ao.open_adapter(saved(tmp_path / "a.safetensors", factors(KOHYA)))
    with pytest.raises(UnsupportedError, match="underscores in the place of dots"):
        ao.save_adapter(flat, tmp_path / "out", format="comfy")
    vector = ao.open_adapter(saved(tmp_path / "b.safetensors", {f"{DOTTED}.diff_b": torch.ones(5), **factors(DOTTED)}))
    with pytest.raises(UnsupportedError, match="a difference of a vector, which the format diffusers does not have"):
        ao.save_adapter(vector, tmp_path / "out", format="diffusers")
    around = "lora_unet_mid_block_attentions_0_proj_in"
    halves = {
        f"{around}.hada_w{n}_{each}": torch.ones((4, 2) if each == "a" else (2, 4)) for n in "12" for each in "ab"
    }
    product = ao.open_adapter(saved(tmp_path / "e.safetensors", halves))
    for total in (2 * product, product + product, ao.merge([product, product], "ties", density=0.5)):
        with pytest.raises(UnsupportedError, match="a convolution in some models"):
            ao.save_adapter(total, tmp_path / "out", format="kohya")
    gate = "transformer.double_stream_blocks.0.block.ff_i.gate"
    router = ao.open_adapter(saved(tmp_path / "c.safetensors", factors(gate)))
    with pytest.raises(UnsupportedError, match="diffusers would end with an error"):
        ao.save_adapter(2 * router, tmp_path / "out", format="diffusers")
    table = {"diffusion_model.blocks.0.scale_shift_table.diff": torch.ones(1, 6, 4), **factors(DOTTED)}
    named = ao.open_adapter(saved(tmp_path / "d.safetensors", table))
    with pytest.raises(UnsupportedError, match="for which kohya's names have no place"):
        ao.save_adapter(2 * named, tmp_path / "out", format="kohya")
    assert not (tmp_path / "out").exists()


WHOLE = {
    "diffusion_model.blocks.0.q.diff": (3, 4),
    "diffusion_model.blocks.0.q.diff_b": (3,),
    "diffusion_model.blocks.0.one.diff": (1, 4),
    "diffusion_model.blocks.0.norm.diff": (4,),
    "diffusion_model.blocks.0.modulation.diff": (1, 6, 4),
    "diffusion_model.token.diff": (1, 1, 4),
    "diffusion_model.patch.diff": (4, 2, 1, 2, 2),
    "diffusion_model.blocks.0.depthwise.diff": (4, 1, 3),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["comfy", "kohya"])
def test_differences_of_whole_tensors_are_written_as_they_are(tmp_path: Path, form: str, dtype: torch.dtype) -> None:
    tensors = {name: torch.randn(shape).to(dtype) for name, shape in WHOLE.items()}
    adapter = ao.open_adapter(saved(tmp_path / "a.safetensors", tensors))
    ao.save_adapter(2 * adapter, tmp_path / "twice", format=form)
    written = load_file(tmp_path / "twice/lora.safetensors")
    for name, each in tensors.items():
        if form == "kohya":
            *module, end = name.removeprefix("diffusion_model.").split(".")
            name = f"lora_unet_{'_'.join(module)}.{end}".replace("_modulation.diff", ".diff_m")
        torch.testing.assert_close(written.pop(name), 2 * each, rtol=0, atol=0)
    assert not written


def test_differences_of_vectors_are_no_lora(tmp_path: Path) -> None:
    """PEFT has no place for what is added to a norm, alone or with its bias."""
    save_file(
        {"diffusion_model.blocks.0.n.w_norm": torch.ones(8), "diffusion_model.blocks.0.n.b_norm": torch.ones(8)},
        tmp_path / "a.safetensors",
    )
    with pytest.raises(UnsupportedError, match="difference of a vector"):
        ao.save_adapter(ao.open_adapter(tmp_path / "a.safetensors"), tmp_path / "out", format="peft")


@pytest.mark.parametrize("start", ["diffusion_model.", "transformer.", "unet.", "transformer_2.", ""])
def test_peft_gets_the_names_of_the_model_that_it_wraps(tmp_path: Path, start: str) -> None:
    """PEFT knows the denoiser and not the pipeline around it; what a model is called in one is not in its names."""
    down, up = torch.randn(2, 8), torch.randn(6, 2)
    name = "transformer_blocks.0.attn.to_q"
    tensors = {f"{start}{name}.lora_A.weight": down, f"{start}{name}.lora_B.weight": up}
    save_file(tensors, tmp_path / "a.safetensors")
    ao.save_adapter(ao.open_adapter(tmp_path / "a.safetensors"), tmp_path / "out", format="peft")
    (module,) = ao.open_adapter(tmp_path / "out").layout
    assert module == name
    inner = torch.nn.ModuleDict({"to_q": torch.nn.Linear(8, 6, bias=False)})
    model = torch.nn.ModuleDict({"transformer_blocks": torch.nn.ModuleList([torch.nn.ModuleDict({"attn": inner})])})
    before = inner["to_q"].weight.detach().clone()
    merged = PeftModel.from_pretrained(model, tmp_path / "out").merge_and_unload()
    torch.testing.assert_close(merged.get_submodule(name).weight.detach() - before, up @ down)


def test_doubles_in_the_names_of_diffusers_count_once(tmp_path: Path) -> None:
    """Attention that was joined in training, with parts that are zero."""
    start = "transformer.transformer_blocks.0.attn"
    tensors = {f"{start}.to_qkv.lora_A.weight": torch.randn(2, 8), f"{start}.to_qkv.lora_B.weight": torch.randn(24, 2)}
    for part in "qkv":
        tensors |= {f"{start}.to_{part}.lora_A.weight": torch.randn(2, 8)}
        tensors |= {f"{start}.to_{part}.lora_B.weight": torch.zeros(8, 2)}
    save_file(tensors, tmp_path / "a.safetensors")
    assert list(ao.open_adapter(tmp_path / "a.safetensors").layout) == [f"{start}.to_qkv"]


@pytest.mark.parametrize("form", ["peft", "diffusers", "mlx"])
@pytest.mark.parametrize("table", ["modulation", "scale_shift_table"])
def test_a_difference_of_a_modulation_is_lora_in_no_format(tmp_path: Path, form: str, table: str) -> None:
    """No program would find a layer of that name."""
    q = "diffusion_model.blocks.0.self_attn.q"
    tensors = {"diffusion_model.blocks.0.diff_m": torch.ones(1, 6, 4), f"{q}.lora_A.weight": torch.ones(2, 4)}
    save_file(tensors | {f"{q}.lora_B.weight": torch.ones(4, 2)}, tmp_path / "a.safetensors")
    own = "self_attn.q" if table == "modulation" else "attn1.to_q"
    save_file(
        {f"blocks.0.{table}": torch.ones(1, 6, 4), f"blocks.0.{own}.weight": torch.ones(4, 4)},
        tmp_path / "base.safetensors",
    )
    line = ["convert", str(tmp_path / "a.safetensors"), "--base", str(tmp_path / "base.safetensors"), "--to", form]
    assert run([*line, "-o", str(tmp_path / "out")]) == 4


def test_a_base_that_says_nothing_but_its_names_is_no_model_that_peft_wraps(tmp_path: Path) -> None:
    """A checkpoint of ComfyUI in a folder, with an empty config: PEFT wraps what is below the prefix."""
    a = saved(tmp_path / "a.safetensors", factors(KOHYA))
    saved(tmp_path / "base" / "model.safetensors", {"model.diffusion_model.blocks.0.attn.q.weight": torch.ones(5, 6)})
    (tmp_path / "base" / "config.json").write_text("{}")
    line = ["convert", str(a), "--to", "peft", "--base", str(tmp_path / "base"), "-o", str(tmp_path / "out")]
    assert run(line) == 0
    assert list(ao.open_adapter(tmp_path / "out").layout) == ["blocks.0.attn.q"]


@pytest.mark.parametrize("module", ["unheard_of.0.layer", "layers.0.mlp.gate_proj"])
def test_a_file_of_diffusers_is_one_whatever_its_names(tmp_path: Path, module: str) -> None:
    """`transformer.` is how names of a GPT-2 begin, too: the header says that it is a part of a pipeline."""
    a = saved(tmp_path / "a.safetensors", factors(f"diffusion_model.{module}"))
    assert run(["convert", str(a), "--to", "diffusers", "-o", str(tmp_path / "b.safetensors")]) == 0
    (before,), (after,) = (ao.open_adapter(each).updates.values() for each in (a, tmp_path / "b.safetensors"))
    np.testing.assert_allclose(after.dense(), before.dense(), rtol=1e-6)


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "lora.safetensors"])
def test_a_folder_is_claimed_by_the_name_of_its_file(tmp_path: Path, name: str) -> None:
    """Whatever its modules are called; one with a config of PEFT is PEFT's, and any other name in a folder is none's."""
    tensors = {"x.lora_A.weight": torch.ones(2, 4), "x.lora_B.weight": torch.ones(4, 2)}
    for folder, file in (("a", name), ("b", name), ("c", "mine.safetensors")):
        (tmp_path / folder).mkdir()
        save_file(tensors, tmp_path / folder / file)
    (tmp_path / "b" / "adapter_config.json").write_text("{}")
    claimed = [
        [form for form in OF_IMAGES if FORMATS[form].claims(Place(tmp_path / folder))] for folder in ("a", "b", "c")
    ]
    assert claimed == [["comfy"], [], []]


def test_a_factor_without_the_ones_of_the_other(tmp_path: Path) -> None:
    """As ComfyUI takes them: all dimensions but the first are one."""
    down, up = torch.randn(2, 6), torch.randn(5, 2, 1, 1)
    adapter = ao.open_adapter(
        saved(tmp_path / "a.safetensors", {f"{KOHYA}.lora_down.weight": down, f"{KOHYA}.lora_up.weight": up})
    )
    for shape in ((5, 6), (5, 6, 1, 1)):
        base = saved(tmp_path / f"{len(shape)}.safetensors", {"blocks.0.attn.q.weight": torch.zeros(shape)})
        fused = ao.fuse(ao.open_checkpoint(base), adapter)
        ao.save_checkpoint(fused, tmp_path / f"fused{len(shape)}")
        (found,) = load_file(next((tmp_path / f"fused{len(shape)}").glob("*.safetensors"))).values()
        torch.testing.assert_close(found, (up.flatten(1) @ down).reshape(shape))
