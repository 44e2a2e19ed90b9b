"""DoRA, LoHa and LoKr as PEFT trains, saves and merges them:
fused from their files, and judged by PEFT's merged weights and forward pass.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from peft_models import base as tiny
from safetensors.torch import load_file, save_file
from small_models import gpt2
from strategies import entries
from torch import nn
from transformers import AutoModelForCausalLM

import adapterops as ao
from adapterops.cli.main import run

TARGETS = ["q_proj", "down_proj"]
CONFIGS: dict[str, Any] = {
    "dora": lambda: peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"], use_dora=True, rank_pattern={"down_proj": 2}
    ),
    "loha": lambda: peft.LoHaConfig(
        r=3, alpha=5, target_modules=["q_proj", "down_proj"], alpha_pattern={"down_proj": 7}
    ),
    "lokr": lambda: lokr(r=3, rank_pattern={"down_proj": 2}, init_weights="lycoris"),
    "lokr of whole matrices": lambda: lokr(r=9, rank_pattern={"down_proj": 20}, rank_dropout_scale=True),
    "lokr of four factors": lambda: lokr(r=3, decompose_both=True, rank_dropout=0.5),
    "lokr of a factored and a whole matrix": lambda: lokr(r=2, decompose_both=True, decompose_factor=32),
    "lokr of more rank than a matrix has": lambda: lokr(r=3, decompose_factor=32),
}
LINEAR = {kind: "LoHa" if kind == "loha" else "LoKr" for kind in CONFIGS if kind != "dora"}


def lokr(**config: Any) -> peft.LoKrConfig:
    """With a scale that the tensors do not say."""
    return peft.LoKrConfig(alpha=5, target_modules=TARGETS, alpha_pattern={"down_proj": 7}, **config)


Typed = Callable[..., str]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """What a command prints, which ends with a code."""

    def command(*arguments: object, code: int = 0) -> str:
        assert run([str(argument) for argument in arguments]) == code
        return "".join(capsys.readouterr())

    return command


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def trained(base: Path, folder: Path, kind: str) -> peft.PeftModel:
    """An adapter with random numbers, and magnitudes that are not the weight's own."""
    torch.manual_seed(3)
    model = peft.get_peft_model(tiny(), CONFIGS[kind]())
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= 1 + 0.2 * torch.rand(parameter.shape)
        elif "lora_" in name or "hada_" in name or "lokr_" in name:
            nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return model


def changed(base: Path, folder: Path, kind: str) -> dict[str, torch.Tensor]:
    """What PEFT's own merge of an adapter, which is saved, changes in each weight of a base."""
    before = load_file(base / "model.safetensors")
    merged = trained(base, folder / kind, kind).merge_and_unload().state_dict()
    return {name: merged[name] - before[name] for name in before if "q_proj" in name or "down_proj" in name}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.filterwarnings("ignore")
