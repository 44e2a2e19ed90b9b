"""Every layout of adapters of image and video models: read right to the last digit of float32, or refused by its name;
and what is done with it in its own format.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from corpus import digest
from layout_files import Layout
from layouts import LAYOUTS
from safetensors.torch import load_file, save_file
from turns import some

from adapterops.adapters.opening import open_adapter
from adapterops.cli.main import run
from adapterops.formats.registry import format_of
from adapterops.formats.runtimes.rules import BAD, ELSEWHERE
from adapterops.operations.serving import check
from adapterops.storage.place import Place

EXACT = ("--dtype", "float32", "--precision", "float64")


def stored(folder: Path, layout: Layout) -> dict[str, torch.Tensor]:
    """The base and the adapter, written; and the base."""
    base = {name: torch.randn(*shape) for name, shape in layout.base.items()}
    (folder / "base").mkdir()
    save_file(base, folder / "base" / "diffusion_pytorch_model.safetensors")
    header = {"format": "pt", **layout.header}
    save_file({name: each.contiguous() for name, each in layout.tensors.items()}, folder / "a.safetensors", header)
    return base


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.filterwarnings("ignore")
def test_a_layout_is_read_right_or_refused_by_its_name(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    layout = LAYOUTS[name]()
    base = stored(tmp_path, layout)
    line = ["fuse", str(tmp_path / "base"), str(tmp_path / "a.safetensors"), *EXACT, "-o", str(tmp_path / "out")]
    code, said = run(line), capsys.readouterr().err
    if layout.said:
        assert code in (3, 4), said
        assert layout.said in said.replace(str(tmp_path), "")
        return
    assert code == 0, said
    found = load_file(tmp_path / "out" / "diffusion_pytorch_model.safetensors")
    assert found.keys() == base.keys()
    for tensor, W in base.items():
        change = layout.changes.get(tensor, torch.zeros(()))
        wanted = W.double() + (change(W.double()) if callable(change) else change)
        torch.testing.assert_close(found[tensor], wanted.float(), atol=0, rtol=2e-7)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in LAYOUTS
        if name.startswith(("OpenCLIP", "Stable Audio", "DiffSynth's", "mflux's", "ACE", "biases of"))
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_verify_finds_the_same_places(tmp_path: Path, name: str) -> None:
    torch.manual_seed(1)
    stored(tmp_path, LAYOUTS[name]())
    base, source, out = (str(tmp_path / each) for each in ("base", "a.safetensors", "out"))
    assert run(["fuse", base, source, *EXACT, "-o", out]) == 0
    assert run(["verify", out, "--base", base, "--adapter", source]) == 0


READ = [name for name, make in LAYOUTS.items() if not make().said]
KINDS = ("LoHa", "LoKr", "LoCon, Tucker")
"""What is written as LoRA."""

SPELLINGS = (
    "DoRA: magnitude", "DoRA: lora_magnitude_vector", "diff_m", "w_norm", "b_norm", "lora_A.default", "lora_A without .weight",
    "lora_alpha in the header", "network_alpha in the header", "alpha in the header", "diffusers: ", "SimpleTuner: transformer.lora_alpha",
    "lora_adapter_metadata", "SimpleTuner of 2024", "XLabs",
    "B-LoRA of 2024", "a wrapper of training before blocks", "DiffSynth's Flux",
    "DoRA of diffusers in kohya", "kohya's names before", "prefix lora_te1. before", "prefix lora_unet. before",
    "prefix base_model.model.", "prefix unet.base_model.model.", "no prefix", "Z-Image: each update twice", "down and up in Comfy's names",
    "prefix model.diffusion_model.", "prefix net.", "Stable Audio: to_qkv", "lora_B.bias next to an alpha", "lora_up.bias", "one update by",
)  # fmt: skip
"""Names and scales that are read, and written otherwise."""


@pytest.mark.parametrize("name", some(READ, 3))
@pytest.mark.filterwarnings("ignore")
def test_nothing_is_done_to_an_adapter_in_its_own_format(tmp_path: Path, name: str) -> None:
    """It is copied byte for byte, header and all; and one that is spelled as no format writes it is, once it was written."""
    torch.manual_seed(1)
    stored(tmp_path, LAYOUTS[name]())
    first = tmp_path / "a.safetensors"
    form = format_of(Place(first))
    assert run(["convert", str(first), "--to", form, "-o", str(tmp_path / "out")]) == 0
    (written,) = (tmp_path / "out").glob("*.safetensors")
    assert (digest(written) == digest(first)) != name.startswith((*KINDS, *SPELLINGS)), "sort it with what it is"
    for number, line in enumerate((["convert", str(written), "--to", form], ["calc", "a", f"a={written}"])):
        assert run([*line, "-o", str(tmp_path / f"again-{number}")]) == 0
        (again,) = (tmp_path / f"again-{number}").glob("*.safetensors")
        assert digest(again) == digest(written)


@pytest.mark.parametrize(
    ("name", "refused"),
    [("LoCon, Tucker", True), ("DoRA: dora_scale by inputs", False), ("DoRA: dora_scale by outputs", False)],
)
@pytest.mark.filterwarnings("ignore")
def test_what_check_says_of_diffusers_is_what_it_does(
    tmp_path: Path, name: str, refused: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of Tucker's kernel it stops; the lengths of DoRA it leaves out. ComfyUI has another rule for lengths of inputs, and the
    name is of no model that is known here.
    """
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(1)
    layout = LAYOUTS[name]()
    stored(tmp_path, layout)
    with pytest.raises(ValueError, match="lora_mid") if refused else nullcontext():
        found = diffusers.StableDiffusionPipeline.lora_state_dict(dict(layout.tensors))[0]
        assert len(found) == 2
    assert run(["check", str(tmp_path / "a.safetensors"), "--for", "diffusers"]) == 8
    assert ("refused" if refused else "silently wrong") in capsys.readouterr().out
    comfyui = {"LoCon, Tucker": 0, "DoRA: dora_scale by inputs": 9, "DoRA: dora_scale by outputs": 8}
    assert run(["check", str(tmp_path / "a.safetensors"), "--for", "comfyui"]) == comfyui[name]


