"""LoRA that PEFT trains on the parameters of fused experts:
what is read, fused and saved computes what PEFT's unmerged model does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from expert_files import along_experts, as_old_peft_saves_it, listed, on_modules, on_single_experts, with_shared
from expert_models import (
    SIZES,
    TOKENS,
    assert_answers_alike,
    assert_saved_as,
    deltas,
    load,
    logits,
    trained,
    unmerged,
)
from safetensors.torch import load_file, save_file
from strategies import entries
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteMoeConfig,
    GraniteMoeForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    MixtralConfig,
    MixtralForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from turns import ALL

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import IncompatibleError, UnsupportedError

Make = Callable[[str, str], Path]


def mixtral() -> nn.Module:
    return MixtralForCausalLM(MixtralConfig(**SIZES, intermediate_size=20, num_local_experts=3, num_experts_per_tok=2))


def qwen3_moe(intermediate: int = 12) -> nn.Module:
    sizes = {"moe_intermediate_size": intermediate, "num_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 40}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **sizes))


def qwen2_moe() -> nn.Module:
    sizes = {
        "moe_intermediate_size": 12,
        "shared_expert_intermediate_size": 16,
        "num_experts": 4,
        "intermediate_size": 40,
    }
    return Qwen2MoeForCausalLM(Qwen2MoeConfig(**SIZES, **sizes, num_experts_per_tok=2))


def phimoe() -> nn.Module:
    """Its experts are called w1, w2 and w3 in its files."""
    return PhimoeForCausalLM(PhimoeConfig(**SIZES, intermediate_size=20, num_local_experts=3, num_experts_per_tok=2))


def gpt_oss(intermediate: int = 32) -> nn.Module:
    """Its down_proj is square, as in the released models; its experts are stored as (in, out), gate and up in turn."""
    sizes = {"intermediate_size": intermediate, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8}
    return GptOssForCausalLM(GptOssConfig(**SIZES, **sizes, max_position_embeddings=64, rope_scaling=None))


def llama4(intermediate: int = 20) -> nn.Module:
    """Its experts are stored as (in, out), which PEFT does not know."""
    sizes = {"num_local_experts": 4, "interleave_moe_layer_step": 1, "intermediate_size_mlp": 24}
    return Llama4ForCausalLM(Llama4TextConfig(**SIZES, **sizes, intermediate_size=intermediate))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mixtral": mixtral,
    "qwen3_moe": qwen3_moe,
    "qwen3_moe, square gate_up_proj": lambda: qwen3_moe(16),
    "qwen2_moe": qwen2_moe,
    "phimoe": phimoe,
    "gpt_oss, square down_proj": gpt_oss,
    "gpt_oss": lambda: gpt_oss(20),
}
HOW_STORED = ["each by itself", "all in one"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The folder of the base with a name in `MODELS`; what is in it must not be changed."""
    place = tmp_path_factory.mktemp("bases")

    def folder(name: str, stored: str = "all in one") -> Path:
        path = place / f"{name} {stored}"
        if not path.exists():
            torch.manual_seed(list(MODELS).index(name))
            MODELS[name]().save_pretrained(path, save_original_format=stored == "each by itself")
        return path

    return folder


Teach = Callable[[Path, str], Path]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Teach:
    """The folder of the adapter with a name in `CASES` that PEFT makes for a base; what is in it must not be changed."""
    place = tmp_path_factory.mktemp("adapters")

    @cache
    def folder(base: Path, case: str) -> Path:
        return trained(base, place / f"{base.name} {case}", **CASES[case])

    return folder


BOTH = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
CASES: dict[str, dict[str, Any]] = {
    "both, and q_proj": {"r": 4, "lora_alpha": 10, "target_modules": ["q_proj"], "target_parameters": BOTH},
    "both in the other order": {"r": 2, "target_modules": [], "target_parameters": BOTH[::-1]},
    "names without a dot": {"r": 2, "target_modules": ["q_proj"], "target_parameters": ["down_proj", "gate_up_proj"]},
    "gate_up_proj of one layer": {
        "r": 2,
        "lora_alpha": 3,
        "target_modules": ["q_proj"],
        "target_parameters": ["1.mlp.experts.gate_up_proj"],
    },
    "down_proj": {"r": 3, "lora_alpha": 9, "target_modules": [], "target_parameters": ["experts.down_proj"]},
    "rsLoRA and patterns": {
        "r": 4,
        "lora_alpha": 7.5,
        "use_rslora": True,
        "target_modules": ["q_proj", "v_proj"],
        "target_parameters": BOTH,
        "rank_pattern": {"down_proj": 3, "1.mlp.experts.gate_up_proj": 5, "layers.1.self_attn.q_proj": 2},
        "alpha_pattern": {r".*layers\.0.*gate_up_proj": 3, "^model.layers.1.mlp.experts.down_proj": 5},
    },
}


