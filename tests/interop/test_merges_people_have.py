"""Merges as people have them, made by PEFT and transformers, right and wrong, and what a diagnosis says of each."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import gguf
import gguf_models
import peft
import pytest
import torch
from loading import causal
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config, Qwen3MoeConfig
from turns import ALL, some

from adapterops.cli.main import run

ATTENTION = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 96}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**ATTENTION, intermediate_size=128, num_key_value_heads=4),
    "qwen2": lambda: Qwen2Config(**ATTENTION, intermediate_size=128, num_key_value_heads=2, tie_word_embeddings=True),
    "gpt2": lambda: GPT2Config(vocab_size=96, n_embd=64, n_layer=3, n_head=4, n_positions=64),
    "qwen3_moe": lambda: Qwen3MoeConfig(
        **ATTENTION, num_key_value_heads=2, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24
    ),
}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
Q, V, DOWN = "self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"
LINEAR = {"llama": ["q_proj", "k_proj", "v_proj", "down_proj"], "qwen2": ["q_proj", "v_proj", "down_proj"]}
LINEAR |= {"gpt2": ["c_attn", "mlp.c_proj"], "qwen3_moe": ["q_proj", "o_proj"]}


@dataclass
class Made:
    """The folders of a base and of adapters, made once for each family and dtype."""

    folder: Path
    family: str
    dtype: str

    @property
    def base(self) -> Path:
        place = self.folder / f"{self.family}-{self.dtype}"
        if not place.exists():
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(FAMILIES[self.family]())
            for name, each in model.named_parameters():
                if name.endswith("bias"):
                    each.data.normal_(std=0.1)
            model.to(DTYPES[self.dtype]).save_pretrained(place)
        return place

    def model(self) -> Any:
        return causal(self.base, dtype=DTYPES[self.dtype])

    def adapter(self, seed: int = 1, config: Callable[..., Any] = peft.LoraConfig, **fields: Any) -> Path:
        """Saved by PEFT, with what it trains moved away from where it starts."""
        place = self.folder / f"{self.family}-{self.dtype}-{seed}-{abs(hash((config, str(fields))))}"
        if place.exists():
            return place
        torch.manual_seed(seed)
        given = {"target_modules": LINEAR[self.family], **fields}
        if config is peft.LoraConfig:
            given = {"r": 4, "lora_alpha": 12, **given}
        live = quietly(lambda: peft.get_peft_model(self.model(), config(task_type="CAUSAL_LM", **given)))
        for name, each in live.named_parameters():
            if each.requires_grad and "lora_A" not in name:
                each.data.add_(0.05 * torch.randn_like(each))
        live.peft_config["default"].base_model_name_or_path = "some/base"
        live.save_pretrained(place)
        return place

    def merged(self, *adapters: Path, **options: Any) -> Any:
        """One adapter after another, as PEFT merges them."""
        model = self.model()
        for each in adapters:
            live = quietly(lambda model=model, each=each: peft.PeftModel.from_pretrained(model, each))
            model = live.merge_and_unload(**options)
        return model


def quietly(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def changed(
    adapter: Path, out: Path, tensors: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] = dict, **fields: Any
) -> Path:
    """A copy of an adapter with other tensors, or other fields in its config."""
    shutil.copytree(adapter, out)
    file = out / "adapter_model.safetensors"
    save_file({k: v.clone() for k, v in tensors(load_file(file)).items()}, file, {"format": "pt"})
    config = json.loads((out / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(json.dumps({**config, **fields}))
    return out


def renamed(pattern: str, by: Callable[[re.Match[str]], str]) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {re.sub(pattern, by, name): each for name, each in tensors.items()}


def without(pattern: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {name: each for name, each in tensors.items() if not re.search(pattern, name)}


def edited(model: Any, edit: Callable[[dict[str, Tensor]], None], out: Path) -> Path:
    """A saved model with other tensors."""
    save(model, out)
    file = out / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file({name: each.contiguous() for name, each in tensors.items()}, file, {"format": "pt"})
    return out


def save(model: Any, out: Path, **options: Any) -> Path:
    model.save_pretrained(out, **options)
    return out


Case = Callable[[Made, Path], tuple[Path, list[Path]]]
"""Base and a folder → the merged model, and the adapters that it is asked about."""


def plain(made: Made, out: Path) -> tuple[Path, list[Path]]:
    adapter = made.adapter()
    return save(made.merged(adapter), out / "m"), [adapter]


def by_config(what: dict[str, Any], **fields: Any) -> Case:
    """Merged with an adapter whose config says something else than it was trained with."""

    def make(made: Made, out: Path) -> tuple[Path, list[Path]]:
        adapter = made.adapter(**fields)
        return save(made.merged(changed(adapter, out / "a", **what)), out / "m"), [adapter]

    return make


def by_tensors(edit: Callable[[dict[str, Tensor]], Mapping[str, Tensor]], **fields: Any) -> Case:
    def make(made: Made, out: Path) -> tuple[Path, list[Path]]:
        adapter = made.adapter(**fields)
        return save(made.merged(changed(adapter, out / "a", edit)), out / "m"), [adapter]

    return make


def right(config: Callable[..., Any] = peft.LoraConfig, safe: bool = False, **fields: Any) -> Case:
    def make(made: Made, out: Path) -> tuple[Path, list[Path]]:
        adapter = made.adapter(3, config, **fields)
        return save(made.merged(adapter, safe_merge=safe), out / "m"), [adapter]

    return make


def stored_as(dtype: torch.dtype, **options: Any) -> Case:
    def make(made: Made, out: Path) -> tuple[Path, list[Path]]:
        adapter = made.adapter()
        return save(made.merged(adapter).to(dtype), out / "m", **options), [adapter]

    return make


def sequence(*asked: int, times: int = 1) -> Case:
    """Two adapters one after the other, and the question about some of them."""

    def make(made: Made, out: Path) -> tuple[Path, list[Path]]:
        adapters = [made.adapter(seed) for seed in (1, 2)]
        return save(made.merged(*adapters), out / "m"), [adapters[k] for k in asked]

    return make


def twice(made: Made, out: Path) -> tuple[Path, list[Path]]:
    adapter = made.adapter()
    return save(made.merged(adapter, adapter), out / "m"), [adapter]


def combined(kind: str, weights: list[float], **options: Any) -> Case:
    """By `add_weighted_adapter`."""

    def make(made: Made, out: Path) -> tuple[Path, list[Path]]:
        adapters = [made.adapter(seed) for seed in (1, 2)]
        live = quietly(lambda: peft.PeftModel.from_pretrained(made.model(), adapters[0], adapter_name="a"))
        live.load_adapter(adapters[1], adapter_name="b")
        live.add_weighted_adapter(["a", "b"], weights, "c", combination_type=kind, **options)
        live.set_adapter("c")
        return save(live.merge_and_unload(adapter_names=["c"]), out / "m"), adapters

    return make


def unmerged(made: Made, out: Path) -> tuple[Path, list[Path]]:
    return save(made.model(), out / "m"), [made.adapter()]


def resized(made: Made, out: Path) -> tuple[Path, list[Path]]:
    adapter = made.adapter()
    model = made.merged(adapter)
    model.resize_token_embeddings(128)
    return save(model, out / "m"), [adapter]


def other_base(made: Made, out: Path) -> tuple[Path, list[Path]]:
    adapter, model = made.adapter(), made.model()
    for each in model.parameters():
        each.data.add_(0.01 * torch.randn_like(each))
    live = quietly(lambda: peft.PeftModel.from_pretrained(model, adapter))
    return save(live.merge_and_unload(), out / "m"), [adapter]


def tensors_of(edit: Callable[[dict[str, Tensor], dict[str, Tensor]], None]) -> Case:
    """The tensors of a right merge, edited by means of those of the base."""

    def make(made: Made, out: Path) -> tuple[Path, list[Path]]:
        adapter = made.adapter()
        before = load_file(made.base / "model.safetensors")
        return edited(made.merged(adapter), lambda tensors: edit(tensors, before), out / "m"), [adapter]

    return make


def _back(pattern: str) -> Callable[[dict[str, Tensor], dict[str, Tensor]], None]:
    """Some tensors are the base's again."""

    def edit(tensors: dict[str, Tensor], before: dict[str, Tensor]) -> None:
        for name in tensors:
            if re.search(pattern, name):
                tensors[name] = before[name]

    return edit