IN_DIFFUSERS = (
    "prefix transformer_2.", "Wan: self_attn.q for attn1.to_q", "Cosmos 1: the authors' names onto",
)  # fmt: skip
"""Layouts on a base in names of diffusers that ComfyUI does not have."""


@pytest.mark.parametrize("name", some(READ, 3))
@pytest.mark.filterwarnings("ignore")
def test_what_is_normalized_is_fine_once_it_is_converted(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """ComfyUI needs its own names for it, and says so; what cannot be LoRA is refused, and the message says to fuse."""
    torch.manual_seed(1)
    stored(tmp_path, LAYOUTS[name]())
    base, made = str(tmp_path / "base"), str(tmp_path / "normal")
    code = run(["normalize", str(tmp_path / "a.safetensors"), "--base", base, "-o", made])
    assert (code != 0) == name.startswith((*NO_LORA, SEVERAL))
    if code:
        assert code == 4
        assert ("--to diffusers" if name == SEVERAL else "fuse") in capsys.readouterr().err
        return
    findings = [each for verdict in check(made).values() for each in verdict.findings if each.rule.severity in BAD]
    assert {each.fact.name for each in findings} <= {"format", *ELSEWHERE, "rank", "wide"}, findings
    assert all(each.remedy for each in findings)
    if not any(module.startswith(ENCODERS) for module in open_adapter(made).layout):  # without a base, one of several
        assert run(["convert", made, "--to", "comfy", "-o", str(tmp_path / "comfy")]) == 0
        bad = {
            each.fact.name
            for each in check(tmp_path / "comfy", ["comfyui"])["comfyui"].findings
            if each.rule.severity in BAD
        }
        assert bad == ({"comfyui_left"} if name.startswith(IN_DIFFUSERS) else set()), (
            "sort it with what its base is called by"
        )


CUT = [name for name in READ if not name.startswith(("DoRA", "set_weight"))]


@pytest.mark.parametrize("how", [["--rank", "1"], ["--energy", "0.9"], ["--budget", "1M"]], ids=lambda how: how[0])
@pytest.mark.parametrize(
    "name", [name for name in CUT if name.startswith(("diff", "w_norm", "lora_B.bias", "LoHa", "LoCon"))]
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_cut_is_the_best_of_its_rank(tmp_path: Path, name: str, how: list[str]) -> None:
    """A difference of a matrix is written as factors then; what is no matrix of a layer is kept as it is."""
    torch.manual_seed(1)
    layout = LAYOUTS[name]()
    base = stored(tmp_path, layout)
    given, out = str(tmp_path / "a.safetensors"), str(tmp_path / "cut.safetensors")
    assert run(["truncate", given, *how, "--exact", "-o", out]) == 0
    assert run(["fuse", str(tmp_path / "base"), out, *EXACT, "-o", str(tmp_path / "out")]) == 0
    found = load_file(tmp_path / "out" / "diffusion_pytorch_model.safetensors")
    for tensor, W in base.items():
        change = layout.changes.get(tensor, torch.zeros_like(W))
        assert isinstance(change, torch.Tensor)
        U, S, V = torch.linalg.svd(change.double().flatten(1) if W.ndim in (2, 4) else change.double().reshape(1, -1))
        few = {"--rank": 1, "--budget": len(S)}.get(how[0]) or int(
            (S.square().cumsum(0) < 0.9 * S.square().sum()).sum()
        ) + 1
        best = (U[:, :few] * S[:few]) @ V[:few]
        torch.testing.assert_close(found[tensor].double(), W.double() + best.reshape(W.shape), atol=1e-5, rtol=1e-5)


ENCODERS = ("text_model.", "encoder.block.", "model.layers.")
SEVERAL = "Stable Diffusion 3 with three text encoders"
"""Models of a pipeline, of which PEFT wraps one."""

NO_LORA = (
    *(f"set_weight of a {what}" for what in ("norm", "bias", "scale", "modulation")),
    "biases of",
    "lora_B.bias",
    "lora_up.bias",
    "diff_b",
    "diff_m",
    "w_norm",
    "b_norm",
    "Stable Cascade: q, k and v into in_proj_weight",
)
"""Differences of what is no layer's matrix; and PEFT's LoRA on a MultiheadAttention of torch."""


@pytest.mark.parametrize("form", ["peft", "diffusers", "kohya", "comfy"])
@pytest.mark.parametrize("name", ["LoHa of a convolution", "LoKr of a convolution"])
@pytest.mark.filterwarnings("ignore")
def test_factors_of_a_convolution_have_the_kernel_of_the_base(tmp_path: Path, name: str, form: str) -> None:
    """The tensors of LoHa and LoKr do not show it; PEFT and diffusers load no matrices for a convolution."""
    torch.manual_seed(1)
    base = stored(tmp_path, LAYOUTS[name]())
    line = ["convert", str(tmp_path / "a.safetensors"), "--base", str(tmp_path / "base"), "--to", form]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    (written,) = (tmp_path / "out").glob("*.safetensors")
    (kernel,) = (each.shape for each in base.values())
    shapes = [tuple(each.shape) for each in load_file(written).values() if each.dim() > 1]
    assert sorted(each[1:] for each in shapes) == sorted([tuple(kernel[1:]), (shapes[0][0], 1, 1)])
