"""What `fuse` writes is what transformers loads without a word, and answers as PEFT does before anything is merged."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from corpus import config as adapter_config
from corpus import factors, tree, write_adapter
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from turns import some

from adapterops.cli.main import run

Numbers = NDArray[np.float64]
Make = Callable[[str, torch.dtype], Path]

HALF_AND_SINGLE = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
TOKENS = torch.arange(24).reshape(2, 12)
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "initializer_range": 0.2,  # as far from linear as a trained model
}
ENDS = {"bos_token_id": 0, "eos_token_id": 1}
SIGNIFICAND = {torch.float32: 24, torch.bfloat16: 8}


def llama(tied: bool) -> nn.Module:
    return LlamaForCausalLM(LlamaConfig(**SIZES, **ENDS, intermediate_size=48, tie_word_embeddings=tied))


def qwen2(tied: bool) -> nn.Module:
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, **ENDS, intermediate_size=48, tie_word_embeddings=tied))


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(
        GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=32, vocab_size=64, initializer_range=0.2, **ENDS)
    )


BASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "llama": (lambda: llama(False), {"max_shard_size": "20KB"}),
    "llama in one file": (lambda: llama(False), {}),
    "tied llama": (lambda: llama(True), {"max_shard_size": "20KB"}),
    "qwen2": (lambda: qwen2(False), {}),
    "tied qwen2": (lambda: qwen2(True), {}),
    "gpt2": (gpt2, {"max_shard_size": "20KB"}),
    "gpt2 in one file": (gpt2, {}),
}


def save(model: nn.Module, folder: Path, dtype: torch.dtype, **options: Any) -> Path:
    """A model as transformers saves it, with biases that are not zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.2)
    model.to(dtype).save_pretrained(folder, **options)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The folder of the base with a name in `BASES`; what is in it must not be changed."""
    place = tmp_path_factory.mktemp("bases")

    def folder(name: str, dtype: torch.dtype) -> Path:
        path = place / f"{name} {dtype}"
        if not path.exists():
            torch.manual_seed(list(BASES).index(name))
            save(BASES[name][0](), path, dtype, **BASES[name][1])
        return path

    return folder


class Messages(logging.Handler):
    """What a logger says."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def silence() -> Iterator[None]:
    """Every warning, and all that transformers logs as one, is an error."""
    messages, logger = Messages(), logging.getLogger("transformers")
    logger.addHandler(messages)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        logger.removeHandler(messages)
    assert messages.said == []


def load(folder: Path, auto: Any = AutoModelForCausalLM) -> Any:
    """A model as transformers loads it, of which nothing is missing and nothing was left over,
    in the dtype of its files.
    """
    with silence():
        model, found = auto.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values()), found
    return model.eval()


def adapted(
    base: Path, folder: Path, seed: int = 0, auto: Any = AutoModelForCausalLM, head: bool = False, **fields: Any
) -> Path:
    """An adapter that PEFT trains for a base, of which a `head` is saved as PEFT does by default:
    with the weight under it.
    """
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(auto.from_pretrained(base), peft.LoraConfig(task_type="CAUSAL_LM", **fields))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder, save_embedding_layers="auto" if head else False)
    return folder