SQUARE = {"gpt_oss, square down_proj": "down_proj", "qwen3_moe, square gate_up_proj": "gate_up_proj of one layer"}
"""Of some models a case with one square parameter alone, of which PEFT's version shows which side is which."""
CHOSEN = [
    (model, case)
    for at, model in enumerate(MODELS)
    for turn, case in enumerate(CASES)
    if ALL or (at + turn) % 3 == 0 or case == SQUARE.get(model)
]
"""Of each model a third of the cases, and of each case a third of the models."""


@pytest.mark.parametrize(("model", "case"), CHOSEN)
def test_a_fused_model_answers_as_peft_does(made: Make, taught: Teach, tmp_path: Path, model: str, case: str) -> None:
    adapter = taught(made(model, HOW_STORED[-1]), case)
    expected = unmerged(made(model, HOW_STORED[-1]), adapter)
    before = dict(load(made(model, HOW_STORED[-1])).named_parameters())
    for stored in HOW_STORED[-1:] if "gpt_oss" in model else HOW_STORED:
        base, out, back = made(model, stored), tmp_path / stored, tmp_path / f"{stored} back"
        assert run(["fuse", str(base), str(adapter), "-o", str(out)]) == 0
        assert_answers_alike(load(out), expected, base)
        assert run(["verify", str(out), "--base", str(base), "--adapter", str(adapter), "--logits"]) == 0
        assert run(["unfuse", str(out), str(adapter), "-o", str(back)]) == 0
        found = dict(load(back).named_parameters())
        for name, W in before.items():
            torch.testing.assert_close(found[name], W, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize(("model", "case"), CHOSEN)
def test_saving_what_was_opened_gives_what_was_trained(
    made: Make, taught: Teach, tmp_path: Path, model: str, case: str
) -> None:
    adapter = taught(made(model, "all in one"), case)
    assert_saved_as(
        ao.open_adapter(adapter),
        deltas(unmerged(made(model, "all in one"), adapter)),
        made(model, "all in one"),
        tmp_path / "out",
    )
    sizes = [
        {name: tensor.shape for name, tensor in load_file(folder / "adapter_model.safetensors").items()}
        for folder in (adapter, tmp_path / "out")
    ]
    assert sizes[0] == sizes[1]
    targets = [
        json.loads((folder / "adapter_config.json").read_text())["target_parameters"]
        for folder in (adapter, tmp_path / "out")
    ]
    assert targets[0] == targets[1]


@pytest.mark.parametrize("model", MODELS)
def test_a_sum_adds_what_peft_adds_for_each(made: Make, tmp_path: Path, model: str) -> None:
    """Of different ranks and scales, and of different parameters where that can be."""
    base = made(model, "all in one")
    cases = ["both, and q_proj", "rsLoRA and patterns", "down_proj"]
    folders = [trained(base, tmp_path / str(seed), seed, **CASES[case]) for seed, case in enumerate(cases)]
    weights = [0.7, -0.4, 1.5][: len(cases)]
    expected: dict[str, Tensor] = {}
    for weight, folder in zip(weights, folders, strict=True):
        for name, delta in deltas(unmerged(base, folder)).items():
            expected[name] = expected.get(name, torch.zeros(())) + weight * delta
    total = ao.merge([ao.open_adapter(folder) for folder in folders], weights=weights)
    assert_saved_as(total, expected, base, tmp_path / "sum")
    ao.save_checkpoint(ao.fuse(ao.open_checkpoint(base), total), tmp_path / "out")
    assert_answers_alike(load(tmp_path / "out"), unmerged(base, tmp_path / "sum"), base)
    found = ao.verify(ao.open_checkpoint(tmp_path / "out"), ao.open_checkpoint(base), total)
    assert found.ok
    assert found.others == found.tensors - len(expected)


@pytest.mark.parametrize("stored", HOW_STORED)
@pytest.mark.parametrize("cut", [{"rank": 2}, {"energy": 0.6}, {"budget": 900}], ids=str)
def test_what_is_cut_is_what_peft_loads(
    made: Make, taught: Teach, tmp_path: Path, cut: dict[str, Any], stored: str
) -> None:
    """Experts that keep less than others are filled up with zeros."""
    base = made("mixtral", stored)
    full = ao.open_adapter(taught(base, "rsLoRA and patterns"))
    small = ao.truncate(full, **cut)
    ao.save_adapter(small, tmp_path / "small")
    found = deltas(unmerged(base, tmp_path / "small"))
    again = ao.open_adapter(tmp_path / "small")
    for module in again.layout:
        update = entries(small.updates[module])
        torch.testing.assert_close(entries(again.updates[module]), update.float(), atol=1e-5, rtol=1e-4)
        path, _, expert = module.rpartition(".")[0].rpartition(".")
        leaf = module.rpartition(".")[2]
        delta = (
            found[f"{path}.{leaf}"][int(expert)]
            if expert.isdigit() and path.endswith("experts")
            else found[f"{module}.weight"]
        )
        torch.testing.assert_close(delta, update.float(), atol=1e-5, rtol=1e-4)
    ao.save_checkpoint(ao.fuse(ao.open_checkpoint(base), again), tmp_path / "out")
    assert_answers_alike(load(tmp_path / "out"), unmerged(base, tmp_path / "small"), base)


@pytest.mark.parametrize("intermediate", [20, 32])
@pytest.mark.parametrize("targets", [BOTH, BOTH[:1]], ids=["both", "gate_up_proj"])
def test_experts_that_peft_takes_for_out_in(tmp_path: Path, targets: list[str], intermediate: int) -> None:
    """Llama 4 stores (in, out) and does not say so: PEFT's factors are those of the transposed update, and stay so."""
    torch.manual_seed(0)
    base, targets = tmp_path / "base", [each.replace("mlp", "feed_forward") for each in targets]
    llama4(intermediate).save_pretrained(base)
    adapter = trained(base, tmp_path / "a", r=2, lora_alpha=6, target_modules=["q_proj"], target_parameters=targets)
    expected = unmerged(base, adapter)
    commands = {
        "cut": ["truncate", str(adapter), "--rank", "2"],
        "again": ["truncate", str(tmp_path / "cut"), "--rank", "2"],
        "mean": ["merge", str(adapter), str(tmp_path / "again"), "--linear", "-w", "0.5", "-w", "0.5"],
        "named": ["merge", str(adapter), "--base", str(base)],
        "fused": ["fuse", str(base), str(tmp_path / "mean")],
        "extracted": ["extract", str(tmp_path / "fused"), "--base", str(base), "--rank", "8"],
        "last": ["truncate", str(tmp_path / "extracted"), "--rank", "8"],
    }
    for name, command in commands.items():
        assert run([*command, "-o", str(tmp_path / name)]) == 0
        found = load(tmp_path / name) if name == "fused" else unmerged(base, tmp_path / name)
        bound = {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(logits(found), logits(expected), **bound)


@pytest.mark.parametrize("stored", HOW_STORED)
def test_ties_is_the_same_however_the_base_is_stored(made: Make, tmp_path: Path, stored: str) -> None:
    base = made("qwen3_moe", stored)
    pair = [trained(base, tmp_path / str(seed), seed, **CASES["both, and q_proj"]) for seed in (1, 2)]
    assert run(["fuse", str(base), *map(str, pair), "--ties", "--density", "0.3", "-o", str(tmp_path / "out")]) == 0
    merged = ao.merge([ao.open_adapter(path) for path in pair], "ties", density=0.3)
    before, after = dict(load(base).named_parameters()), dict(load(tmp_path / "out").named_parameters())
    for module in merged.layout:
        path, _, expert = module.rpartition(".")[0].rpartition(".")
        name = (
            f"{path}.{module.rpartition('.')[2]}"
            if expert.isdigit() and path.endswith("experts")
            else f"{module}.weight"
        )
        W, changed = (
            each[name][int(expert)] if name in before and "experts" in name else each[name] for each in (before, after)
        )
        torch.testing.assert_close(changed, W + entries(merged.updates[module]), atol=1e-5, rtol=1e-5)


def test_a_router_is_adapted_as_a_parameter_too(made: Make, tmp_path: Path) -> None:
    base = made("mixtral", "each by itself")
    adapter = trained(
        base, tmp_path / "adapter", r=2, target_modules=["q_proj"], target_parameters=["gate.weight", *BOTH]
    )
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert_answers_alike(load(tmp_path / "out"), unmerged(base, adapter), base)
    assert_saved_as(ao.open_adapter(adapter), deltas(unmerged(base, adapter)), base, tmp_path / "saved")


def test_an_adapter_of_single_experts_that_peft_fused(made: Make, tmp_path: Path) -> None:
    """PEFT turns w1, w2 and w3 into parameters where transformers has none such,
    with twice the rank for two of them.
    """
    base = made("mixtral", "each by itself")
    adapter = trained(base, tmp_path / "adapter", r=2, lora_alpha=5, target_modules=["w1", "w2", "w3", "q_proj"])
    assert json.loads((adapter / "adapter_config.json").read_text())["target_parameters"]
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert_answers_alike(load(tmp_path / "out"), unmerged(base, adapter), base)


@pytest.mark.parametrize("stored", HOW_STORED)
@pytest.mark.parametrize("left_out", ["", "up_proj", "w2"])
@pytest.mark.parametrize("model", ["qwen2_moe", "phimoe"])
def test_single_experts_are_written_as_the_parameter_that_peft_adapts(
    made: Make, tmp_path: Path, model: str, left_out: str, stored: str
) -> None:
    """PEFT converts LoRA on each for some types of models alone, and loads nothing of it, or an error, for others."""
    adapter, changed = on_single_experts(made(model, "each by itself"), tmp_path, left_out)
    base = made(model, stored)
    assert run(["truncate", str(adapter), "--rank", "4", "--base", str(base), "-o", str(tmp_path / "out")]) == 0
    assert_answers_alike(unmerged(base, tmp_path / "out"), load(changed), base)


@pytest.mark.parametrize("stored", HOW_STORED)
@pytest.mark.parametrize("model", ["qwen3_moe", "mixtral", "phimoe"])
def test_single_experts_and_the_parameter_of_all_are_merged(
    made: Make, tmp_path: Path, model: str, stored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    single, changed = on_single_experts(made(model, "each by itself"), tmp_path)
    base = made(model, stored)
    whole = trained(base, tmp_path / "whole", r=2, lora_alpha=5, target_modules=["q_proj"], target_parameters=BOTH)
    both = [str(single), str(whole), "-w", "1", "-w", "1"]
    assert run(["merge", *both, "-o", str(tmp_path / "merged")]) == 4
    assert "--base" in capsys.readouterr().err
    assert run(["merge", *both, "--base", str(base), "-o", str(tmp_path / "merged")]) == 0
    assert run(["fuse", str(base), *both, "-o", str(tmp_path / "fused")]) == 0
    expected = unmerged(changed, whole)
    assert_answers_alike(load(tmp_path / "fused"), expected, base)
    assert_answers_alike(unmerged(base, tmp_path / "merged"), expected, base)


@pytest.mark.parametrize("model", ["mixtral", "qwen3_moe"])
def test_each_expert_by_the_names_of_the_files(made: Make, tmp_path: Path, model: str) -> None:
    """What was trained on parameters that hold all experts, as LoRA on the weights of each: PEFT reads both alike."""
    base = made(model, "each by itself")
    adapter = trained(base, tmp_path / "adapter", r=4, lora_alpha=10, target_modules=["q_proj"], target_parameters=BOTH)
    assert run(["normalize", str(adapter), "--base", str(base), "--names", "files", "-o", str(tmp_path / "each")]) == 0
    config = json.loads((tmp_path / "each" / "adapter_config.json").read_text())
    assert "target_parameters" not in config
    assert all("." not in each for each in config["target_modules"])
    names = load_file(tmp_path / "each" / "adapter_model.safetensors")
    modules = {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in names}
    stored = {name.removesuffix(".weight") for name in ao.open_checkpoint(base).layout}
    assert modules <= stored
    assert sum(".experts." in each for each in modules) == 2 * 3 * (3 if model == "mixtral" else 4)
    assert_answers_alike(unmerged(base, tmp_path / "each"), unmerged(base, adapter), base)
    for name in ("adapter", "each"):
        ao.save_checkpoint(
            ao.fuse(ao.open_checkpoint(base), ao.open_adapter(tmp_path / name)), tmp_path / f"{name}-fused"
        )
    weights = [sorted((tmp_path / f"{name}-fused").glob("*.safetensors")) for name in ("adapter", "each")]
    assert [each.read_bytes() for each in weights[0]] == [each.read_bytes() for each in weights[1]]


def test_files_that_have_all_experts_in_one_weight(made: Make, tmp_path: Path) -> None:
    base = made("gpt_oss", "all in one")
    adapter = trained(base, tmp_path / "adapter", r=2, target_modules=[], target_parameters=BOTH)
    assert run(["normalize", str(adapter), "--base", str(base), "--names", "files", "-o", str(tmp_path / "each")]) == 4
    assert not (tmp_path / "each").exists()


@pytest.mark.parametrize("stored", HOW_STORED)
@pytest.mark.parametrize("case", ["both, and q_proj", "down_proj", "gate_up_proj of one layer"])
@pytest.mark.parametrize("model", ["qwen3_moe", "qwen3_moe, square gate_up_proj"])
def test_what_older_versions_of_peft_saved(
    made: Make, taught: Teach, tmp_path: Path, model: str, case: str, stored: str
) -> None:
    if SQUARE.get(model) == case:
        return  # refused, below
    base = made(model, stored)
    adapter = taught(base, case)
    old = as_old_peft_saves_it(adapter, tmp_path / "old")
    assert run(["fuse", str(base), str(old), "-o", str(tmp_path / "out")]) == 0
    assert_answers_alike(load(tmp_path / "out"), unmerged(base, adapter), base)
    if case == "both, and q_proj":
        assert_saved_as(ao.open_adapter(old), deltas(unmerged(base, adapter)), base, tmp_path / "saved")


@pytest.mark.parametrize(("model", "case"), SQUARE.items())
def test_a_square_parameter_alone_of_older_versions_is_refused(
    made: Make, taught: Teach, tmp_path: Path, model: str, case: str
) -> None:
    adapter = taught(made(model, "all in one"), case)
    with pytest.raises(UnsupportedError, match="peft_version"):
        ao.open_adapter(as_old_peft_saves_it(adapter, tmp_path / "old"))


def test_a_square_parameter_alone_whose_sides_the_model_has_otherwise(tmp_path: Path) -> None:
    """PEFT takes the experts of Llama 4 for (out, in), and they are (in, out)."""
    torch.manual_seed(0)
    llama4(32).save_pretrained(tmp_path / "base")
    adapter = trained(tmp_path / "base", tmp_path / "a", **CASES["down_proj"])
    with pytest.raises(UnsupportedError, match="as \\(in, out\\), so that it is not known"):
        ao.fuse(ao.open_checkpoint(tmp_path / "base"), ao.open_adapter(adapter))


def test_the_number_of_experts_is_that_of_the_base(made: Make, tmp_path: Path) -> None:
    """A config with half the rank makes twice the experts."""
    base = made("qwen3_moe", "all in one")
    adapter = trained(base, tmp_path / "adapter", r=4, target_modules=[], target_parameters=BOTH)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "r": 2}))
    for stored in HOW_STORED:
        with pytest.raises(IncompatibleError, match="8 experts in the adapter, and 4 in the base"):
            ao.fuse(ao.open_checkpoint(made("qwen3_moe", stored)), ao.open_adapter(adapter))


