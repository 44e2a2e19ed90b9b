"""Names of modules: what training, classes and versions make of them, against the models that PEFT makes of them."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as t
from peft_models import deltas
from safetensors.torch import load_file, save_file
from torch import nn

from adapterops.cli.main import run

IDS = torch.arange(3, 15)[None]
SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
PREFIX = "base_model.model."
WEIGHTS = "adapter_model.safetensors"


def saved(model: nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def trained(model: nn.Module, folder: Path, seed: int = 1, **config: Any) -> tuple[Path, torch.Tensor]:
    """An adapter that PEFT saves, and what the model with it says."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, **config)).eval()
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad and "lora_A" not in name:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
        adapted.save_pretrained(folder)
    return folder, said(adapted)


def said(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS)[0].double()
    return found


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def renamed(adapter: Path, folder: Path, name: Callable[[str], str]) -> Path:
    """The adapter with other names of its tensors."""
    shutil.copytree(adapter, folder)
    tensors = load_file(adapter / WEIGHTS)
    save_file({name(key): tensor.clone() for key, tensor in tensors.items()}, folder / WEIGHTS, {"format": "pt"})
    return folder


def done(*arguments: object) -> None:
    assert run([str(each) for each in arguments]) == 0


def with_adapter(cls: Any, base: Path, adapter: Path) -> peft.PeftModel:
    """What the real PEFT makes of an adapter; it must find all of it."""
    model = cls.from_pretrained(base).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)
        return peft.PeftModel.from_pretrained(model, adapter).eval()


def llama() -> nn.Module:
    torch.manual_seed(0)
    return t.LlamaForCausalLM(t.LlamaConfig(**GROUPED)).eval()


WRAPPED: dict[str, Callable[[str], str]] = {
    "compiled": lambda key: "_orig_mod." + key,
    "compiled inside": lambda key: key.replace(PREFIX, PREFIX + "_orig_mod."),
    "DDP": lambda key: "module." + key,
    "DDP inside": lambda key: key.replace(PREFIX, PREFIX + "module."),
    "FSDP": lambda key: key.replace(".self_attn.", "._fsdp_wrapped_module.self_attn._fsdp_wrapped_module."),
    "checkpointed": lambda key: key.replace(".mlp.", "._checkpoint_wrapped_module.mlp."),
    "twice": lambda key: PREFIX + key,
    "Lightning": lambda key: "model." + key,
    "an attribute of any name": lambda key: "transformer." + key,
    "trlx": lambda key: "base_model." + key,
    "all": lambda key: (
        "module._orig_mod." + PREFIX + key.replace(".mlp.", "._fsdp_wrapped_module._checkpoint_wrapped_module.mlp.")
    ),
}


@pytest.mark.parametrize("wrapper", WRAPPED.values(), ids=WRAPPED)
def test_wrappers_are_no_part_of_a_name(wrapper: Callable[[str], str], tmp_path: Path) -> None:
    base = saved(llama(), tmp_path / "base")
    plain, expected = trained(llama(), tmp_path / "plain", target_modules=["q_proj", "down_proj"])
    adapter = renamed(plain, tmp_path / "wrapped", wrapper)
    done("fuse", base, adapter, "-o", tmp_path / "out")
    close(said(t.LlamaForCausalLM.from_pretrained(tmp_path / "out")), expected)
    done("truncate", adapter, "--rank", 4, "-o", tmp_path / "cut")
    close(said(with_adapter(t.LlamaForCausalLM, base, tmp_path / "cut")), expected)
    done("merge", plain, adapter, "--linear", "-w", 0.5, "-w", 0.5, "-o", tmp_path / "mean")
    close(said(with_adapter(t.LlamaForCausalLM, base, tmp_path / "mean")), expected)