def unmerged(base: Path, *adapters: Path, auto: Any = AutoModelForCausalLM) -> Any:
    """PEFT's model, in which base and adapters are still apart, in float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.PeftModel.from_pretrained(auto.from_pretrained(base), adapters[0], adapter_name="0")
        for index, adapter in enumerate(adapters[1:], 1):
            model.load_adapter(adapter, adapter_name=str(index))
        model.base_model.set_adapter([str(index) for index in range(len(adapters))])
    return model.double().eval()


def logits(model: Any) -> Tensor:
    """In float64, so that only what became of the weights makes a difference."""
    with torch.no_grad():
        if hasattr(model, "set_experts_implementation") and "experts" in str(model):
            model.set_experts_implementation("eager")  # the others have no float64
        found: Tensor = model.double()(input_ids=TOKENS).logits
    return found


def assert_answers_alike(found: Tensor, expected: Tensor, dtype: torch.dtype, base: Tensor | None = None) -> None:
    """Equal but for the rounding of the weights, some half steps of the dtype, of which most cancel, and for the norms
    and angles that transformers computes in float32 whatever the model is in. The adapter does far more."""
    bound = (4 * torch.finfo(dtype).eps + 32 * torch.finfo(torch.float32).eps) * float(expected.abs().max())
    assert float((found - expected).abs().max()) < bound
    if base is not None:
        assert float((base - expected).abs().max()) > 5 * bound


def wide(tensor: Tensor) -> Numbers:
    numbers: Numbers = tensor.detach().double().numpy()
    return numbers


def rounded(x: Numbers, dtype: torch.dtype) -> Numbers:
    """To nearest, ties to even. Nothing here is small enough to be denormal."""
    step = np.ldexp(1.0, np.frexp(x)[1] - SIGNIFICAND[dtype])
    return np.rint(x / step) * step


def assert_rounded_once(found: Tensor, W: Tensor, delta: Numbers, dtype: torch.dtype) -> None:
    """W + ΔW rounded once;
    where the sum is as close to the middle of two numbers as float32 can tell, it may be either.
    """
    assert found.dtype == dtype
    exact, slack = wide(W) + delta, 1e-6 * (abs(wide(W)) + abs(delta).max())
    assert (rounded(exact - slack, dtype) <= wide(found)).all()
    assert (wide(found) <= rounded(exact + slack, dtype)).all()


def deltas(model: Any, weights: tuple[float, ...] = (1.0,)) -> dict[str, Numbers]:
    """Module → what PEFT says it adds to the weight as it is stored, all adapters together."""
    found: dict[str, Numbers] = {}
    for name, layer in model.named_modules():
        for index, weight in enumerate(weights):
            if str(index) in getattr(layer, "lora_A", {}):
                module = name.removeprefix("base_model.model.")
                found[module] = found.get(module, 0) + weight * wide(layer.get_delta_weight(str(index)))
    return found


def files_of(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder; no name may come twice."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        new = load_file(path)
        assert not found.keys() & new.keys()
        found |= new
    return found


def assert_fused(base: Path, out: Path, updates: dict[str, Numbers], dtype: torch.dtype) -> None:
    """The weights of these modules are W + ΔW,
    a tied head counting as a copy of the embedding; all else is as it was.
    """
    before, after = files_of(base), files_of(out)
    embedding = next(name for name in before if "embed_tokens" in name or "wte" in name)
    if "lm_head" in updates and "lm_head.weight" not in before:
        before["lm_head.weight"] = before[embedding]
    assert after.keys() == before.keys()
    for name, W in before.items():
        module = name.removesuffix(".weight")
        if module in updates:
            assert_rounded_once(after[name], W, updates[module], dtype)
        else:
            assert after[name].dtype == W.dtype
            assert torch.equal(after[name], W)


def fuse(base: Path, *arguments: Path | str) -> None:
    assert run(["fuse", str(base), *map(str, arguments)]) == 0


LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PATTERNS = {
    "r": 4,
    "lora_alpha": 7.5,
    "use_rslora": True,
    "target_modules": ["q_proj", "up_proj", "down_proj"],
    "rank_pattern": {"down_proj": 6, "layers.1.self_attn.q_proj": 3},
    "alpha_pattern": {".*layers\\.0.*q_proj": 3, "^model.layers.1.mlp.up_proj": 5},
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("llama", {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"]}),
    "rsLoRA and patterns": ("llama in one file", PATTERNS),
    "all linear layers and the head": ("llama", {"r": 4, "target_modules": [*LINEAR, "lm_head"]}),
    "a regular expression": ("llama", {"r": 5, "lora_alpha": 20, "target_modules": r".*layers\.0\..*(q|k)_proj"}),
    "one layer": ("llama", {"r": 3, "lora_alpha": 30, "target_modules": ["v_proj"], "layers_to_transform": [1]}),
    "a tied model": ("tied llama", {"r": 4, "target_modules": LINEAR}),
    "a tied model and its head": ("tied llama", {"r": 4, "target_modules": ["q_proj", "lm_head"]}),
    "only a tied head": ("tied qwen2", {"r": 4, "use_rslora": True, "target_modules": ["lm_head"]}),
    "beside biases": ("qwen2", {"r": 4, "target_modules": LINEAR}),
    "beside biases, tied": ("tied qwen2", {"r": 4, "lora_alpha": 3, "target_modules": [*LINEAR, "lm_head"]}),
    "Conv1D": ("gpt2", {"r": 4, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "square Conv1D alone": ("gpt2 in one file", {"r": 4, "target_modules": ["attn.c_proj"], "fan_in_fan_out": True}),
    "Conv1D and a tied head": (
        "gpt2",
        {"r": 4, "use_rslora": True, "target_modules": ["c_attn", "c_fc", "c_proj", "lm_head"], "fan_in_fan_out": True},
    ),
}


@HALF_AND_SINGLE
@pytest.mark.parametrize(("name", "fields"), CASES.values(), ids=CASES)
def test_a_fused_model_answers_as_peft_does(
    made: Make, tmp_path: Path, dtype: torch.dtype, name: str, fields: dict[str, Any]
) -> None:
    base = made(name, dtype)
    before = tree(base)
    adapter = adapted(base, tmp_path / "adapter", **fields)
    fuse(base, adapter, "-o", tmp_path / "out")
    expected, model = unmerged(base, adapter), load(tmp_path / "out")
    assert model.dtype == dtype
    assert_fused(base, tmp_path / "out", deltas(expected), dtype)
    assert_answers_alike(logits(model), logits(expected), dtype, logits(load(base)))
    assert tree(base) == before
    assert not (tmp_path / "out/adapter_config.json").exists()


@pytest.mark.parametrize("name", ["llama", "tied llama", "gpt2"])
def test_a_head_that_peft_saves_with_the_weight_under_it(made: Make, tmp_path: Path, name: str) -> None:
    """Which it does unless told otherwise, for every adapter of an lm_head."""
    base = made(name, torch.float32)
    adapter = adapted(base, tmp_path / "adapter", head=True, r=4, target_modules=["lm_head"])
    fuse(base, adapter, "-o", tmp_path / "out")
    assert_answers_alike(
        logits(load(tmp_path / "out")), logits(unmerged(base, adapter)), torch.float32, logits(load(base))
    )


# Output embeddings


@pytest.mark.parametrize("name", ["tied llama", "tied qwen2", "gpt2"])
def test_a_tied_head_gets_a_weight_of_its_own_and_the_input_embedding_keeps_its_own(
    made: Make, tmp_path: Path, name: str
) -> None:
    base = made(name, torch.bfloat16)
    adapter = adapted(base, tmp_path / "adapter", r=4, target_modules=["lm_head"])
    fuse(base, adapter, "-o", tmp_path / "out")
    before, after = files_of(base), files_of(tmp_path / "out")
    assert set(after) - set(before) == {"lm_head.weight"}
    assert all(torch.equal(after[tensor], before[tensor]) for tensor in before)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert json.loads((base / "config.json").read_text()) == {**config, "tie_word_embeddings": True}
    assert config["tie_word_embeddings"] is False
    model, original = load(tmp_path / "out"), load(base)
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert head.data_ptr() != embedding.data_ptr()
    assert torch.equal(head, after["lm_head.weight"])
    assert torch.equal(embedding, original.get_input_embeddings().weight)
    assert not torch.equal(head, embedding)
    model.save_pretrained(tmp_path / "again")  # and it stays so
    assert_answers_alike(logits(load(tmp_path / "again")), logits(model), torch.float32)


def test_a_tied_head_stays_tied_where_nothing_changes_it(made: Make, tmp_path: Path) -> None:
    base = made("tied qwen2", torch.float32)
    fuse(base, adapted(base, tmp_path / "adapter", r=2, target_modules=["q_proj"]), "-o", tmp_path / "out")
    assert "lm_head.weight" not in files_of(tmp_path / "out")
    assert (tmp_path / "out/config.json").read_bytes() == (base / "config.json").read_bytes()
    model = load(tmp_path / "out")
    assert model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


def test_a_tied_model_whose_files_have_the_head_too(made: Make, tmp_path: Path) -> None:
    """Older tools saved it twice."""
    base = tmp_path / "base"
    base.mkdir()
    tensors = files_of(made("tied qwen2", torch.float32))
    save_file(
        {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()},
        base / "model.safetensors",
        {"format": "pt"},
    )
    shutil.copy(made("tied qwen2", torch.float32) / "config.json", base)
    adapter = adapted(base, tmp_path / "adapter", r=4, target_modules=["lm_head"])
    fuse(base, adapter, "-o", tmp_path / "out")
    assert_answers_alike(
        logits(load(tmp_path / "out")), logits(unmerged(base, adapter)), torch.float32, logits(load(base))
    )


def test_gpt2_under_the_names_it_has_on_the_hub(made: Make, tmp_path: Path) -> None:
    """h.0.attn... and not transformer.h.0.attn..., as OpenAI's own files have it."""
    original, base = made("gpt2", torch.float32), tmp_path / "base"
    base.mkdir()
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in files_of(original).items()}
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    shutil.copy(original / "config.json", base)
    fields = {"target_modules": ["c_attn", "c_proj", "lm_head"], "fan_in_fan_out": True}
    adapter = adapted(base, tmp_path / "adapter", r=4, **fields)
    fuse(base, adapter, "-o", tmp_path / "out")
    assert set(files_of(tmp_path / "out")) == {*tensors, "lm_head.weight"}
    assert_answers_alike(
        logits(load(tmp_path / "out")), logits(unmerged(base, adapter)), torch.float32, logits(load(base))
    )


