"""Kinds of update beside plain LoRA, as PEFT trains and saves them: fused and judged by PEFT's own forward pass, and
where they are linear written as LoRA again, which PEFT loads.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from gptq_models import GPTQWeight, write_gptq
from peft.tuners.lora import KasaConfig
from peft.tuners.lora.config import MontecloraConfig, VeloraConfig
from peft.tuners.lora.layer import Linear
from peft.tuners.lora.variants import QALoraLinearVariant
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

import adapterops as ao
from adapterops.cli.main import run

TARGETS = ["q_proj", "v_proj"]
CONV1D = ["c_attn", "c_proj"]
IDS = torch.arange(24).reshape(2, 12)


def llama(tied: bool = False) -> Any:
    """With biases, and with two widths of input."""
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            intermediate_size=56,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=64,
            attention_bias=True,
            tie_word_embeddings=tied,
        )
    )


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64, n_positions=32))


MODELS: dict[str, Callable[[], Any]] = {"llama": llama, "gpt2": gpt2, "tied llama": partial(llama, True)}
LINEAR: dict[str, tuple[str, Callable[[], Any]]] = {
    "lora_bias": ("llama", lambda: peft.LoraConfig(r=3, lora_alpha=7, target_modules=TARGETS, lora_bias=True)),
    "lora_bias, rslora": (
        "llama",
        lambda: peft.LoraConfig(r=3, lora_alpha=7, target_modules=TARGETS, lora_bias=True, use_rslora=True),
    ),
    "lora_bias of Conv1D": ("gpt2", lambda: peft.LoraConfig(r=3, target_modules=CONV1D, lora_bias=True)),
}

LINEAR |= {
    "AdaLoRA": (
        "llama",
        lambda: peft.AdaLoraConfig(init_r=6, lora_alpha=40, total_step=9, tinit=1, tfinal=1, target_modules=TARGETS),
    ),
    "BD-LoRA": ("llama", lambda: peft.LoraConfig(r=4, target_modules=[*TARGETS, "down_proj"], use_bdlora=BLOCKS)),
    "VeLoRA": ("llama", lambda: peft.LoraConfig(r=3, target_modules=TARGETS, velora_config=VeloraConfig())),
    "MonteCLoRA": ("llama", lambda: peft.LoraConfig(r=3, target_modules=TARGETS, monteclora_config=MontecloraConfig())),
}
BLOCKS = {"target_modules_bd_a": ["down_proj"], "target_modules_bd_b": TARGETS, "nblocks": 2}
BASED: dict[str, tuple[str, Callable[[], Any]]] = {
    "PiSSA": ("llama", lambda: peft.LoraConfig(r=3, target_modules=MIXED, init_lora_weights="pissa")),
    "PiSSA, rslora": (
        "llama",
        lambda: peft.LoraConfig(r=3, target_modules=MIXED, init_lora_weights="pissa", use_rslora=True, lora_alpha=5),
    ),
    "PiSSA of Conv1D": ("gpt2", lambda: peft.LoraConfig(r=3, target_modules=CONV1D, init_lora_weights="pissa")),
    "OLoRA": ("llama", lambda: peft.LoraConfig(r=3, target_modules=MIXED, init_lora_weights="OLoRA", lora_alpha=5)),
    "KaSA": ("llama", lambda: peft.LoraConfig(r=3, target_modules=MIXED, kasa_config=KasaConfig(), lora_alpha=5)),
    "QA-LoRA": (
        "llama",
        lambda: peft.LoraConfig(r=3, target_modules=MIXED, use_qalora=True, qalora_group_size=8, lora_alpha=7),
    ),
    "VeRA": ("llama", lambda: peft.VeraConfig(r=6, target_modules=MIXED)),
    "VeRA of Conv1D": ("gpt2", lambda: peft.VeraConfig(r=6, target_modules=["c_attn"])),
}
"""What is linear by its base."""

MIXED = ["q_proj", "v_proj", "down_proj"]
GAINS: dict[str, tuple[str, Callable[[], Any]]] = {
    "(IA)³": (
        "llama",
        lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    ),
    "(IA)³ without biases": ("llama", lambda: peft.IA3Config(target_modules=["up_proj"], feedforward_modules=[])),
    "(IA)³ of Conv1D": (
        "gpt2",
        lambda: peft.IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"]),
    ),
}
OFT = {"oft_block_size": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}
ROTATIONS: dict[str, tuple[str, Callable[[], Any]]] = {
    "OFT": ("llama", lambda: peft.OFTConfig(**OFT)),
    "OFT and its biases": ("llama", lambda: peft.OFTConfig(**OFT, bias="oft_only")),
    "OFT, three terms": ("llama", lambda: peft.OFTConfig(**OFT, num_cayley_neumann_terms=3)),
    "OFT, two terms": ("llama", lambda: peft.OFTConfig(**OFT, num_cayley_neumann_terms=2)),
    "OFT, Cayley": ("llama", lambda: peft.OFTConfig(**OFT, use_cayley_neumann=False)),
    "OFT, one block for all": ("llama", lambda: peft.OFTConfig(**OFT, block_share=True)),
    "OFT, constrained": ("llama", lambda: peft.OFTConfig(**OFT, coft=True, eps=0.2)),
    "OFT by a number of blocks": ("llama", lambda: peft.OFTConfig(**{**OFT, "oft_block_size": 0}, r=2)),
    "BOFT": ("llama", lambda: peft.BOFTConfig(boft_block_size=4, target_modules=OFT["target_modules"])),
}
KINDS = {**LINEAR, **BASED, **GAINS, **ROTATIONS}


def made(folder: Path, name: str, config: Any) -> torch.Tensor:
    """A base and an adapter with random numbers; the logits are those of PEFT after loading both."""
    torch.manual_seed(0)
    plain = MODELS[name]()
    for parameter in plain.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.05 * torch.randn(parameter.shape)
    plain.save_pretrained(folder / "base")
    adapted = peft.get_peft_model(plain, config)
    for key, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            parameter.data += (0.5 if parameter.ndim == 1 or "ia3" in key else 0.1) * torch.randn(parameter.shape)
        if "lora_E" in key:
            parameter.data[1:3] = 0
            masks = adapted.peft_config["default"].rank_pattern = adapted.peft_config["default"].rank_pattern or {}
            masks[key.removeprefix("base_model.model.")] = [True, False, False, True, True, True]
    adapted.save_pretrained(folder / "adapter")
    return loaded(folder, folder / "adapter")


def loaded(folder: Path, adapter: Path) -> torch.Tensor:
    plain = AutoModelForCausalLM.from_pretrained(folder / "base")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        return logits(peft.PeftModel.from_pretrained(plain, adapter))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS).logits
        return found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PEFT has QA-LoRA on layers of GPTQ alone, which need a library and a GPU: here its forward pass is run on others."""
    monkeypatch.chdir(tmp_path)
    others = Linear.resolve_lora_variant

    def variant(self: Any, *, config: Any, **more: Any) -> Any:
        return QALoraLinearVariant() if config.use_qalora else others(self, config=config, **more)

    monkeypatch.setattr(Linear, "resolve_lora_variant", variant)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_fused_and_verified(tmp_path: Path, kind: str) -> None:
    name, config = KINDS[kind]
    expected = made(tmp_path, name, config())
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "fused")), expected)
    assert float((logits(AutoModelForCausalLM.from_pretrained(tmp_path / "base")) - expected).abs().max()) > 1e-3
    assert run(["verify", "fused"]) == 0
    assert run(["diagnose", "fused", "--base", "base", "--adapter", "adapter"]) == 0