@pytest.mark.parametrize(
    "prefix",
    [
        "model.",
        "model.model.model.",
        "model.policy_model.model.",
        "model.model.module.",
        "model.transformer.model.",
        "model.model.base_model.",
    ],
)
@pytest.mark.parametrize("task", [{"task_type": "CAUSAL_LM"}, {}])
def test_names_of_a_bare_model_or_a_trainers_are_not_written_of_one_with_a_head(
    task: dict[str, Any], prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PEFT would load nothing of them, and only warn."""
    base = saved(llama(), tmp_path / "base")
    adapter, expected = trained(llama(), tmp_path / "a", target_modules=["q_proj"], **task)
    bare = renamed(adapter, tmp_path / "bare", lambda name: name.replace("model.model.layers", f"{prefix}layers"))
    for given in (
        ["truncate", str(bare), "--rank", "4"],
        ["convert", str(bare), "--to", "peft"],
        ["calc", "a", f"a={bare}"],
    ):
        assert run([*given, "-o", str(tmp_path / "no")]) == 4
        assert "PEFT would load nothing of it" in capsys.readouterr().err
    done("truncate", bare, "--rank", 4, "--base", base, "-o", tmp_path / "cut")
    close(said(with_adapter(t.LlamaForCausalLM, base, tmp_path / "cut")), expected)
    done("convert", bare, "--to", "peft", "--base", base, "-o", tmp_path / "converted")
    close(said(with_adapter(t.LlamaForCausalLM, base, tmp_path / "converted")), expected)


def bert() -> nn.Module:
    torch.manual_seed(0)
    return t.BertForMaskedLM(t.BertConfig(**SIZES)).eval()


HELD: dict[str, tuple[Callable[[], nn.Module], list[str], Callable[[str], str]]] = {
    "a model": (llama, ["q_proj", "lm_head"], lambda key: key.replace(PREFIX, f"{PREFIX}my_wrapper.")),
    "twice": (llama, ["q_proj"], lambda key: key.replace(PREFIX, f"{PREFIX}my_wrapper.inner.model.")),
    "images": (lambda: vlm(), ["q_proj", "fc1"], lambda key: key.replace(PREFIX, f"{PREFIX}my_wrapper.")),
    "a bare model": (llama, ["q_proj"], lambda key: key.replace("model.layers", "backbone.layers")),
    "a bare encoder": (bert, ["query"], lambda key: key.replace(".bert.", ".backbone.")),
    "an encoder": (bert, ["query"], lambda key: key.replace(".bert.", ".encoder.")),
    "its own name": (bert, ["query"], lambda key: key.replace(".bert.", ".bert.bert.")),
}


@pytest.mark.parametrize("kind", HELD)
def test_what_a_program_calls_the_model_that_it_holds(kind: str, tmp_path: Path) -> None:
    make, targets, name = HELD[kind]
    base = saved(make(), tmp_path / "base")
    plain, expected = trained(make(), tmp_path / "plain", target_modules=targets)
    held = renamed(plain, tmp_path / "held", name)
    done("fuse", base, held, "-o", tmp_path / "out")
    close(said(type(make()).from_pretrained(tmp_path / "out")), expected)
    done("verify", tmp_path / "out", "--base", base, "--adapter", held)
    done("truncate", held, "--rank", 4, "--base", base, "-o", tmp_path / "cut")
    close(said(with_adapter(type(make()), base, tmp_path / "cut")), expected)


def test_what_no_model_for_words_begins_with_is_kept_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, _ = trained(llama(), tmp_path / "plain", target_modules=["q_proj"], task_type="CAUSAL_LM")
    held = renamed(plain, tmp_path / "held", lambda key: key.replace(PREFIX, f"{PREFIX}my_wrapper."))
    done("truncate", held, "--rank", 2, "-o", tmp_path / "cut")
    assert "every module begins with 'my_wrapper'" in capsys.readouterr().err
    assert all(name.startswith(f"{PREFIX}my_wrapper.") for name in load_file(tmp_path / "cut" / WEIGHTS))
    done("truncate", plain, "--rank", 2, "-o", tmp_path / "own")
    assert "warning" not in capsys.readouterr().err


def test_a_bare_decoder_is_not_written_of_one_with_a_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    config = t.OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=64)
    base = saved(t.OPTForCausalLM(config).eval(), tmp_path / "base")
    model = t.OPTForCausalLM.from_pretrained(base)
    plain, expected = trained(model, tmp_path / "plain", target_modules=["q_proj"], task_type="CAUSAL_LM")
    bare = renamed(plain, tmp_path / "bare", lambda key: key.replace("model.decoder", "decoder"))
    assert run(["truncate", str(bare), "--rank", "4", "-o", str(tmp_path / "no")]) == 4
    assert "PEFT would load nothing of it" in capsys.readouterr().err
    done("truncate", bare, "--rank", 4, "--base", base, "-o", tmp_path / "cut")
    close(said(with_adapter(t.OPTForCausalLM, base, tmp_path / "cut")), expected)


@pytest.mark.parametrize(
    ("cls", "config", "saved_too"),
    [
        (
            t.OPTForCausalLM,
            t.OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=64),
            ["lm_head"],
        ),
        (t.BertForMaskedLM, t.BertConfig(**SIZES), ["cls"]),
    ],
    ids=["opt", "bert"],
)
def test_trained_tensors_of_a_model_that_a_program_holds(
    cls: Any, config: Any, saved_too: list[str], tmp_path: Path
) -> None:
    """Also of an output embedding that the base has not got, since it is tied."""
    torch.manual_seed(0)
    base = saved(cls(config).eval(), tmp_path / "base")
    targets = ["q_proj", "query"]
    plain, expected = trained(
        cls.from_pretrained(base), tmp_path / "a", target_modules=targets, modules_to_save=saved_too
    )
    held = renamed(plain, tmp_path / "held", lambda key: key.replace(PREFIX, f"{PREFIX}my_wrapper."))
    done("fuse", base, held, "-o", tmp_path / "out")
    close(said(cls.from_pretrained(tmp_path / "out")), expected)
    done("verify", tmp_path / "out", "--base", base, "--adapter", held)
    done("truncate", held, "--rank", 4, "--base", base, "-o", tmp_path / "cut")
    done("fuse", base, tmp_path / "cut", "-o", tmp_path / "again")
    close(said(cls.from_pretrained(tmp_path / "again")), expected)


@pytest.mark.parametrize("original", [True, False])
def test_trained_tensors_under_the_name_of_an_adapter(original: bool, tmp_path: Path) -> None:
    base = saved(vlm(), tmp_path / "base")
    kept = {"target_modules": r".*language_model.*q_proj", "modules_to_save": ["multi_modal_projector"]}
    plain, expected = trained(vlm(), tmp_path / "plain", **kept)
    tensors = {}
    for name, each in load_file(plain / WEIGHTS).items():
        above, dot, rest = name.partition(".multi_modal_projector.")
        copy = f"{above}{dot}modules_to_save.mine.{rest}" if dot else name.replace(".weight", ".mine.weight")
        tensors[copy] = each.clone()
        if dot and original:
            tensors[f"{above}{dot}original_module.{rest}"] = torch.zeros_like(each)
    named = shutil.copytree(plain, tmp_path / "named")
    save_file(tensors, named / WEIGHTS, {"format": "pt"})
    done("fuse", base, named, "-o", tmp_path / "out")
    close(said(t.LlavaForConditionalGeneration.from_pretrained(tmp_path / "out")), expected)
    done("truncate", named, "--rank", 4, "-o", tmp_path / "cut")
    close(said(with_adapter(t.LlavaForConditionalGeneration, base, tmp_path / "cut")), expected)


@pytest.mark.parametrize("command", [["truncate", "--rank", "2"], ["convert", "--to", "mlx"], ["merge", "-w", "1"]])
def test_a_module_under_two_names_in_one_file_is_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PEFT would load half of it."""
    adapter, _ = trained(llama(), tmp_path / "a", target_modules=["q_proj"])
    tensors = load_file(adapter / WEIGHTS)
    more = {name.replace("model.model.", "model."): tensor.clone() for name, tensor in tensors.items()}
    save_file({**tensors, **more}, adapter / WEIGHTS, {"format": "pt"})
    assert run([command[0], str(adapter), *command[1:], "-o", str(tmp_path / "out")]) == 4
    message = capsys.readouterr().err
    assert all(repr(each) in message for each in ("layers.0.self_attn.q_proj", "model.layers.0.self_attn.q_proj"))
    assert "keep one of the two" in message


def test_two_tensors_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, _ = trained(llama(), tmp_path / "plain", target_modules=["q_proj"])
    tensors = load_file(plain / WEIGHTS)
    both = tensors | {"module." + name: tensor.clone() for name, tensor in tensors.items()}
    save_file(both, plain / WEIGHTS, {"format": "pt"})
    assert run(["truncate", str(plain), "--rank", "2", "-o", str(tmp_path / "out")]) == 3
    message = capsys.readouterr().err
    assert all(name in message for name in (f"module.{PREFIX}model.layers.0", f"as {PREFIX}model.layers.0"))


ENCODERS: dict[str, tuple[Any, Any, Any]] = {
    "bert": (t.BertForMaskedLM, t.BertModel, t.BertConfig(**SIZES)),
    "roberta": (t.RobertaForMaskedLM, t.RobertaModel, t.RobertaConfig(**SIZES)),
    "deberta": (t.DebertaV2ForMaskedLM, t.DebertaV2Model, t.DebertaV2Config(**SIZES)),
    "electra": (t.ElectraForMaskedLM, t.ElectraModel, t.ElectraConfig(**SIZES, embedding_size=32)),
    "gpt_neox": (t.GPTNeoXForCausalLM, t.GPTNeoXModel, t.GPTNeoXConfig(**SIZES)),
    "backbone": (
        t.MambaForCausalLM,
        t.MambaModel,
        t.MambaConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2, state_size=4),
    ),
}
INNER = ["query", "query_proj", "query_key_value", "intermediate.dense", "in_proj"]