# Several adapters


@HALF_AND_SINGLE
def test_several_adapters_at_once(made: Make, tmp_path: Path, dtype: torch.dtype) -> None:
    base = made("llama", dtype)
    pair = [
        adapted(base, tmp_path / "a", 1, r=4, target_modules=["q_proj", "down_proj"]),
        adapted(base, tmp_path / "b", 2, r=2, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "o_proj"]),
    ]
    fuse(base, *pair, "--scale", "sum", "-o", tmp_path / "out")
    expected = unmerged(base, *pair)
    assert_fused(base, tmp_path / "out", deltas(expected, (1.0, 1.0)), dtype)
    assert_answers_alike(logits(load(tmp_path / "out")), logits(expected), dtype, logits(load(base)))
    fuse(base, *pair, "-w", "0.7", "-w", "-0.4", "-o", tmp_path / "weighted")
    assert_fused(base, tmp_path / "weighted", deltas(expected, (0.7, -0.4)), dtype)


def ties(updates: list[Numbers], density: float) -> Numbers:
    """Trim to the int(density · n) largest, elect the sign of the sum, average what agrees:
    Yadav et al. 2023, per tensor.
    """
    trimmed = []
    for update in updates:
        largest = np.argsort(-abs(update).ravel(), kind="stable")[: int(density * update.size)]
        kept = np.zeros(update.size)
        kept[largest] = update.ravel()[largest]
        trimmed.append(kept.reshape(update.shape))
    sign = np.where(sum(trimmed) >= 0, 1.0, -1.0)
    agree = [np.where(update * sign > 0, update, 0.0) for update in trimmed]
    count = sum((update != 0).astype(float) for update in agree)
    return np.asarray(sum(agree) / np.maximum(count, 1), dtype=np.float64)