@pytest.mark.parametrize("kind", [*LINEAR, *BASED])
@pytest.mark.filterwarnings("ignore")
def test_what_is_linear_is_written_as_lora(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, config = KINDS[kind]
    expected = made(tmp_path, name, config())
    if kind in BASED:
        assert run(["convert", "adapter", "--to", "peft", "-o", "kept"]) == 0
        assert run(["normalize", "adapter", "-o", "out"]) == 4
        for shown in capsys.readouterr():
            assert kind.split()[0].strip(",") in shown
            assert "--base" in shown
        close(loaded(tmp_path, tmp_path / "kept"), expected)
    for command in (
        ["convert", "adapter", "--to", "peft"],
        ["merge", "adapter", "adapter", "-w", "0.25", "-w", "0.75"],
        ["truncate", "adapter", "--rank", "32"],
    ):
        based = ["--base", "base"] if kind in BASED else []
        assert run([*command, *based, "-o", "out", "--force"]) == 0
        close(loaded(tmp_path, tmp_path / "out"), expected)


HEADED = {
    "PiSSA": ("llama", {"init_lora_weights": "pissa"}),
    "OLoRA": ("llama", {"init_lora_weights": "olora"}),
    "KaSA": ("llama", {"kasa_config": KasaConfig()}),
    "PiSSA on a tied head": ("tied llama", {"init_lora_weights": "pissa"}),
}


@pytest.mark.parametrize("kind", HEADED)
@pytest.mark.filterwarnings("ignore")
def test_what_changed_a_head_has_it_in_its_file(tmp_path: Path, kind: str) -> None:
    """PEFT saves the weight under an adapted head as training began with it, in the tensor that both ends share."""
    name, fields = HEADED[kind]
    expected = made(tmp_path, name, peft.LoraConfig(r=3, target_modules=["q_proj", "lm_head"], **fields))
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "fused")), expected)
    assert run(["verify", "fused"]) == 0
    assert run(["truncate", "adapter", "--rank", "32", "--base", "base", "-o", "out"]) == 0
    close(loaded(tmp_path, tmp_path / "out"), expected)