@pytest.mark.parametrize("family", ENCODERS)
def test_a_bare_model_and_one_with_a_head(family: str, tmp_path: Path) -> None:
    headed, bare, config = ENCODERS[family]
    torch.manual_seed(0)
    base = saved(headed(config), tmp_path / "headed")
    inner, expected = trained(bare.from_pretrained(base), tmp_path / "inner", target_modules=INNER)
    done("fuse", base, inner, "-o", tmp_path / "out")
    close(said(bare.from_pretrained(tmp_path / "out")), expected)
    done("truncate", inner, "--rank", 4, "--base", base, "-o", tmp_path / "named")
    done("fuse", base, tmp_path / "named", "-o", tmp_path / "again")
    close(said(bare.from_pretrained(tmp_path / "again")), expected)

    lone = saved(bare.from_pretrained(base), tmp_path / "bare")
    whole, _ = trained(headed.from_pretrained(base), tmp_path / "whole", target_modules=INNER)
    done("fuse", base, whole, "-o", tmp_path / "right")
    done("fuse", lone, whole, "-o", tmp_path / "lone")
    close(said(bare.from_pretrained(tmp_path / "lone")), said(bare.from_pretrained(tmp_path / "right")))


@pytest.mark.parametrize(
    ("headed", "config"),
    [
        (t.GPT2LMHeadModel, t.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4)),
        (t.BloomForCausalLM, t.BloomConfig(vocab_size=96, hidden_size=32, n_layer=2, n_head=4)),
        (t.LlamaForCausalLM, t.LlamaConfig(**GROUPED, tie_word_embeddings=True)),
    ],
    ids=["gpt2", "bloom", "llama"],
)
def test_a_file_of_a_bare_model_that_is_loaded_with_a_head(headed: Any, config: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = headed(config).eval()
    base = saved(model, tmp_path / "base")
    inner = {name: tensor.clone() for name, tensor in model.base_model.state_dict().items()}
    save_file(inner, base / "model.safetensors", {"format": "pt"})
    targets = ["c_attn", "c_proj", "query_key_value", "q_proj", "down_proj"]
    adapter, expected = trained(headed.from_pretrained(base), tmp_path / "a", target_modules=targets)
    short = renamed(adapter, tmp_path / "short", lambda key: key.replace(f".{model.base_model_prefix}.", ".", 1))
    half = ("--linear", "-w", 0.5, "-w", 0.5)
    done("merge", adapter, short, *half, "--base", base, "-o", tmp_path / "mean")
    close(said(with_adapter(headed, base, tmp_path / "mean")), expected)


EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "mixtral": (
        t.MixtralForCausalLM,
        t.MixtralConfig(**GROUPED, num_local_experts=4),
        {"target_modules": ["q_proj"], "target_parameters": EXPERTS},
    ),
    "gpt_neox": (
        t.GPTNeoXForCausalLM,
        t.GPTNeoXConfig(**SIZES),
        {"target_modules": ["query_key_value", "lm_head"]},
    ),
}