def test_fused_as_peft_merges_and_verified(
    base: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, typed: Typed
) -> None:
    monkeypatch.chdir(tmp_path)
    model = trained(base, tmp_path / kind, kind)
    typed("fuse", "base", kind, "-o", "fused")
    wanted, found = model.merge_and_unload().state_dict(), load_file(tmp_path / "fused/model.safetensors")
    for name, weight in found.items():
        torch.testing.assert_close(weight, wanted[name], atol=2e-6, rtol=1e-5)
    down = "model.layers.0.mlp.down_proj.weight"
    assert float((found[down] - load_file(base / "model.safetensors")[down]).norm()) > 0.1
    kept = json.loads((tmp_path / "fused/adapterops.json").read_text())
    assert kept["survival"]["gain"] == pytest.approx(1, abs=1e-4)
    typed("verify", "fused")
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        expected = peft.PeftModel.from_pretrained(tiny(), tmp_path / kind).eval()(tokens).logits
        logits = AutoModelForCausalLM.from_pretrained(tmp_path / "fused").eval()(tokens).logits
    torch.testing.assert_close(logits, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)
    found["model.layers.1.self_attn.q_proj.weight"][3, 5] += 1e-3
    save_file(found, tmp_path / "fused/model.safetensors", {"format": "pt"})
    shown = typed("verify", "fused", "--json", code=8)
    assert "q_proj" in shown


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.filterwarnings("ignore")
def test_what_is_linear_is_added_scaled_cut_and_merged_as_any_update(base: Path, tmp_path: Path, kind: str) -> None:
    layers = trained(base, tmp_path / kind, kind)
    adapter = ao.open_adapter(tmp_path / kind)
    module = "model.layers.0.self_attn.q_proj"
    update = adapter.updates[module]
    torch.testing.assert_close(
        entries(update), layers.get_submodule(f"base_model.model.{module}").get_delta_weight("default").detach()
    )
    assert adapter.layout[module].kind == LINEAR[kind]
    torch.testing.assert_close(entries(update), entries(update.lowrank()), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(entries(update.T), entries(update).T)
    assert update.norm() == pytest.approx(float(entries(update).double().norm()), rel=1e-5)
    ao.save_adapter(2.0 * adapter + adapter, tmp_path / "triple")
    again = ao.open_adapter(tmp_path / "triple")
    torch.testing.assert_close(entries(again.updates[module]), 3 * entries(update), atol=1e-4, rtol=1e-4)
    saved = ao.save_adapter(ao.truncate(adapter, 4), tmp_path / "small")
    s = torch.linalg.svdvals(entries(update).double())
    assert saved.modules[module].energy == pytest.approx(float(s[:4].square().sum() / s.square().sum()), abs=1e-6)
    merged = ao.merge([adapter, adapter], "ties", density=1.0)
    torch.testing.assert_close(entries(merged.updates[module]), entries(update), atol=1e-6, rtol=1e-5)
    peft.PeftModel.from_pretrained(tiny(), tmp_path / "triple")


@pytest.mark.parametrize("config", [{"r": 3}, {"r": 3, "decompose_both": True}])
@pytest.mark.filterwarnings("ignore")
def test_lokr_that_was_never_trained_is_seen_as_such(tmp_path: Path, config: dict[str, Any], typed: Typed) -> None:
    peft.get_peft_model(tiny(), lokr(**config)).save_pretrained(tmp_path / "new")
    found = json.loads(typed("show", tmp_path / "new", "--json"))
    assert len(found["zero"]) == found["modules"] == 4


@pytest.mark.parametrize("through", ["mlx", "comfy"])
@pytest.mark.filterwarnings("ignore")
def test_dora_in_another_format_and_back_is_what_peft_applies(
    base: Path, tmp_path: Path, typed: Typed, through: str
) -> None:
    wanted = trained(base, tmp_path / "dora", "dora")
    typed("convert", tmp_path / "dora", "--to", through, "-o", tmp_path / through)
    written = tmp_path / through / ("lora.safetensors" if through == "comfy" else "")
    typed("convert", written, "--to", "peft", "--base", base, "-o", tmp_path / "back")
    found = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "back")
    ids = torch.arange(8)[None]
    with torch.no_grad():
        torch.testing.assert_close(found(ids).logits, wanted.eval()(ids).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_what_needs_the_weight_is_refused_without_it(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed
) -> None:
    monkeypatch.chdir(tmp_path)
    trained(base, tmp_path / "dora", "dora")
    assert "DoRA on" in typed("show", "dora")
    assert "are those of BA, without the magnitudes" in typed("show", "dora", "--spectrum")
    typed("fuse", base, "dora", "-o", "fused")
    for arguments in (
        ("merge", "dora", "dora"),
        ("merge", "dora", "-w", "0.5"),
        ("merge", "dora"),
        ("merge", "dora", "--ties"),
        ("truncate", "dora", "--rank", "1"),
        ("compare", "dora", "dora"),
        ("unfuse", "fused", "dora", "-o", "back"),
    ):
        shown = typed(*arguments, code=4)
        assert "DoRA" in shown
        assert "q_proj" in shown or "down_proj" in shown


@pytest.mark.filterwarnings("ignore")
def test_with_the_base_one_is_cut_and_scaled_as_what_peft_changes_in_it(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed
) -> None:
    monkeypatch.chdir(tmp_path)
    W, changes = load_file(base / "model.safetensors"), changed(base, tmp_path, "dora")
    assert "name the model with --base" in typed("truncate", "dora", "--rank", "2", code=4)
    typed("truncate", "dora", "--base", base, "--rank", "2", "--exact", "-o", "cut")
    typed("calc", "select(a, '*')", "a=dora", "--base", base, "--rank", "2", "--exact", "-o", "selected")
    typed("fuse", base, "dora", "-w", "0.5", "-o", "half")
    typed("verify", "half", "--base", base)
    cut, selected, half = ao.open_adapter("cut"), ao.open_adapter("selected"), load_file("half/model.safetensors")
    for name, change in changes.items():
        u, s, vt = torch.linalg.svd(change.double(), full_matrices=False)
        for found in (cut, selected):
            update = entries(found.updates[name.removesuffix(".weight")]).double()
            torch.testing.assert_close(update, (u[:, :2] * s[:2]) @ vt[:2], atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(half[name] - W[name], 0.5 * change, atol=2e-6, rtol=1e-4)
    assert "DoRA without --base) is refused" in " ".join(typed("normalize", "--help").split())
    assert "name the model with --base" in typed("normalize", "dora", "-o", "lora", code=4)
    assert "every update is what is kept of it, relative error" in typed(
        "normalize", "dora", "--base", base, "-o", "lora"
    )
    typed("convert", "dora", "--base", base, "--to", "peft", "-o", "kept")
    assert "DoRA on" in typed("show", "kept")


@pytest.mark.filterwarnings("ignore")
def test_with_the_base_several_are_merged_as_what_peft_changes_in_it(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed
) -> None:
    """DoRA with LoHa, and with itself: half the sum of what PEFT's own merges differ from the base by."""
    monkeypatch.chdir(tmp_path)
    W = load_file(base / "model.safetensors")
    changes = [changed(base, tmp_path, kind) for kind in ("dora", "loha")]
    for sources, own in ((("dora", "loha"), changes), (("dora", "dora"), changes[:1] * 2)):
        wanted = {name: 0.5 * own[0][name] + 0.5 * own[1][name] for name in own[0]}
        typed("fuse", base, *sources, "-w", "0.5", "-w", "0.5", "-o", "fused", "--force")
        fused = load_file(tmp_path / "fused/model.safetensors")
        for name, change in wanted.items():
            torch.testing.assert_close(fused[name] - W[name], change, atol=2e-6, rtol=1e-4)
        shown = typed("merge", *sources, "--base", base, "-w", "0.5", "-w", "0.5", "--exact", "-o", "merged", "--force")
        assert "energy kept" in shown
        found = ao.open_adapter(tmp_path / "merged")
        for name, change in wanted.items():
            module = name.removesuffix(".weight")
            u, s, vt = torch.linalg.svd(change.double(), full_matrices=False)
            rank = found.layout[module].rank
            best = (u[:, :rank] * s[:rank]) @ vt[:rank]
            torch.testing.assert_close(entries(found.updates[module]).double(), best, atol=1e-5, rtol=1e-3)
    assert "--base" in typed("merge", "dora", "dora", "-o", "refused", code=4)


@pytest.mark.parametrize(
    ("kind", "fields"), [("dora", {"use_dora": False}), ("loha", {"peft_type": "LORA", "lora_alpha": 4})]
)
@pytest.mark.filterwarnings("ignore")
def test_config_and_tensors_must_tell_of_one_kind(
    base: Path, tmp_path: Path, kind: str, fields: dict[str, Any]
) -> None:
    trained(base, tmp_path / kind, kind)
    path = tmp_path / kind / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(ao.AdapterOpsError) as caught:
        ao.open_adapter(tmp_path / kind)
    assert caught.value.exit_code in (3, 4)


@pytest.mark.filterwarnings("ignore")
def test_magnitudes_survive_a_base_in_bfloat16(tmp_path: Path) -> None:
    tiny(torch.bfloat16).save_pretrained(tmp_path / "base")
    trained(tmp_path / "base", tmp_path / "dora", "dora")
    fused = ao.fuse(ao.open_checkpoint(tmp_path / "base"), ao.open_adapter(tmp_path / "dora"))
    adapter = load_file(tmp_path / "dora/adapter_model.safetensors")
    prefix = "base_model.model.model.layers.1.self_attn.q_proj."
    A, B = (adapter[f"{prefix}lora_{role}.weight"].double() for role in "AB")
    W = load_file(tmp_path / "base/model.safetensors")["model.layers.1.self_attn.q_proj.weight"].double()
    V = W + 5 / 3 * B @ A
    wanted = adapter[f"{prefix}lora_magnitude_vector"].double()[:, None] * V / V.norm(dim=1, keepdim=True)
    found = fused.tensors["model.layers.1.self_attn.q_proj.weight"]
    assert np.abs((found.double() - wanted).numpy()).max() <= 2**-8 * float(wanted.abs().max())


@pytest.mark.filterwarnings("ignore")
def test_a_weight_that_is_stored_transposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed) -> None:
    monkeypatch.chdir(tmp_path)
    gpt2(tmp_path / "base")
    torch.manual_seed(5)
    model = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"),
        peft.LoraConfig(r=2, target_modules=["c_attn", "c_proj"], use_dora=True, fan_in_fan_out=True),
    )
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= 1 + 0.2 * torch.rand(parameter.shape)
        elif "lora_" in name:
            nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path / "dora")
    typed("fuse", "base", "dora", "-o", "fused")
    typed("verify", "fused")
    tokens = torch.arange(12)[None] % 20
    with torch.no_grad():
        wanted = model.eval()(tokens).logits
        found = AutoModelForCausalLM.from_pretrained(tmp_path / "fused").eval()(tokens).logits
    torch.testing.assert_close(found, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=1e-4)
    name = "transformer.h.1.attn.c_attn.weight"
    shard = (
        tmp_path
        / "fused"
        / json.loads((tmp_path / "fused/model.safetensors.index.json").read_text())["weight_map"][name]
    )
    weights = load_file(shard)
    weights[name][1, 2] += 1e-2
    save_file(weights, shard, {"format": "pt"})
    assert "c_attn" in typed("verify", "fused", code=8)