def test_parameters_that_are_not_handled_are_named(made: Make, tmp_path: Path) -> None:
    base = made("gpt_oss", "all in one")
    with pytest.raises(UnsupportedError, match="gate_up_proj_bias"):
        ao.open_adapter(
            trained(base, tmp_path / "a", r=2, target_modules=[], target_parameters=["experts.gate_up_proj_bias"])
        )
    both = trained(
        base,
        tmp_path / "b",
        r=2,
        target_modules=[],
        target_parameters=["experts.gate_up_proj", "experts.down_proj_bias"],
    )
    with pytest.raises(UnsupportedError, match="down_proj_bias and gate_up_proj"):
        ao.open_adapter(both)


OUTER = ("gate_up_proj.lora_A", "down_proj.lora_B")


@pytest.mark.parametrize("shared", [(), OUTER], ids=["each its own", "shared outer"])
@pytest.mark.parametrize(
    ("model", "stored", "count"),
    [
        ("qwen3_moe", "all in one", 4),
        ("mixtral", "each by itself", 3),
        ("qwen3_moe, square gate_up_proj", "each by itself", 4),
        ("gpt_oss, square down_proj", "all in one", 4),
    ],
)
def test_factors_with_an_axis_of_experts(
    made: Make, taught: Teach, tmp_path: Path, model: str, stored: str, count: int, shared: Collection[str]
) -> None:
    base = made(model, stored)
    own = taught(base, "both, and q_proj")
    equal = with_shared(own, tmp_path / "equal", count, shared)
    adapter = along_experts(equal, tmp_path / "adapter", count, shared)
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert_answers_alike(load(tmp_path / "out"), unmerged(base, equal), base)
    assert run(["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(adapter)]) == 0
    assert_saved_as(ao.open_adapter(adapter), deltas(unmerged(base, equal)), base, tmp_path / "saved")


def test_one_update_of_all_experts_is_refused(made: Make, taught: Teach, tmp_path: Path) -> None:
    """How many there are does not stand in the file."""
    own = taught(made("qwen3_moe", "all in one"), "both, and q_proj")
    both = (*OUTER, "gate_up_proj.lora_B", "down_proj.lora_A")
    with pytest.raises(UnsupportedError, match="one update of all experts"):
        ao.open_adapter(along_experts(own, tmp_path / "adapter", 4, both))


@pytest.mark.parametrize("router", [True, False], ids=["with the router", "experts alone"])
@pytest.mark.parametrize("model", ["gpt_oss", "gpt_oss, square down_proj"])
def test_experts_in_lists(made: Make, tmp_path: Path, model: str, router: bool) -> None:
    """`experts.gate_up_projs.3`: into the fused weights of the model, and into a base that has the same lists."""
    base = made(model, "all in one")
    lists, adapter, expected = listed(base, tmp_path / "lists", router)
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert_answers_alike(load(tmp_path / "out"), expected, base)
    assert run(["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(adapter)]) == 0
    assert run(["fuse", str(lists), str(adapter), "-o", str(tmp_path / "same")]) == 0
    found = load_file(tmp_path / "same/model.safetensors")
    for name, parameter in load(tmp_path / "out").named_parameters():
        if "experts.down_proj" in name and "bias" not in name:
            for number, weight in enumerate(parameter):
                torch.testing.assert_close(found[f"{name}s.{number}.weight"], weight.T)
    assert run(["verify", str(tmp_path / "same"), "--base", str(lists), "--adapter", str(adapter)]) == 0
    if router:  # a router of transformers is no layer that PEFT wraps
        return
    assert run(["merge", str(adapter), "--base", str(base), "-o", str(tmp_path / "named")]) == 0
    assert_answers_alike(unmerged(base, tmp_path / "named"), expected, base)
    fused = trained(base, tmp_path / "fused", r=2, target_modules=[], target_parameters=BOTH)
    assert run(["fuse", str(lists), str(fused), "-o", str(tmp_path / "parts")]) == 0
    wanted = dict(unmerged(base, fused).merge_and_unload().named_parameters())
    found = load_file(tmp_path / "parts/model.safetensors")
    for name in [name for name in wanted if name.endswith(("gate_up_proj", "down_proj"))]:
        for number, weight in enumerate(wanted[name]):
            torch.testing.assert_close(found[f"{name}s.{number}.weight"], weight.T, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", ["qwen3_moe", "gpt_oss"])
def test_an_expert_the_other_way_round_is_that_of_another_model(made: Make, tmp_path: Path, model: str) -> None:
    """Fused experts show by both of their parameters which side is which: a reversed shape is no transposed weight."""
    base = made(model, "all in one")
    module, inner = "base_model.model.model.layers.0.mlp.experts.1.down_proj", 12 if model == "qwen3_moe" else 20
    for number, (out, into) in enumerate(((32, inner), (inner, 32))):
        folder = tmp_path / str(number)
        folder.mkdir()
        factors = {f"{module}.lora_A.weight": torch.randn(2, into), f"{module}.lora_B.weight": torch.randn(out, 2)}
        save_file(factors, folder / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["down_proj"]}
        (folder / "adapter_config.json").write_text(json.dumps(config))
    ao.fuse(ao.open_checkpoint(base), ao.open_adapter(tmp_path / "0"))
    with pytest.raises(IncompatibleError, match="do not fit"):
        ao.fuse(ao.open_checkpoint(base), ao.open_adapter(tmp_path / "1"))


@pytest.mark.parametrize("projections", [("gate_proj", "up_proj", "down_proj"), ("up_proj",)], ids="+".join)
@pytest.mark.parametrize("kind", ["mixtral", "granite"])
def test_single_experts_by_names_that_peft_does_not_know_for_a_model(
    kind: str, projections: tuple[str, ...], tmp_path: Path
) -> None:
    """With the base they become the parameter that PEFT adapts, whatever the files have; without it PEFT loads nothing."""
    torch.manual_seed(0)
    model = mixtral() if kind == "mixtral" else granite_moe()
    model.eval().save_pretrained(tmp_path / "base")
    base = type(model).from_pretrained(tmp_path / "base").eval()
    tuned, tensors = type(model).from_pretrained(tmp_path / "base").eval(), {}
    for name, weight in tuned.named_parameters():
        path, _, last = name.rpartition(".")
        if not path.endswith("experts") or weight.ndim != 3:
            continue
        parts = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}[last]
        for number, expert in enumerate(weight.data[:-1]):  # the last one has none
            for part, rows in zip(parts, expert.chunk(len(parts)), strict=True):
                if part in projections:
                    A, B = torch.randn(2, rows.shape[1]) / 5, torch.randn(rows.shape[0], 2) / 5
                    tensors[f"base_model.model.{path}.{number}.{part}.lora_A.weight"] = A
                    tensors[f"base_model.model.{path}.{number}.{part}.lora_B.weight"] = B
                    rows += 2 * B @ A
    fields = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": list(projections)}
    (tmp_path / "a").mkdir()
    (tmp_path / "a/adapter_config.json").write_text(json.dumps(fields))
    save_file(tensors, tmp_path / "a/adapter_model.safetensors")
    cut = [
        "truncate",
        str(tmp_path / "a"),
        "--base",
        str(tmp_path / "base"),
        "--rank",
        "8",
        "-o",
        str(tmp_path / "cut"),
    ]
    assert run(cut) == 0
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "cut").eval()
    torch.testing.assert_close(loaded(TOKENS).logits, tuned(TOKENS).logits, rtol=1e-4, atol=1e-4)


def granite_moe() -> nn.Module:
    """Its files have all experts in one tensor, under other names."""
    return GraniteMoeForCausalLM(
        GraniteMoeConfig(**SIZES, intermediate_size=20, num_local_experts=4, num_experts_per_tok=2)
    )


def untrained(model_type: str) -> Any:
    """A tiny model whose second layer has experts, next to one for all tokens."""
    sizes = {**SIZES, "intermediate_size": 48, "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}
    own = {
        "afmoe": {"num_dense_layers": 1, "num_shared_experts": 1},
        "laguna": {"shared_expert_intermediate_size": 24, "mlp_layer_types": ["dense", "sparse"]},
    }
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes, **own[model_type]))


@pytest.mark.parametrize("ends", [(".experts.", "router.gate"), ("_proj", "router.gate"), ("gate_proj",)], ids="+".join)
def test_modules_that_peft_takes_for_experts_are_written_as_parameters(tmp_path: Path, ends: tuple[str, ...]) -> None:
    """PEFT makes `gate` and `gate_proj` parameters of experts, wherever they are, with the rank of the config."""
    untrained("afmoe").save_pretrained(tmp_path / "base")
    adapter, changed = on_modules(tmp_path / "base", tmp_path, ends)
    out = tmp_path / "out"
    assert run(["truncate", str(adapter), "--rank", "4", "--base", str(tmp_path / "base"), "-o", str(out)]) == 0
    assert_answers_alike(unmerged(tmp_path / "base", out), load(changed), tmp_path / "base")


def test_a_module_that_peft_renames_when_it_loads_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained("laguna").save_pretrained(tmp_path / "base")
    adapter, _ = on_modules(tmp_path / "base", tmp_path, ("shared_expert", "q_proj"))
    cut = ["truncate", str(adapter), "--rank", "4", "--base", str(tmp_path / "base"), "-o", str(tmp_path / "out")]
    assert run(cut) == 4
    assert "shared_experts.down_proj" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