@pytest.mark.parametrize("family", MODELS)
def test_names_in_memory_where_a_file_has_others(family: str, tmp_path: Path) -> None:
    cls, config, targets = MODELS[family]
    torch.manual_seed(0)
    base = saved(cls(config).eval(), tmp_path / "base")
    adapter, expected = trained(cls.from_pretrained(base), tmp_path / "a", **targets)
    done("merge", adapter, "--base", base, "-o", tmp_path / "named")
    close(said(with_adapter(cls, base, tmp_path / "named")), expected)


def of_files(name: str) -> str:
    """What files of a ViT call what the model has in memory."""
    for new, old in (
        (".layers.", ".encoder.layer."),
        (".q_proj.", ".attention.query."),
        (".o_proj.", ".output.dense."),
        (".mlp.fc1.", ".intermediate.dense."),
    ):
        name = name.replace(new, old)
    return name


@pytest.mark.parametrize("stored", ["as in files", "as in memory"])
def test_an_adapter_by_the_names_of_files(stored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = t.ViTForImageClassification(t.ViTConfig(**sizes, image_size=28, patch_size=14)).eval()
    image = torch.randn(1, 3, 28, 28)
    base = saved(model, tmp_path / "base")
    if stored == "as in memory":
        save_file({name: each.clone() for name, each in model.state_dict().items()}, base / "model.safetensors")
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(target_modules=["q_proj", "o_proj", "fc1"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "new")
    old = renamed(tmp_path / "new", tmp_path / "old", of_files)
    bare = renamed(old, tmp_path / "bare", lambda name: name.replace("vit.", "my_wrapper."))
    expected = adapted.eval()(image).logits
    for adapter in (old, bare):
        done("fuse", base, adapter, "-o", tmp_path / "out", "--force")
        close(type(model).from_pretrained(tmp_path / "out")(image).logits, expected)
        done("verify", tmp_path / "out", "--base", base, "--adapter", adapter)
    half = ("--linear", "-w", 0.5, "-w", 0.5)
    assert run([*map(str, ["merge", tmp_path / "new", old, *half, "-o", tmp_path / "no"])]) == 4
    assert "a name that transformers has changed" in capsys.readouterr().err
    done("merge", tmp_path / "new", old, *half, "--base", base, "-o", tmp_path / "mean")
    done("fuse", base, tmp_path / "mean", "-o", tmp_path / "out", "--force")
    close(type(model).from_pretrained(tmp_path / "out")(image).logits, expected)


def vlm() -> nn.Module:
    torch.manual_seed(0)
    text = {**GROUPED, "vocab_size": 160, "tie_word_embeddings": False}
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    return t.LlavaForConditionalGeneration(
        t.LlavaConfig(
            text_config=t.LlamaConfig(**text),
            vision_config=t.CLIPVisionConfig(**vision, image_size=28, patch_size=14, projection_dim=16),
            image_token_index=150,
            tie_word_embeddings=False,
        )
    ).eval()


OLDER = {"model.language_model.": "language_model.model.", "model.vision_tower.": "vision_tower."}


COPIES = [("truncate", "--rank", 4), ("merge",), ("convert", "--to", "peft"), ("normalize",)]
"""Commands that write the update that they are given."""


def older(name: str) -> str:
    for new, old in OLDER.items():
        name = name.replace(PREFIX + new, PREFIX + old)
    return name


def test_names_of_two_versions_are_one_name_by_a_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = saved(vlm(), tmp_path / "base")
    new, expected = trained(vlm(), tmp_path / "new", target_modules=r".*(q_proj|down_proj|fc1)")
    old = renamed(new, tmp_path / "old", older)
    half = ("--linear", "-w", 0.5, "-w", 0.5)
    out = tmp_path / "mean"
    for command in (["merge", new, old, *half], ["calc", "a + b", f"a={new}", f"b={old}"], ["compare", new, old]):
        output = [] if command[0] == "compare" else ["-o", out]
        assert run([*map(str, [*command, *output])]) == 4
        message = capsys.readouterr().err
        assert all(
            each in message for each in ("model.language_model.layers.0", "language_model.model.layers.0", "--base")
        )
    done("merge", new, old, *half, "--base", base, "-o", out)
    close(said(with_adapter(t.LlavaForConditionalGeneration, base, out)), expected)
    done("calc", "0.5 * a + 0.5 * b", f"a={new}", f"b={old}", "--base", base, "-o", tmp_path / "sum")
    close(said(with_adapter(t.LlavaForConditionalGeneration, base, tmp_path / "sum")), expected)
    done("run", tmp_path / "sum/recipe.yaml", "-o", tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / "sum" / WEIGHTS).read_bytes()
    done("truncate", old, "--rank", 4, "--base", base, "-o", tmp_path / "cut")
    close(said(with_adapter(t.LlavaForConditionalGeneration, base, tmp_path / "cut")), expected)
    done("fuse", base, new, old, *half, "-o", tmp_path / "fused")
    close(said(t.LlavaForConditionalGeneration.from_pretrained(tmp_path / "fused")), expected)
    capsys.readouterr()
    done("compare", new, old, "--base", base, "--json")
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["cosine"] == pytest.approx(1)


def test_unequal_ranks_of_an_older_version_are_found_by_names_of_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PEFT renames tensors when it loads them, and not what a pattern names."""
    base, ranks = saved(vlm(), tmp_path / "base"), {"down_proj": 2}
    text = r".*language_model.*(q_proj|down_proj)"
    new, expected = trained(vlm(), tmp_path / "new", target_modules=text, rank_pattern=ranks, alpha_pattern=ranks)
    old = renamed(new, tmp_path / "old", older)
    done("truncate", old, "--energy", 1, "-o", tmp_path / "cut")
    assert len(set(json.loads((tmp_path / "cut/adapter_config.json").read_text())["rank_pattern"].values())) == 2
    close(said(with_adapter(t.LlavaForConditionalGeneration, base, tmp_path / "cut")), expected)
    towers = r".*(q_proj|down_proj|fc1)"
    new, expected = trained(vlm(), tmp_path / "both", target_modules=towers, rank_pattern=ranks, alpha_pattern=ranks)
    old = renamed(new, tmp_path / "both, old", older)
    capsys.readouterr()
    assert run(["truncate", str(old), "--energy", "1", "-o", str(tmp_path / "no")]) == 4
    assert "name the model with --base" in capsys.readouterr().err
    done("truncate", old, "--energy", 1, "--base", base, "-o", tmp_path / "named")
    close(said(with_adapter(t.LlavaForConditionalGeneration, base, tmp_path / "named")), expected)


@pytest.mark.parametrize(
    "targets", [r".*language_model.*\.(q_proj|v_proj)", r"(?!.*vision).*\.(q_proj|v_proj)", ["down_proj"]], ids=str
)
def test_what_names_modules_by_an_expression_is_loaded_by_it(targets: Any, tmp_path: Path) -> None:
    """PEFT renames the tensors of an older file, and looks for the modules of its model by the target_modules."""
    base = saved(vlm(), tmp_path / "base")
    new, expected = trained(vlm(), tmp_path / "new", target_modules=targets)
    old = renamed(new, tmp_path / "old", older)
    for number, (command, source) in enumerate((command, each) for command in COPIES for each in (old, new)):
        out = tmp_path / str(number)
        done(*command, source, "-o", out)
        close(said(with_adapter(t.LlavaForConditionalGeneration, base, out)), expected)
    other, _ = trained(vlm(), tmp_path / "b", target_modules=["v_proj", "down_proj"])
    done("merge", new, other, "--linear", "-w", 1, "-w", 0, "-o", tmp_path / "c")
    close(said(with_adapter(t.LlavaForConditionalGeneration, base, tmp_path / "c")), expected)


def test_a_tower_of_an_older_file(tmp_path: Path) -> None:
    """`vision_tower.vision_model.encoder` is `vision_tower.encoder` since."""
    base = saved(vlm(), tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    older_tower = {
        name.replace("vision_tower.", "vision_tower.vision_model.")
        if "vision_tower.vision_model" not in name
        else name: tensor
        for name, tensor in tensors.items()
    }
    save_file(older_tower, base / "model.safetensors", {"format": "pt"})
    adapter, _ = trained(vlm(), tmp_path / "a", target_modules=r".*vision_tower.*(q_proj|fc1)")
    updates = deltas(with_adapter(t.LlavaForConditionalGeneration, base, adapter))
    assert updates
    done("fuse", base, adapter, "-o", tmp_path / "out")
    fused = t.LlavaForConditionalGeneration.from_pretrained(tmp_path / "out").state_dict()
    plain = t.LlavaForConditionalGeneration.from_pretrained(base).state_dict()
    for module, update in updates.items():
        torch.testing.assert_close(fused[f"{module}.weight"] - plain[f"{module}.weight"], update, rtol=1e-4, atol=1e-5)
    done("merge", adapter, "--base", base, "-o", tmp_path / "named")
    assert deltas(with_adapter(t.LlavaForConditionalGeneration, base, tmp_path / "named")).keys() == updates.keys()


@pytest.mark.parametrize("stored", ["lm_head.weight", "language_model.lm_head.weight"])
def test_one_output_embedding_whatever_it_is_called(stored: str, tmp_path: Path) -> None:
    """Embeddings of an older layout, both trained: the output embedding that is there is the one that changes."""
    base = saved(vlm(), tmp_path / "base")
    adapter, expected = trained(
        vlm(), tmp_path / "a", target_modules=r".*layers.*q_proj", modules_to_save=["lm_head", "embed_tokens"]
    )
    tensors = load_file(base / "model.safetensors")
    tensors[stored] = tensors.pop("language_model.lm_head.weight")
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    config["text_config"]["tie_word_embeddings"] = config["tie_word_embeddings"] = True
    (base / "config.json").write_text(json.dumps(config))
    done("fuse", base, adapter, "-o", tmp_path / "out")
    heads = [name for name in load_file(tmp_path / "out/model.safetensors") if "lm_head" in name]
    assert heads == [stored]
    close(said(t.LlavaForConditionalGeneration.from_pretrained(tmp_path / "out")), expected)


def phi() -> nn.Module:
    torch.manual_seed(0)
    return t.Phi3ForCausalLM(t.Phi3Config(**GROUPED, pad_token_id=0, eos_token_id=1, bos_token_id=1)).eval()


CUTS = {
    "qkv_proj": {"q_proj": slice(0, 32), "k_proj": slice(32, 48), "v_proj": slice(48, 64)},
    "gate_up_proj": {"gate_proj": slice(0, 48), "up_proj": slice(48, 96)},
}


def in_parts(adapter: Path, folder: Path, kept: Callable[[str], bool] = lambda part: True) -> Path:
    """The adapter with its joined projections in parts."""
    shutil.copytree(adapter, folder)
    tensors = {}
    for name, tensor in load_file(adapter / WEIGHTS).items():
        whole = next((whole for whole in CUTS if f".{whole}." in name), None)
        for part, rows in CUTS[whole].items() if whole else ():
            if kept(part):
                tensors[name.replace(str(whole), part)] = (tensor[rows] if "lora_B" in name else tensor).clone()
        if whole is None:
            tensors[name] = tensor
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    return folder


def test_joined_projections_and_their_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = saved(phi(), tmp_path / "base")
    joined, expected = trained(phi(), tmp_path / "joined", target_modules="all-linear")
    parts = in_parts(joined, tmp_path / "parts")
    done("fuse", base, parts, "-o", tmp_path / "out")
    close(said(t.Phi3ForCausalLM.from_pretrained(tmp_path / "out")), expected)
    half = ("--linear", "-w", 0.5, "-w", 0.5)
    assert run([*map(str, ["merge", joined, parts, *half, "-o", tmp_path / "mean"])]) == 4
    message = capsys.readouterr().err
    assert all(each in message for each in ("gate_up_proj'", "gate_proj'", "in parts", "--base"))
    done("merge", joined, parts, *half, "--base", base, "-o", tmp_path / "mean")
    close(said(with_adapter(t.Phi3ForCausalLM, base, tmp_path / "mean")), expected)
    done("fuse", base, joined, parts, *half, "-o", tmp_path / "both")
    named = ("--adapter", f"a={joined}", "--adapter", f"b={parts}")
    done("verify", tmp_path / "both", "--base", base, *named)
    close(said(t.Phi3ForCausalLM.from_pretrained(tmp_path / "both")), expected)


@pytest.mark.parametrize("part", ["q_proj", "k_proj", "v_proj", "up_proj"])
def test_one_part_finds_its_rows(part: str, tmp_path: Path) -> None:
    base = saved(phi(), tmp_path / "base")
    joined, _ = trained(phi(), tmp_path / "joined", target_modules=["qkv_proj", "gate_up_proj"])
    done("fuse", base, in_parts(joined, tmp_path / "one", lambda each: each == part), "-o", tmp_path / "out")
    before, after = (load_file(tmp_path / each / "model.safetensors") for each in ("base", "out"))
    updates = deltas(with_adapter(t.Phi3ForCausalLM, base, joined))
    for name, tensor in before.items():
        whole = next((whole for whole, cuts in CUTS.items() if f".{whole}." in name and part in cuts), None)
        wanted = tensor.clone()
        if whole:
            rows = CUTS[whole][part]
            wanted[rows] += updates[name.removesuffix(".weight")][rows]
        torch.testing.assert_close(after[name], wanted)


def test_a_joined_adapter_into_a_base_in_parts(tmp_path: Path) -> None:
    """A Phi-3 stored as a Llama is: the same model, in parts."""
    base = saved(phi(), tmp_path / "base")
    joined, expected = trained(phi(), tmp_path / "joined", target_modules="all-linear")
    tensors = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        whole = next((whole for whole in CUTS if f".{whole}." in name), None)
        for part, rows in CUTS[whole].items() if whole else ():
            tensors[name.replace(str(whole), part)] = tensor[rows].clone()
        if whole is None:
            tensors[name] = tensor
    config = t.LlamaConfig(**GROUPED, rms_norm_eps=1e-5, max_position_embeddings=4096, tie_word_embeddings=False)
    model = t.LlamaForCausalLM(config)
    model.load_state_dict(tensors)
    split = saved(model, tmp_path / "split")
    done("fuse", split, joined, "-o", tmp_path / "out")
    close(said(t.LlamaForCausalLM.from_pretrained(tmp_path / "out")), expected)
    done("merge", joined, "--base", split, "-o", tmp_path / "named")
    close(said(with_adapter(t.LlamaForCausalLM, split, tmp_path / "named")), expected)


def test_a_reversed_linear_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = saved(llama(), tmp_path / "base")
    adapter, _ = trained(llama(), tmp_path / "a", target_modules=["k_proj"])
    tensors = load_file(adapter / WEIGHTS)
    turned = {
        name.replace("lora_A", "lora_C").replace("lora_B", "lora_A").replace("lora_C", "lora_B"): tensor.T.contiguous()
        for name, tensor in tensors.items()
    }
    save_file(turned, adapter / WEIGHTS, {"format": "pt"})
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 4
    message = capsys.readouterr().err
    assert all(each in message for each in ("[32, 16]", "[16, 32]", "k_proj"))