@pytest.mark.parametrize("fields", [each for name, each in HEADED.values() if name == "llama"], ids=list(HEADED)[:3])
@pytest.mark.filterwarnings("ignore")
def test_a_tied_head_of_another_name_changed_an_embedding_that_is_in_no_file(
    tmp_path: Path, fields: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT saves the weight under `lm_head` and `embed_tokens` alone; what is under BERT's decoder is its word embedding."""
    monkeypatch.chdir(tmp_path)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    base = BertForMaskedLM(BertConfig(vocab_size=32, **sizes))
    base.save_pretrained("base")
    words = base.bert.embeddings.word_embeddings.weight.clone()
    live = peft.get_peft_model(base, peft.LoraConfig(r=3, target_modules=["query", "decoder"], **fields))
    live.save_pretrained("adapter")
    assert not torch.allclose(base.bert.embeddings.word_embeddings.weight, words, atol=1e-3)
    for line in (["fuse", "base", "adapter"], ["truncate", "adapter", "--rank", "8", "--base", "base"]):
        assert run([*line, "-o", "out"]) == 4
        assert "cls.predictions.decoder: is" in (said := capsys.readouterr().err)
        assert "word_embeddings.weight in the base: so this changed, too" in said


@pytest.mark.parametrize("targets", [["input_layernorm", "norm"], r".*\.post_attention_layernorm"], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_trained_norms_take_the_place_of_the_base_s(
    tmp_path: Path, targets: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = made(tmp_path, "llama", peft.LNTuningConfig(target_modules=targets))
    assert run(["show", "adapter"]) == 0
    assert "full tensors" in capsys.readouterr().out
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "fused")), expected)
    assert run(["verify", "fused"]) == 0
    assert run(["merge", "adapter", "adapter", "-o", "out"]) == 2
    assert "full tensors, which are neither merged nor cut" in capsys.readouterr().err
    shutil.copy("adapter/adapter_model.safetensors", "lone.safetensors")  # whose names say all
    assert run(["fuse", "base", "lone.safetensors", "-o", "again"]) == 0
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "again")), expected)
    assert run(["convert", "lone.safetensors", "--to", "peft", "-o", "out"]) == 2
    assert "fuse it into its base" in capsys.readouterr().err
    for source in ("adapter", "lone.safetensors"):
        assert run(["check", source, "--for", "sglang"]) == 8
        assert "trained norms (LN_TUNING)" in (shown := capsys.readouterr().out)
        assert f"adapterops fuse BASE {source} -o fused" in shown


