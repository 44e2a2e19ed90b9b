"""Modules that are trained or saved whole, of every kind: in and around adapted ones, with counters, with all experts of a layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    Lfm2MoeConfig,
    Lfm2MoeForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
    RobertaConfig,
    RobertaForMaskedLM,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
)
from turns import in_turn

from adapterops.cli.main import run

TEXT = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = torch.arange(3, 13)[None]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def trained(model: Any, **config: Any) -> PeftModel:
    """Save a base and an adapter with numbers in every tensor that training would change."""
    model.eval().save_pretrained("base")
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, **config)).eval()
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    adapted.save_pretrained("lora")
    return adapted


@pytest.mark.parametrize(
    ("make", "saved"),
    [
        (lambda: RobertaForMaskedLM(RobertaConfig(**TEXT, pad_token_id=1)), ["lm_head"]),
        (lambda: BertForMaskedLM(BertConfig(**TEXT)), ["cls"]),
        (lambda: BertForMaskedLM(BertConfig(**TEXT)), ["predictions", "LayerNorm"]),
    ],
    ids=["lm_head", "cls", "predictions"],
)
@torch.no_grad()
def test_a_change_of_a_head_with_layers_and_a_bias_is_extracted(make: Any, saved: list[str]) -> None:
    """The bias of the head is no reason to take its layers along, which have updates."""
    adapted = trained(make(), target_modules=["query"], modules_to_save=saved)
    expected = adapted(IDS).logits
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 0
    assert run(["extract", "fused", "--base", "base", "--rank", "32", "-o", "out"]) == 0
    loaded = PeftModel.from_pretrained(type(make()).from_pretrained("base"), "out").eval()
    torch.testing.assert_close(loaded(IDS).logits, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bart", "distilbert"])
@torch.no_grad()
def test_a_part_of_the_head_of_a_classifier_is_extracted_with_all_of_it(kind: str) -> None:
    """PEFT replaces heads whole, and all that it has for the task, also those that no training changed."""
    width = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 32}
    made: Any = {
        "bart": lambda: BartForSequenceClassification(BartConfig(vocab_size=64, **width, **heads)),
        "distilbert": lambda: DistilBertForSequenceClassification(
            DistilBertConfig(vocab_size=64, dim=16, hidden_dim=16, n_layers=1, n_heads=2)
        ),
    }[kind]
    adapted = trained(made(), target_modules={"bart": ["fc1", "dense"], "distilbert": ["lin1", "pre_classifier"]}[kind])
    ids = torch.tensor([[5, 6, 7, 2]])
    expected = adapted(ids).logits
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 0
    assert run(["extract", "fused", "--base", "base", "--rank", "16", "-o", "out"]) == 0
    loaded = PeftModel.from_pretrained(type(made()).from_pretrained("base"), "out").eval()
    torch.testing.assert_close(loaded(ids).logits, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("labels", [1, 3])
@torch.no_grad()
def test_classifiers_are_merged_with_the_language_model_as_their_base(labels: int) -> None:
    text = TEXT | {"pad_token_id": 0}
    model = LlamaForSequenceClassification(LlamaConfig(**text, num_labels=labels))
    language = LlamaForCausalLM(LlamaConfig(**text))
    language.model.load_state_dict(model.model.state_dict())
    adapted = trained(model, task_type="SEQ_CLS", target_modules=["q_proj"])
    expected = adapted(IDS).logits
    language.save_pretrained("language")
    merge = ["merge", "lora", "lora", "--linear", "-w", "0.5", "-w", "0.5"]
    assert run([*merge, "--base", "language", "-o", "mean"]) == 0
    assert run(["fuse", "language", "mean", "-o", "fused"]) == 0
    for loaded in (
        PeftModel.from_pretrained(LlamaForSequenceClassification.from_pretrained("base"), "mean"),
        LlamaForSequenceClassification.from_pretrained("fused"),
    ):
        torch.testing.assert_close(loaded.eval()(IDS).logits, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_batch_norm_is_saved_with_the_number_of_its_batches(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic", "num_labels": 3}
    model = ResNetForImageClassification(ResNetConfig(**sizes))
    pixels = torch.randn(1, 3, 28, 28)
    model.train()(pixels)  # one batch more than none
    adapted = trained(model, target_modules=["convolution"], modules_to_save=["classifier", "normalization"])
    expected = adapted(pixels).logits
    file = Path("lora/adapter_model.safetensors")
    counted = {name: each + 4 if "num_batches" in name else each.contiguous() for name, each in load_file(file).items()}
    save_file(counted, file, {"format": "pt"})
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 0
    fused = ResNetForImageClassification.from_pretrained("fused").eval()
    torch.testing.assert_close(fused(pixels).logits, expected, atol=1e-5, rtol=1e-4)
    assert {int(each) for name, each in fused.state_dict().items() if "num_batches" in name} == {5}
    assert run(["truncate", "lora", "--rank", "4", "-o", "cut"]) == 0
    loaded = PeftModel.from_pretrained(ResNetForImageClassification.from_pretrained("base"), "cut").eval()
    torch.testing.assert_close(loaded(pixels).logits, expected, atol=1e-5, rtol=1e-4)
    judges = [[judge, "fused", "--base", "base", "--adapter", "lora"] for judge in ("verify", "diagnose")]
    assert [run(judge) for judge in judges] == [0, 0]
    tensors = load_file("fused/model.safetensors")
    wrong = next(name for name in tensors if "num_batches" in name)
    save_file(tensors | {wrong: tensors[wrong] + 1}, "fused/model.safetensors", {"format": "pt"})
    capsys.readouterr()
    for judge in judges:
        assert run(judge) == 8
        assert wrong in capsys.readouterr().out


@torch.no_grad()
def test_a_head_that_files_call_otherwise() -> None:
    fields = {"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16], "patch_sizes": [3, 3],
              "strides": [2, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 16}  # fmt: skip
    model = SegformerForSemanticSegmentation(SegformerConfig(**fields, num_labels=3))
    pixels = torch.randn(1, 3, 28, 28)
    expected = trained(model, target_modules=["q_proj"], modules_to_save=["decode_head"])(pixels).logits
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 0
    fused = SegformerForSemanticSegmentation.from_pretrained("fused").eval()
    torch.testing.assert_close(fused(pixels).logits, expected, atol=1e-5, rtol=1e-4)
    assert run(["verify", "fused", "--base", "base", "--adapter", "lora"]) == 0


MIXTURES = {
    "qwen3_moe": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(**TEXT, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24),
    ),
    "mixtral": (MixtralForCausalLM, MixtralConfig(**TEXT, num_key_value_heads=2, num_local_experts=4)),
    "lfm2_moe": (
        Lfm2MoeForCausalLM,
        Lfm2MoeConfig(
            **TEXT,
            num_key_value_heads=2,
            moe_intermediate_size=24,
            num_experts=4,
            num_experts_per_tok=2,
            num_dense_layers=1,
            layer_types=["full_attention", "conv"],
        ),
    ),
}
"""Models whose files have each expert by itself, under names of their own, and whose layers have all in one parameter."""


@pytest.mark.parametrize(
    ("kind", "saved"),
    in_turn(MIXTURES, [["experts"], ["layers.1"], ["mlp", "feed_forward", "block_sparse_moe"]], times=2),
    ids=str,
)
@torch.no_grad()
def test_all_experts_of_a_layer_saved_whole(kind: str, saved: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """PEFT saves one tensor of all; each expert of the base gets its rows of that. `block_sparse_moe` is `mlp` by another name."""
    make, config = MIXTURES[kind]
    adapted = trained(make(config), target_modules=r".*layers\.0\.self_attn\.[qk]_proj", modules_to_save=saved)
    expected = adapted(IDS).logits
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 0
    merge = ["merge", "lora", "lora", "--linear", "-w", "0.5", "-w", "0.5"]
    assert run([*merge, "--base", "base", "-o", "mean"]) == 0
    for loaded in (make.from_pretrained("fused"), PeftModel.from_pretrained(make.from_pretrained("base"), "mean")):
        torch.testing.assert_close(loaded.eval()(IDS).logits, expected, atol=1e-5, rtol=1e-4)
    judges = [[judge, "fused", "--base", "base", "--adapter", "lora"] for judge in ("verify", "diagnose")]
    assert [run(judge) for judge in judges] == [0, 0]
    tensors = load_file("fused/model.safetensors")
    one, other = (next(name for name in tensors if f"experts.{number}." in name) for number in (0, 1))
    save_file(tensors | {one: tensors[other], other: tensors[one]}, "fused/model.safetensors", {"format": "pt"})
    for judge in judges:
        assert run(judge) == 8


@pytest.mark.parametrize("change", ["number", "shape", "type"])
def test_all_experts_that_are_not_those_of_the_base(change: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, config = MIXTURES["qwen3_moe"]
    trained(make(config), target_modules=["q_proj"], modules_to_save=["experts"])
    file, path = Path("lora/adapter_model.safetensors"), Path("base/config.json")
    cut = {"number": lambda each: each[:3], "shape": lambda each: each[:, :-2]}.get(change, lambda each: each)
    parts = {name: cut(each) if each.ndim == 3 else each for name, each in load_file(file).items()}
    save_file({name: each.contiguous() for name, each in parts.items()}, file, {"format": "pt"})
    if change == "type":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "remote"}))
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 4
    told = capsys.readouterr().err
    if change == "type":
        assert "how a model of type remote makes one of them is not known" in told
        assert "merge_and_unload" in told
    else:
        assert "is a full tensor of all experts of shape" in told
        assert "the base has 4 experts, each by itself, the first of them [32, 24]" in told


LLAMA_4 = {"head_dim": 8, "intermediate_size_mlp": 48, "num_local_experts": 4, "interleave_moe_layer_step": 1}


@torch.no_grad()
def test_a_named_module_without_tensors_is_none_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """Llama 4's `qk_norm` has no weight, and PEFT saves nothing of it."""
    model = Llama4ForCausalLM(Llama4TextConfig(**TEXT, num_key_value_heads=2, **LLAMA_4))
    saved = {"modules_to_save": ["qk_norm", "norm", "wte"]}
    expected = trained(model, target_modules=["q_proj"], **saved)(IDS).logits
    assert run(["show", "lora"]) == 0
    assert "modules_to_save names qk_norm, wte, and no tensor belongs to that" in capsys.readouterr().out
    assert run(["truncate", "lora", "--rank", "4", "-o", "cut"]) == 3
    assert "name the model with --base" in capsys.readouterr().err
    assert run(["truncate", "lora", "--rank", "4", "--base", "base", "-o", "cut"]) == 0
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 0
    assert "qk_norm, wte, of which neither lora nor the base has a tensor" in capsys.readouterr().err
    for loaded in (
        PeftModel.from_pretrained(Llama4ForCausalLM.from_pretrained("base"), "cut"),
        Llama4ForCausalLM.from_pretrained("fused"),
    ):
        torch.testing.assert_close(loaded.eval()(IDS).logits, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("saved", ["embed_tokens", "layers.0.input_layernorm", "model.norm", "lm_head"])
def test_a_named_module_of_which_the_tensors_are_lost(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    trained(LlamaForCausalLM(LlamaConfig(**TEXT, tie_word_embeddings=saved == "lm_head")), target_modules=["q_proj"])
    path = Path("lora/adapter_config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"modules_to_save": [saved]}))
    for command in (["fuse", "base", "lora", "-o", "out"], ["merge", "lora", "lora", "--base", "base", "-o", "out"]):
        assert run(command) == 3
        assert f"modules_to_save names {saved!r}, the base has" in capsys.readouterr().err
        assert not Path("out").exists()


HEADS = {
    "a layer": (
        lambda: BertForSequenceClassification(BertConfig(**TEXT, num_labels=3)),
        "pooler",
        "pooler.modules_to_save.dense.",
    ),
    "an adapter called like a layer": (
        lambda: LlamaForCausalLM(LlamaConfig(**TEXT)),
        "model.norm",
        "norm.modules_to_save.dense.",
    ),
    "an adapter": (lambda: LlamaForCausalLM(LlamaConfig(**TEXT)), "model.norm", "norm.modules_to_save.mine."),
}


@pytest.mark.parametrize("kind", HEADS)
@torch.no_grad()
def test_the_base_shows_what_a_word_in_a_copy_is(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A program that strips the name of the adapter leaves that of a layer in its place, and one that does not leaves both."""
    make, saved, spelled = HEADS[kind]
    adapted = trained(make(), target_modules=["q_proj", "query"], modules_to_save=[saved])
    expected = adapted(IDS).logits
    file = Path("lora/adapter_model.safetensors")
    plain = {name: each.contiguous() for name, each in load_file(file).items()}
    written = spelled.replace("modules_to_save.", "") if kind == "a layer" else f"{spelled.partition('.')[0]}."
    save_file({name.replace(written, spelled): each for name, each in plain.items()}, file, {"format": "pt"})
    for number, command in enumerate(
        (["truncate", "lora", "--rank", "4"], ["merge", "lora", "lora", "--linear", "-w", "0.5", "-w", "0.5"])
    ):
        assert run([*command, "-o", f"cut-{number}"]) == 3
        assert "nothing shows whether the word after modules_to_save" in capsys.readouterr().err
        assert run([*command, "--base", "base", "-o", f"cut-{number}"]) == 0
        loaded = PeftModel.from_pretrained(type(make()).from_pretrained("base"), f"cut-{number}").eval()
        torch.testing.assert_close(loaded(IDS).logits, expected, atol=1e-5, rtol=1e-4)
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 0
    torch.testing.assert_close(type(make()).from_pretrained("fused").eval()(IDS).logits, expected, atol=1e-5, rtol=1e-4)
    assert run(["verify", "fused", "--base", "base", "--adapter", "lora"]) == 0


def test_a_word_in_a_copy_that_the_base_does_not_show(capsys: pytest.CaptureFixture[str]) -> None:
    trained(LlamaForCausalLM(LlamaConfig(**TEXT)), target_modules=["q_proj"], modules_to_save=["model.norm"])
    file = Path("lora/adapter_model.safetensors")
    tensors = load_file(file)
    save_file({name.replace("model.norm.", "gone.modules_to_save.mine."): each for name, each in tensors.items()}, file)
    path = Path("lora/adapter_config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"modules_to_save": ["gone"]}))
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 4
    assert "may be gone.weight or gone.mine.weight of the model, and the base has neither" in capsys.readouterr().err


def test_what_ms_swift_adds_to_a_config_changes_no_update() -> None:
    adapted = trained(LlamaForCausalLM(LlamaConfig(**TEXT)), target_modules=["q_proj"])
    expected = adapted(IDS).logits
    path = Path("lora/adapter_config.json")
    added = {"lora_dtype": "float32", "lorap_lr_ratio": 16.0, "lorap_emb_lr": 1e-6, "swift_type": "LORA"}
    path.write_text(json.dumps(json.loads(path.read_text()) | added))
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 0
    fused = LlamaForCausalLM.from_pretrained("fused").eval()(IDS).logits
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", [{"init_lora_weights": "pissa"}, {"use_dora": True}], ids=["pissa", "dora"])
def test_what_depends_on_its_base_cannot_be_taken_out_of_a_model(
    config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trained(LlamaForCausalLM(LlamaConfig(**TEXT)), target_modules=["q_proj"], **config)
    assert run(["unfuse", "base", "lora", "-o", "out"]) == 4
    assert "use the base itself, which is what unfusing would give" in capsys.readouterr().err


def test_what_depends_on_its_base_is_measured_as_what_is_extracted(capsys: pytest.CaptureFixture[str]) -> None:
    """`show` takes no base for that, and what it names is what works."""
    trained(LlamaForCausalLM(LlamaConfig(**TEXT)), target_modules=["q_proj"], init_lora_weights="pissa")
    assert run(["show", "lora", "--spectrum"]) == 4
    _, found, ways = capsys.readouterr().err.partition("extract the change as LoRA: ")
    assert found
    for way in ways.strip().replace("BASE", "base").split("; "):
        assert run([*way.split()[1:-1], "measured" if "extract" in way else "fused"]) == 0
    assert run(["show", "measured", "--spectrum"]) == 0


def test_a_mean_with_a_head_that_was_replaced_is_not_taken_out(capsys: pytest.CaptureFixture[str]) -> None:
    """One adapter has the head whole, and one LoRA on it, with which PEFT saves the base's."""
    for name, config in ("a", {"modules_to_save": ["lm_head"]}), ("b", {}):
        targets = ["q_proj"] if config else ["q_proj", "lm_head"]
        trained(LlamaForCausalLM(LlamaConfig(**TEXT)), target_modules=targets, **config)
        Path("lora").rename(name)
    how = ["a", "b", "-w", "0.5,0.5", "--full", "mean", "-o"]
    assert run(["fuse", "base", *how, "fused", "--allow-base-mismatch"]) == 0
    assert run(["unfuse", "fused", *how, "back", "--allow-base-mismatch"]) == 4
    assert "a: lm_head.weight: replaced the base's" in capsys.readouterr().err


def test_biases_of_a_module_that_computes_its_weight() -> None:
    """Whose parameters are in a module of its own, which is none that PEFT can replace."""
    convolutions = {"conv_dim": (8,), "conv_stride": (4,), "conv_kernel": (8,), "num_feat_extract_layers": 1}
    around = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    sound, model = torch.randn(1, 400), Wav2Vec2ForCTC(Wav2Vec2Config(**TEXT, **convolutions, **around))
    live = trained(model, target_modules=["q_proj"], bias="all").merge_and_unload()
    live.save_pretrained("tuned")
    assert run(["extract", "tuned", "--base", "base", "--rank", "4", "-o", "out"]) == 0
    found = PeftModel.from_pretrained(Wav2Vec2ForCTC.from_pretrained("base"), "out").eval()
    with torch.no_grad():
        torch.testing.assert_close(found(sound).logits, live(sound).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("trains", "lora"),
    [
        ({"bias": "all"}, False),
        ({"modules_to_save": ["input_layernorm"]}, False),
        ({"modules_to_save": ["embed_tokens"]}, False),
        ({"trainable_token_indices": [1, 5]}, False),
        ({"modules_to_save": ["lm_head"]}, True),
    ],
    ids=["biases", "norms", "embedding", "rows", "head"],
)
def test_the_way_out_for_a_full_tensor_that_others_lack(
    trains: dict[str, Any], lora: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a Linear layer `extract` makes LoRA, which is merged; of anything else not, and what is fused gets the others."""

    def model() -> Any:
        torch.manual_seed(0)
        return Qwen2ForCausalLM(Qwen2Config(**TEXT, num_key_value_heads=2, tie_word_embeddings=False))

    trained(model(), target_modules=["q_proj"])
    Path("lora").rename("plain")
    live = trained(model(), target_modules=["v_proj"], **trains).merge_and_unload()
    both = PeftModel.from_pretrained(live, "plain").eval()
    assert run(["merge", "plain", "lora", "-w", "1,1", "-o", "out"]) == 4
    said = capsys.readouterr().err
    assert run(["fuse", "base", "lora", "-o", "fused"]) == 0
    if lora:
        assert "adapterops extract fused --base BASE --rank 32 -o lora" in said
        assert run(["extract", "fused", "--base", "base", "--rank", "32", "-o", "extracted"]) == 0
        assert run(["fuse", "base", "plain", "extracted", "-w", "1,1", "--allow-base-mismatch", "-o", "all"]) == 0
    else:
        assert "adapterops fuse BASE lora -o fused; adapterops fuse fused OTHER" in said
        assert run(["fuse", "fused", "plain", "-o", "all"]) == 0
    with torch.no_grad():
        found = Qwen2ForCausalLM.from_pretrained("all").eval()(IDS).logits
        torch.testing.assert_close(found, both(IDS).logits, rtol=1e-3, atol=1e-5)