@HALF_AND_SINGLE
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_ties_is_fused_whole(made: Make, tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    """The dense formula and not the best approximation of some rank."""
    base = made(name, dtype)
    targets = ["q_proj", "down_proj"] if name == "llama" else ["c_attn", "c_fc"]
    pair = [
        adapted(base, tmp_path / str(seed), seed, r=4, target_modules=targets, fan_in_fan_out=name == "gpt2")
        for seed in (3, 4)
    ]
    fuse(base, *pair, "--ties", "--density", "0.3", "--scale", "sum", "-o", tmp_path / "out")
    each = [deltas(unmerged(base, path)) for path in pair]
    turned = name == "gpt2"  # equal magnitudes aside, TIES does not care how a weight is stored
    expected = {
        module: (ties([one[module].T for one in each], 0.3).T if turned else ties([one[module] for one in each], 0.3))
        for module in each[0]
    }
    assert_fused(base, tmp_path / "out", expected, dtype)
    kept = sum(int((update != 0).sum()) for update in expected.values()) / sum(
        update.size for update in expected.values()
    )
    assert 0.3 < kept < 0.6
    load(tmp_path / "out")


# What else is in the folder


def write_tokenizer(folder: Path) -> None:
    words = {word: index for index, word in enumerate(["<s>", "</s>", "[UNK]", *(f"w{index}" for index in range(61))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="[UNK]"
    ).save_pretrained(folder)


@pytest.mark.parametrize("name", ["llama", "tied qwen2"])
def test_tokenizer_and_configs_go_along(made: Make, tmp_path: Path, name: str) -> None:
    base = Path(shutil.copytree(made(name, torch.bfloat16), tmp_path / "base"))
    write_tokenizer(base)
    (base / "chat_template.jinja").write_text("{{ messages }}")
    (base / "README.md").write_text("# base")
    (base / "adapter_config.json").write_text("{}")  # of somebody who saved an adapter here
    fuse(
        base,
        adapted(made(name, torch.bfloat16), tmp_path / "a", r=2, target_modules=["q_proj"]),
        "-o",
        tmp_path / "out",
    )
    left = {"README.md", "adapter_config.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in base.iterdir()} - left | {
        "adapterops.json"
    }
    for path in base.iterdir():
        if path.suffix != ".safetensors" and path.name not in (*left, "model.safetensors.index.json"):
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    with silence():
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "<s> w3 w5 nothing w60 </s>"
    assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(base)(text)["input_ids"]
    assert load(tmp_path / "out").generation_config.eos_token_id == 1


def test_shards_stay_as_they_are_or_are_divided_anew(made: Make, tmp_path: Path) -> None:
    base = made("llama", torch.float32)
    adapter = adapted(base, tmp_path / "a", r=2, target_modules=["q_proj", "lm_head"])
    fuse(base, adapter, "-o", tmp_path / "as it is")
    fuse(base, adapter, "--max-shard-size", "30kB", "-o", tmp_path / "anew")
    fuse(base, adapter, "--max-shard-size", "1GB", "-o", tmp_path / "one")
    there = {path.name for path in base.glob("*.safetensors*")}
    assert {path.name for path in (tmp_path / "as it is").glob("*.safetensors*")} == there
    assert 2 < len(list((tmp_path / "anew").glob("*.safetensors"))) < len(there)
    assert [path.name for path in (tmp_path / "one").glob("*.safetensors*")] == ["model.safetensors"]
    expected = logits(load(tmp_path / "as it is"))
    assert torch.equal(logits(load(tmp_path / "anew")), expected)
    assert torch.equal(logits(load(tmp_path / "one")), expected)


@pytest.mark.parametrize("source", ["base", "base/weights.safetensors"])
def test_a_file_of_any_name_becomes_a_model_that_transformers_loads(made: Make, tmp_path: Path, source: str) -> None:
    base = made("llama in one file", torch.float32)
    shutil.copytree(base, tmp_path / "base")
    (tmp_path / "base/model.safetensors").rename(tmp_path / "base/weights.safetensors")
    adapter = adapted(base, tmp_path / "a", r=4, target_modules=["q_proj"])
    fuse(tmp_path / source, adapter, "-o", tmp_path / "out")
    assert_answers_alike(
        logits(load(tmp_path / "out")), logits(unmerged(base, adapter)), torch.float32, logits(load(base))
    )


@pytest.mark.parametrize("asked", ["float32", "bfloat16", "float16"])
def test_another_dtype_is_the_one_that_transformers_loads(made: Make, tmp_path: Path, asked: str) -> None:
    base = made("tied llama", torch.bfloat16)
    adapter = adapted(base, tmp_path / "a", r=4, target_modules=["q_proj", "lm_head"])
    fuse(base, adapter, "--dtype", asked, "-o", tmp_path / "out")
    dtype = getattr(torch, asked)
    assert {tensor.dtype for tensor in files_of(tmp_path / "out").values()} == {dtype}
    model = load(tmp_path / "out")
    assert model.dtype == dtype
    assert_answers_alike(logits(model), logits(unmerged(base, adapter)), dtype, logits(load(base)))


@HALF_AND_SINGLE
@pytest.mark.parametrize("name", ["llama", "tied qwen2", "gpt2"])
def test_unfusing_gives_the_base_back(made: Make, tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    base = made(name, dtype)
    targets = ["c_attn", "c_proj"] if name == "gpt2" else ["q_proj", "down_proj"]
    adapter = adapted(base, tmp_path / "a", r=4, target_modules=targets)
    fuse(base, adapter, "-o", tmp_path / "fused")
    assert run(["unfuse", str(tmp_path / "fused"), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert_answers_alike(logits(load(tmp_path / "out")), logits(load(base)), dtype, logits(load(tmp_path / "fused")))
    before, after = files_of(base), files_of(tmp_path / "out")
    assert before.keys() == after.keys()
    eps = torch.finfo(dtype).eps
    fused = files_of(tmp_path / "fused")
    for tensor, W in before.items():
        bound = eps * (fused[tensor].double().abs() + after[tensor].double().abs()) / 2 + 2e-6
        assert ((after[tensor].double() - W.double()).abs() <= bound).all()


# Experts: transformers keeps them in one tensor, PEFT names no single one, checkpoints of either kind are about


def qwen2_moe() -> nn.Module:
    sizes = {
        "moe_intermediate_size": 20,
        "shared_expert_intermediate_size": 24,
        "num_experts": 3,
        "num_experts_per_tok": 2,
    }
    return Qwen2MoeForCausalLM(Qwen2MoeConfig(**SIZES, **ENDS, **sizes, intermediate_size=48))


def mixtral() -> nn.Module:
    return MixtralForCausalLM(
        MixtralConfig(**SIZES, **ENDS, intermediate_size=20, num_local_experts=3, num_experts_per_tok=2)
    )


NEW = "model.layers.{layer}.mlp.experts.{expert}.{projection}_proj"
OLD = "model.layers.{layer}.block_sparse_moe.experts.{expert}.{projection}"
MIXTRAL = {"gate": "w1", "down": "w2", "up": "w3"}


@torch.no_grad()
def train_experts(model: Any, names: str) -> dict[str, Tensor]:
    """The tensors of an adapter of two experts of every layer, whose updates are added to the model in memory."""
    tensors: dict[str, Tensor] = {}
    for layer, expert, projection in itertools.product((0, 1), (0, 2), MIXTRAL):
        experts = model.model.layers[layer].mlp.experts
        both = experts.gate_up_proj[expert]
        W = {"gate": both[: len(both) // 2], "up": both[len(both) // 2 :], "down": experts.down_proj[expert]}[
            projection
        ]
        module = names.format(
            layer=layer, expert=expert, projection=MIXTRAL[projection] if names is OLD else projection
        )
        found = factors([module], rank=2, out=W.shape[0], into=W.shape[1], seed=len(tensors))
        tensors |= {name: 0.2 * tensor for name, tensor in found.items()}
        A, B = (tensors[f"base_model.model.{module}.lora_{role}.weight"].double() for role in "AB")
        W += 2 * B @ A  # alpha 4, rank 2
    return tensors


@HALF_AND_SINGLE
@pytest.mark.parametrize("each", [True, False], ids=["each in a tensor of its own", "all in one tensor"])
@pytest.mark.parametrize(
    ("make", "names"),
    [(qwen2_moe, NEW), (mixtral, NEW), (mixtral, OLD)],
    ids=["qwen2_moe", "mixtral", "mixtral, old names"],
)
def test_adapters_of_single_experts(
    tmp_path: Path, dtype: torch.dtype, make: Callable[[], nn.Module], names: str, each: bool
) -> None:
    torch.manual_seed(0)
    base = save(make(), tmp_path / "base", dtype, save_original_format=each, max_shard_size="30KB")
    exact = load(base).double()
    adapter = write_adapter(
        tmp_path / "adapter", train_experts(exact, names), adapter_config(2, target_modules=["experts"])
    )
    fuse(base, adapter, "-o", tmp_path / "out")
    before, after = files_of(base), files_of(tmp_path / "out")
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert (after[name].dtype, after[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(after[name], tensor) or ".experts" in name
    model = load(tmp_path / "out")
    for found, wanted in zip(model.parameters(), exact.parameters(), strict=True):
        assert ((found.double() - wanted).abs() <= torch.finfo(dtype).eps / 2 * wanted.abs() + 1e-6).all()
    assert_answers_alike(logits(model), logits(exact), dtype, logits(load(base)))


# Names that transformers changed between versions


@pytest.mark.parametrize(
    ("as_on_the_hub", "tied"), some([(True, False), (False, False), (True, True), (False, True)], 3)
)
def test_a_model_for_images_and_text(tmp_path: Path, as_on_the_hub: bool, tied: bool) -> None:
    """Its files have the names of transformers 4 or 5, PEFT has those in memory."""
    torch.manual_seed(0)
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4}
    text = {
        **SIZES,
        **ENDS,
        "intermediate_size": 48,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
    }
    config = Qwen2VLConfig(
        text_config={**text, "tie_word_embeddings": tied}, vision_config=vision, tie_word_embeddings=tied
    )
    base = save(
        Qwen2VLForConditionalGeneration(config), tmp_path / "base", torch.float32, save_original_format=as_on_the_hub
    )
    auto = AutoModelForImageTextToText
    targets = r".*language_model.*(q_proj|down_proj)|.*visual.*qkv|lm_head"
    adapter = adapted(base, tmp_path / "adapter", auto=auto, r=4, target_modules=targets)
    fuse(base, adapter, "-o", tmp_path / "out")
    expected, model = unmerged(base, adapter, auto=auto), load(tmp_path / "out", auto)
    assert_answers_alike(logits(model), logits(expected), torch.float32, logits(load(base, auto)))
    updates = deltas(expected)
    changed = {
        name
        for name, parameter in load(tmp_path / "out", auto).named_parameters()
        if not same(parameter, name, load(base, auto))
    }
    assert changed == {f"{module}.weight" for module in updates}


def same(parameter: Tensor, name: str, model: Any) -> bool:
    return torch.equal(parameter, dict(model.named_parameters(remove_duplicate=False))[name])