@pytest.mark.filterwarnings("ignore")
def test_trained_norms_are_found_in_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PEFT's own merge, the base, a part of the merge, and a model with something else."""
    made(tmp_path, "llama", peft.LNTuningConfig(target_modules=["input_layernorm", "norm"]))
    live = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), "adapter")
    live.merge_and_unload().save_pretrained("merged")
    stored = {name: load_file(f"{name}/model.safetensors") for name in ("merged", "base")}
    for name, change in {
        "partly": {"model.norm.weight": stored["base"]["model.norm.weight"]},
        "more": {"model.layers.0.mlp.up_proj.weight": 2 * stored["base"]["model.layers.0.mlp.up_proj.weight"]},
        "other": {
            each: torch.ones(32) * 7 for each in stored["base"] if "input_layernorm" in each or "model.norm" in each
        },
    }.items():
        shutil.copytree("merged", name)
        save_file({**stored["merged"], **change}, f"{name}/model.safetensors", {"format": "pt"})
    for name, code, verdict, said in (
        ("merged", 0, "base-plus-adapters", "complete"),
        ("base", 8, "base", "no full tensor of the adapters is in it"),
        ("partly", 8, "partly", "2 of 3"),
        ("more", 8, "partly", "other tensors differ"),
        ("other", 8, "something-else", "no full tensor"),
    ):
        capsys.readouterr()
        assert run(["diagnose", name, "--base", "base", "--adapter", "adapter"]) == code
        found = capsys.readouterr()
        assert said in found.out
        assert ("next: adapterops fuse base adapter -o fused" in found.err) == (verdict in ("base", "partly"))


@pytest.mark.filterwarnings("ignore")
def test_biases_in_bfloat16_are_written(tmp_path: Path) -> None:
    """Whose stored numbers are bits, and no numbers to multiply."""
    made(tmp_path, "llama", LINEAR["lora_bias"][1]())
    path = tmp_path / "adapter/adapter_model.safetensors"
    save_file({name: each.bfloat16() for name, each in load_file(path).items()}, path, {"format": "pt"})
    expected = loaded(tmp_path, tmp_path / "adapter")
    assert run(["truncate", "adapter", "--rank", "32", "-o", "out"]) == 0
    found = loaded(tmp_path, tmp_path / "out")
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=1e-2)
    assert {each.dtype for each in load_file("out/adapter_model.safetensors").values()} == {torch.bfloat16}


@pytest.mark.filterwarnings("ignore")
def test_biases_of_one_of_two_adapters_in_other_dtypes(tmp_path: Path) -> None:
    """Whose weights are summed in a wider one, and layers that the other alone has get a bias of zeros."""
    made(tmp_path, "llama", LINEAR["lora_bias"][1]())
    shutil.move("adapter", "biased")
    made(tmp_path, "llama", peft.LoraConfig(r=2, target_modules=["q_proj", "k_proj"]))
    for folder, dtype in ("biased", torch.float16), ("adapter", torch.bfloat16):
        path = tmp_path / folder / "adapter_model.safetensors"
        save_file({name: each.to(dtype) for name, each in load_file(path).items()}, path, {"format": "pt"})
    adapted = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), "biased").merge_and_unload()
    expected = logits(peft.PeftModel.from_pretrained(adapted, "adapter"))
    assert run(["merge", "biased", "adapter", "-w", "1,1", "-o", "out"]) == 0
    torch.testing.assert_close(loaded(tmp_path, tmp_path / "out"), expected, atol=2e-2, rtol=1e-2)


@pytest.mark.filterwarnings("ignore")
def test_biases_are_run_unmerged(tmp_path: Path) -> None:
    made(tmp_path, "llama", LINEAR["lora_bias"][1]())
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    assert run(["verify", "fused", "--logits"]) == 0


@pytest.mark.filterwarnings("ignore")
def test_biases_are_not_normalized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, *[part() if callable(part) else part for part in LINEAR["lora_bias"]])
    assert run(["normalize", "adapter", "-o", "out"]) == 4
    assert "is a bias (lora_bias)" in capsys.readouterr().err
    assert run(["check", "adapter", "--for", "vllm"]) == 8
    assert "trained biases" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["PiSSA", "OLoRA"])