def _nan(tensors: dict[str, Tensor], before: dict[str, Tensor]) -> None:
    name = next(name for name in tensors if "layers.1" in name or "h.1" in name)
    tensors[name].view(-1)[5] = torch.nan


def _head(tensors: dict[str, Tensor], before: dict[str, Tensor]) -> None:
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()


def first_for_all(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensors[re.sub(r"(layers|h)\.\d", r"\g<1>.0", name)] for name in tensors}


def biases_back(made: Made, out: Path) -> tuple[Path, list[Path]]:
    adapter, before = made.adapter(bias="all"), load_file(made.base / "model.safetensors")
    return edited(made.merged(adapter), lambda tensors: _back(r"bias$")(tensors, before), out / "m"), [adapter]


def nf4_below(made: Made, out: Path) -> tuple[Path, list[Path]]:
    """Merged into what the 4-bit base of the training stands for."""
    import bitsandbytes.functional as bnb

    adapter, model = made.adapter(), made.model()
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not model.lm_head:
            codes, state = bnb.quantize_4bit(module.weight.data, quant_type="nf4")
            module.weight.data = bnb.dequantize_4bit(codes, state).view_as(module.weight)
    live = quietly(lambda: peft.PeftModel.from_pretrained(model, adapter))
    return save(live.merge_and_unload(), out / "m"), [adapter]