class Convolutions(nn.Module):
    """Two layers that PEFT adapts, and nothing that has to be loaded by transformers."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        layer: Any = (nn.Conv1d, nn.Conv2d)[dimensions - 1]
        self.conv = layer(8, 12, (3, 2)[:dimensions])
        self.point = layer(12, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.point(self.conv(x).tanh())
        return found


@pytest.mark.parametrize(
    ("kind", "dimensions"),
    [(kind, each) for kind in ("LoRA", "LoHa", "LoKr", "DoRA") for each in (1, 2)],
)
@pytest.mark.filterwarnings("ignore")
def test_convolutions_as_peft_merges_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed, kind: str, dimensions: int
) -> None:
    monkeypatch.chdir(tmp_path)
    configs: dict[str, Any] = {
        "LoRA": lambda: peft.LoraConfig(r=3, lora_alpha=5, target_modules=["conv", "point"]),
        "DoRA": lambda: peft.LoraConfig(r=3, lora_alpha=5, target_modules=["conv", "point"], use_dora=True),
        "LoHa": lambda: peft.LoHaConfig(r=3, alpha=5, target_modules=["conv", "point"]),
        "LoKr": lambda: peft.LoKrConfig(r=1, alpha=5, target_modules=["conv", "point"]),
    }
    torch.manual_seed(0)
    plain = Convolutions(dimensions)
    (tmp_path / "base").mkdir()
    save_file(plain.state_dict(), tmp_path / "base/model.safetensors")
    model = peft.get_peft_model(plain, configs[kind]())
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("lora_", "hada_", "lokr_")) and "magnitude" not in name:
            nn.init.normal_(parameter, std=0.3)
        elif "magnitude" in name:
            parameter.data *= 1 + 0.2 * torch.rand(parameter.shape)
    model.save_pretrained(tmp_path / "adapter")
    typed("fuse", "base", "adapter", "-o", "fused")
    typed("verify", "fused")
    typed("diagnose", "fused", "--base", "base", "--adapter", "adapter")
    wanted, found = model.merge_and_unload().state_dict(), load_file(tmp_path / "fused/model.safetensors")
    for name, weight in found.items():
        torch.testing.assert_close(weight, wanted[name], atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("options", [{"dilation": 2}, {"padding": 1, "padding_mode": "circular"}, {"padding": 1}])
@pytest.mark.filterwarnings("ignore")
def test_what_peft_trains_of_a_dilated_convolution_no_weight_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(8, 8, 3, **options), nn.Conv2d(8, 8, 1))
    (tmp_path / "base").mkdir()
    save_file(plain.state_dict(), "base/model.safetensors")
    model = peft.get_peft_model(
        copy.deepcopy(plain), peft.LoraConfig(target_modules=["0", "1"], init_lora_weights=False)
    )
    model.save_pretrained("adapter")
    said = typed("fuse", "base", "adapter", "-o", "fused")
    assert "(0) is trained by PEFT without dilation" in said
    plain.load_state_dict(load_file("fused/model.safetensors"))
    x = torch.randn(2, 8, 6, 6)
    try:
        same = torch.allclose(plain(x), model(x), atol=1e-4)
    except RuntimeError:  # its LoRA has another size
        same = False
    assert same == (options == {"padding": 1})


def test_lokr_that_peft_arranges_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed) -> None:
    monkeypatch.chdir(tmp_path)
    config = peft.LoKrConfig(r=8, alpha=5, target_modules=["conv"])
    peft.get_peft_model(Convolutions(1), config).save_pretrained("adapter")
    assert "a convolution in one dimension with all of lokr_w2" in typed("show", "adapter", code=4)


def test_lora_of_a_convolution_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed) -> None:
    monkeypatch.chdir(tmp_path)
    config = peft.LoraConfig(r=4, target_modules=["0"])
    peft.get_peft_model(nn.Sequential(nn.Conv2d(8, 8, 3, groups=2)), config).save_pretrained("adapter")
    assert "rank 4 and lora_B has rank 2, as PEFT has LoRA of a convolution in 2 groups" in typed(
        "show", "adapter", code=4
    )