@pytest.mark.filterwarnings("ignore")
def test_what_peft_converted_is_plain_lora(tmp_path: Path, kind: str) -> None:
    """With `path_initial_model_for_weight_conversion`, which doubles ranks and alphas."""
    torch.manual_seed(0)
    plain = llama()
    plain.save_pretrained(tmp_path / "base")
    adapted = peft.get_peft_model(plain, BASED[kind][1]())
    adapted.peft_config["default"].init_lora_weights = True
    adapted.save_pretrained(tmp_path / "start")
    adapted.peft_config["default"].init_lora_weights = kind.lower()
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    expected = logits(adapted)
    adapted.save_pretrained(tmp_path / "adapter", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "fused")), expected)


@pytest.mark.filterwarnings("ignore")
def test_what_changed_its_base_is_not_taken_out_of_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What training began with is a function of the weight that was there before."""
    made(tmp_path, "llama", BASED["PiSSA"][1]())
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    assert run(["unfuse", "fused", "adapter", "-o", "back"]) == 4
    assert "PiSSA" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_vera_is_taken_out_of_a_model(tmp_path: Path) -> None:
    made(tmp_path, "llama", BASED["VeRA"][1]())
    before = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "base"))
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    assert run(["unfuse", "fused", "adapter", "-o", "back"]) == 0
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "back")), before)


def test_qalora_on_a_weight_of_gptq(tmp_path: Path) -> None:
    """By the formula of PEFT's forward pass: A sees the means of groups of inputs, times how many these are."""
    module, weight = "model.layers.0.self_attn.q_proj", GPTQWeight.random(64, 64, 4, 16, ordered=True)
    write_gptq(tmp_path / "base", {module: weight}, 16)
    A, B, start = torch.randn(4, 8), torch.randn(64, 4), f"base_model.model.{module}"
    (tmp_path / "adapter").mkdir()
    save_file({f"{start}.lora_A.weight": A, f"{start}.lora_B.weight": B}, "adapter/adapter_model.safetensors")
    fields = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj"], "use_qalora": True, "qalora_group_size": 8}
    Path("adapter/adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **fields}))
    assert run(["fuse", "base", "adapter", "--dtype", "float32", "-o", "fused"]) == 0
    assert run(["verify", "fused"]) == 0
    x = torch.randn(64, dtype=torch.float64)
    expected = weight.formula() @ x + 6 / 4 * B.double() @ A.double() @ (8 * x.view(8, 8).mean(dim=1))
    found = load_file("fused/model.safetensors")[f"{module}.weight"].double() @ x
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_qalora_on_weights_that_are_not_quantized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There PEFT trains plain LoRA, and keeps the field."""
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    expected = made(tmp_path, *[part() if callable(part) else part for part in BASED["QA-LoRA"]])
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "fused")), expected)
    path = tmp_path / "adapter/adapter_config.json"
    fields = json.loads(path.read_text())
    for change, said in ({"lora_bias": True}, "lora_bias"), ({"qalora_group_size": 1}, "groups of one input"):
        path.write_text(json.dumps(fields | change))
        assert run(["show", "adapter"]) == 4
        assert said in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_replicated_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each copy of a layer has an adapter of its own, and in a fused model weights of its own."""
    ranges = [[0, 2], [0, 1], [1, 2]]
    expected = made(tmp_path, "llama", peft.LoraConfig(r=3, target_modules=TARGETS, layer_replication=ranges))
    assert {module.split(".")[2] for module in ao.open_adapter("adapter").layout} == set("0123")
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    assert json.loads(Path("fused/config.json").read_text())["num_hidden_layers"] == 4
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "fused")), expected)
    assert run(["verify", "fused"]) == 0
    assert run(["verify", "fused", "--base", "base", "--adapter", "adapter"]) == 0
    ao.save_checkpoint(ao.fuse(ao.open_checkpoint("base"), ao.open_adapter("adapter")), "again")
    assert Path("again/model.safetensors").read_bytes() == Path("fused/model.safetensors").read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_replicated_layers_stay_with_what_is_made_of_their_adapter(tmp_path: Path) -> None:
    ranges = [[0, 2], [1, 2]]
    expected = made(tmp_path, "llama", peft.LoraConfig(r=3, target_modules=TARGETS, layer_replication=ranges))
    for out, line in (
        ("cut", "truncate adapter --rank 3"),
        ("half", "calc 0.5*a+0.5*a a=adapter"),
        ("named", "convert adapter --to peft --base base --rank 3"),
    ):
        assert run([*line.split(), "-o", out]) == 0
        assert json.loads(Path(out, "adapter_config.json").read_text())["layer_replication"] == ranges
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        close(logits(peft.PeftModel.from_pretrained(model, out)), expected)
        assert run(["fuse", "base", out, "-o", f"{out}-fused"]) == 0
        close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / f"{out}-fused")), expected)