def off_by_one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return renamed(r"(layers|h)\.(\d)", lambda found: f"{found[1]}.{(int(found[2]) + 1) % 3}")(tensors)


PATTERNS = {"rank_pattern": {"v_proj": 8}, "alpha_pattern": {"q_proj": 30}}
COMMON = ("llama", "qwen2", "gpt2", "qwen3_moe")
NAMED = ("llama", "qwen2", "qwen3_moe")
CASES: dict[str, tuple[Case, int, str, tuple[str, ...]]] = {
    # right
    "right": (plain, 0, "complete", COMMON),
    "right-safe": (right(safe=True), 0, "complete", COMMON),
    "right-rslora": (right(use_rslora=True), 0, "complete", COMMON),
    "right-dora": (right(use_dora=True), 0, "complete", COMMON),
    "right-patterns": (right(**PATTERNS), 0, "complete", NAMED),
    "right-float32": (stored_as(torch.float32), 0, "complete", COMMON),
    "right-shards": (stored_as(torch.float32, max_shard_size="50kB"), 0, "complete", COMMON),
    "right-bfloat16": (stored_as(torch.bfloat16), 0, "complete", COMMON),
    "right-float16": (stored_as(torch.float16), 0, "complete", COMMON),
    "right-embedding": (right(target_modules=["q_proj", "embed_tokens"]), 0, "complete", ("llama",)),
    "right-whole-head": (right(modules_to_save=["lm_head"]), 0, "complete", ("llama",)),
    "right-tied-ends": (
        right(modules_to_save=["embed_tokens"], ensure_weight_tying=True),
        0,
        "complete",
        ("qwen2",),
    ),
    "right-bias": (right(bias="all"), 0, "complete", ("qwen2", "gpt2")),
    "right-loha": (right(peft.LoHaConfig, r=4, alpha=8), 0, "complete", NAMED),
    "right-lokr": (right(peft.LoKrConfig, r=4, alpha=8), 0, "complete", NAMED),
    "right-ia3": (right(peft.IA3Config, feedforward_modules=[]), 0, "complete", ("llama", "gpt2")),
    "right-oft": (right(peft.OFTConfig, r=0, oft_block_size=8), 0, "complete", ("llama",)),
    "right-sequence": (sequence(0, 1), 0, "complete", COMMON),
    "right-cat": (combined("cat", [0.7, 0.3]), 0, "complete", COMMON),
    # wrong
    "nothing": (unmerged, 8, "no update is in it", COMMON),
    "one-of-two-asked": (sequence(0), 8, "", COMMON),
    "twice": (twice, 8, "added twice", COMMON),
    "rslora-ignored": (
        by_config({"use_rslora": False}, use_rslora=True),
        8,
        "alpha / r, and not by alpha / sqrt(r)",
        COMMON,
    ),
    "rslora-invented": (by_config({"use_rslora": True}), 8, "alpha / sqrt(r), and not by alpha / r", COMMON),
    "alpha-as-rank": (by_config({"lora_alpha": 4}), 8, "its scale were left out", COMMON),
    "half": (by_config({"lora_alpha": 6}), 8, "0.5 times", COMMON),
    "alpha-pattern-ignored": (by_config({"alpha_pattern": {}}, **PATTERNS), 8, "times the update", NAMED),
    "dora-ignored": (
        by_config({"use_dora": False}, use_dora=True),
        8,
        "magnitude",
        COMMON,
    ),
    "missing-module": (
        by_tensors(without(r"1\.(self_attn\.q_proj|attn\.c_attn)")),
        8,
        "the update is not in it",
        COMMON,
    ),
    "missing-layer": (by_tensors(without(r"(layers|h)\.1\.")), 8, "the update is not in it", COMMON),
    "base-in-places": (tensors_of(_back(r"1\.(self_attn|attn)")), 8, "the update is not in it", COMMON),
    "layers-off-by-one": (by_tensors(off_by_one), 8, "holds the update of", COMMON),
    "first-layer-for-all": (by_tensors(first_for_all), 8, "holds the update of", COMMON),
    "q-and-k": (
        by_tensors(renamed(r"([qk])_proj", lambda m: {"q": "k", "k": "q"}[m[1]] + "_proj")),
        8,
        "holds the update of",
        ("llama",),
    ),
    "separately": (combined("linear", [1.0, 1.0]), 8, "separately", COMMON),
    "ties": (combined("ties", [1.0, 1.0], density=0.5), 8, "", ("llama", "gpt2")),
    "resized": (resized, 8, "expected", COMMON),
    "other-base": (other_base, 8, "not the base", COMMON),
    "not-a-number": (tensors_of(_nan), 8, "NaN", COMMON),
    "tied-back": (tensors_of(_head), 8, "", ("llama",)),
    "bias-left-out": (biases_back, 8, "is not the full tensor", ("qwen2", "gpt2")),
    "through-nf4": (nf4_below, 8, "quantized to NF4 and back", ("llama", "qwen2")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


EACH = [
    (name, family, dtype)
    for number, (name, (_, code, _, families)) in enumerate(CASES.items())
    for at, family in enumerate(some(families, 1 if code == 0 else 2))
    for dtype in (DTYPES if ALL else [list(DTYPES)[(number + at) % 3]])
]
"""Right ones of each family, wrong ones of every other, in a dtype each."""


@pytest.mark.parametrize(("name", "family", "dtype"), EACH)
def test_verdict(
    name: str, family: str, dtype: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case, code, words, _ = CASES[name]
    made = Made(folder, family, dtype)
    model, adapters = case(made, tmp_path)
    named = [part for each in adapters for part in ("--adapter", str(each))]
    capsys.readouterr()
    found = run(["diagnose", str(model), "--base", str(made.base), *named, "--workers", "1"])
    said = "".join(capsys.readouterr())
    assert found == code, said
    assert words in said, said


GGUF = {"base": 8, "merged": 0, "twice": 8, "other": 8}


TYPES = ["F16", "BF16", "Q8_0", "Q5_1", "Q4_0", "Q6_K", "Q4_K"]
IN_TURN = [(("llama", "qwen3moe")[at % 2], type_) for at, type_ in enumerate(TYPES)]


@pytest.mark.parametrize(("architecture", "type_"), IN_TURN)
def test_merges_that_were_converted_to_gguf(
    architecture: str, type_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the type that all were quantized to, the base as well, and with the base as transformers has it."""
    built = gguf_models.model(architecture)
    built.save_pretrained(tmp_path / "hf")

    def live(seed: int, model: Any) -> Any:
        torch.manual_seed(seed)
        found = peft.get_peft_model(
            model, peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "o_proj"])
        )
        for name, each in found.named_parameters():
            if "lora_B" in name:
                each.data.normal_(std=0.001)
        return found

    live(1, gguf_models.model(architecture)).save_pretrained(tmp_path / "a")
    once, other = (live(seed, gguf_models.model(architecture)).merge_and_unload() for seed in (1, 2))
    again = live(1, live(1, gguf_models.model(architecture)).merge_and_unload()).merge_and_unload()
    for name, each in zip(GGUF, (built, once, again, other), strict=True):
        monkeypatch.setattr(gguf_models, "model", lambda architecture, each=each: each)
        gguf_models.write(tmp_path / f"{name}.gguf", architecture, type_=gguf.GGMLQuantizationType[type_])
    for base, name in product(("hf", "base.gguf"), GGUF):
        arguments = [str(tmp_path / f"{name}.gguf"), "--base", str(tmp_path / base), "--adapter", str(tmp_path / "a")]
        assert run(["diagnose", *arguments]) == GGUF[name], (base, name, capsys.readouterr().out)
        said = capsys.readouterr().out
        assert name != "twice" or "added twice" in said
        assert name != "other" or type_ not in ("F16", "BF16", "Q8_0") or "not the base and a weighted sum" in said