@pytest.mark.filterwarnings("ignore")
def test_replicated_layers_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Layer 1 of one is not that of the other; no other format and no server has these layers."""
    made(tmp_path, "llama", peft.LoraConfig(r=3, target_modules=TARGETS, layer_replication=[[0, 1], [0, 1]]))
    shutil.copytree("adapter", "plain")
    path = Path("plain/adapter_config.json")
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"layer_replication": None}))
    for line in ("merge adapter plain", "fuse base adapter plain", "convert adapter plain"):
        assert run([*line.split(), "-o", "out"]) in (2, 4)
    assert run(["compare", "adapter", "plain"]) == 4
    assert "its layer_replication is" in capsys.readouterr().err
    for line in ("convert adapter --to mlx", "convert adapter --to gguf --base base", "normalize adapter"):
        assert run([*line.split(), "-o", "out"]) == 4
        assert "replicated layers" in capsys.readouterr().err
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    assert run(["unfuse", "fused", "adapter", "-o", "out"]) == 4
    assert run(["check", "adapter", "--for", "vllm", "--base", "base"]) == 8
    capsys.readouterr()
    for ranges in ([[0, 9]], [[0, 1], [1, 3]]):
        path.write_text(json.dumps(fields | {"layer_replication": ranges}))
        assert run(["fuse", "base", "plain", "-o", "out"]) == 4
        assert "the model has 2" in capsys.readouterr().err
    for wrong in ([[1, 1]], [0, 1], "0-1", [[0, 1, 2]], [[0, True]], [[-1, 1]]):
        path.write_text(json.dumps(fields | {"layer_replication": wrong}))
        assert run(["show", "plain"]) == 3
        assert "expected ranges of layers" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_vera_without_what_its_modules_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, "llama", peft.VeraConfig(r=6, target_modules=TARGETS, save_projection=False))
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 4
    assert "is VeRA, and vera_A, which all modules share, is not in the file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kind", ["AdaLoRA", "BD-LoRA", "QA-LoRA", "VeRA", "KaSA", "PiSSA", "OLoRA", "(IA)³", "OFT", "BOFT"]
)
@pytest.mark.filterwarnings("ignore")
def test_servers_take_none_of_them_for_lora(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What `check` names as the way on makes an adapter that is fine."""
    name, config = KINDS[kind]
    made(tmp_path, name, config())
    assert run(["show", "adapter"]) == 0
    assert kind in capsys.readouterr().out
    for runtime in ("vllm", "sglang", "llama.cpp", "ollama", "tensorrt-llm", "lorax", "diffusers", "comfyui"):
        assert run(["check", "adapter", "--for", runtime]) == 8
        assert kind in capsys.readouterr().out
    if kind in BASED or kind in LINEAR:
        assert run(["normalize", "adapter", "--base", "base", "-o", "normalized"]) == 0
        assert run(["check", "normalized", "--for", "vllm"]) == 0


@pytest.mark.parametrize("factors", [2, 3])
@pytest.mark.filterwarnings("ignore")
def test_butterflies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factors: int) -> None:
    """PEFT has several factors with its CUDA kernel alone, for which torch's block_diag stands here."""
    from peft.tuners.boft import layer

    class Blocks:
        @staticmethod
        def apply(each: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.block_diag(*one) for one in each])

    monkeypatch.setattr(layer, "get_fbd_cuda", lambda: True)
    monkeypatch.setattr(layer, "FastBlockDiag", Blocks)
    targets = ["q_proj", "v_proj", "down_proj"]
    config = peft.BOFTConfig(boft_block_size=2, boft_n_butterfly_factor=factors, target_modules=targets)
    expected = made(tmp_path, "llama", config)
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "fused")), expected)
    assert run(["verify", "fused"]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_version": "0.17.1"}, "whose terms PEFT 0.18 changed"),
        ({"peft_version": None}, "whose terms PEFT 0.18 changed"),
        ({"oft_block_size": ...}, "it is OFT of PEFT 0.13 or earlier"),
        ({"num_cayley_neumann_terms": "5"}, "num_cayley_neumann_terms is '5'"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_rotations_that_the_config_does_not_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    made(tmp_path, "llama", peft.OFTConfig(**OFT))
    path = tmp_path / "adapter/adapter_config.json"
    fields = json.loads(path.read_text()) | change
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not ...}))
    assert run(["fuse", "base", "adapter", "-o", "fused"]) in (3, 4)
    assert said in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_rotations_of_embeddings_and_convolutions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, "llama", peft.OFTConfig(**{**OFT, "target_modules": ["embed_tokens", "q_proj"]}))
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 4
    assert "OFT of an embedding" in capsys.readouterr().err
    plain = torch.nn.Sequential(torch.nn.Conv2d(8, 4, 3))
    save_file(plain.state_dict(), tmp_path / "base/model.safetensors")
    peft.get_peft_model(plain, peft.OFTConfig(oft_block_size=8, target_modules=["0"])).save_pretrained("adapter")
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 4
    assert "only that of linear layers is handled" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_rotations_without_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, "llama", peft.OFTConfig(**OFT))
    path = tmp_path / "adapter/adapter_config.json"
    fields = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
    path.write_text(json.dumps(fields))
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 3
    assert "is OFT, and the config says LORA" in capsys.readouterr().err
    path.unlink()
    assert run(["fuse", "base", "adapter/adapter_model.safetensors", "--alpha", "8", "-o", "fused"]) == 4
    assert "is OFT, and no config says how it is computed" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["(IA)³", "(IA)³ of Conv1D", "OFT", "BOFT"])
def test_half_of_two_that_depend_on_the_base(tmp_path: Path, kind: str) -> None:
    """A merge with the base holds all of W' - W, whose rank is full, and fits that base: biases that it has not are zeros."""
    name, config = KINDS[kind]
    expected = made(tmp_path, name, config())
    shutil.copytree("adapter", "same")
    line = [
        "merge",
        "adapter",
        "same",
        "--base",
        "base",
        "--linear",
        "-w",
        "0.5,0.5",
        "--dtype",
        "float32",
        "-o",
        "half",
    ]
    assert run(line) == 0
    assert run(["fuse", "base", "half", "-o", "fused"]) == 0
    assert run(["verify", "fused"]) == 0
    assert run(["verify", "fused", "--base", "base", "--adapter", "half"]) == 0
    assert run(["diagnose", "fused", "--base", "base", "--adapter", "half"]) == 0
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "fused")), expected)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    close(logits(peft.PeftModel.from_pretrained(model, "half")), expected)


@pytest.mark.parametrize("kind", ["(IA)³ without biases", "OFT, Cayley", "BOFT"])
@pytest.mark.filterwarnings("ignore")
def test_with_the_base_one_is_what_it_changes_there(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W' - W is LoRA that PEFT loads, whichever command writes it."""
    monkeypatch.chdir(tmp_path)
    name, config = KINDS[kind]
    wanted = made(tmp_path, name, config())
    for arguments in (
        ("normalize", "adapter"),
        ("merge", "adapter", "--linear"),
        ("truncate", "adapter", "--rank", "32", "--exact"),
    ):
        assert run([*arguments, "--base", "base", "--dtype", "float32", "-o", arguments[0]]) == 0, arguments
        torch.testing.assert_close(loaded(tmp_path, tmp_path / arguments[0]), wanted, atol=1e-4, rtol=1e-4)
