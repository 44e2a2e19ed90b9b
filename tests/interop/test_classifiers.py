"""Classifiers made of the language models and encoders that they were trained from, judged by PEFT's model."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AlbertConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BartConfig,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    RobertaConfig,
    T5Config,
    XLNetConfig,
)

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]
TASKS = {
    "SEQ_CLS": AutoModelForSequenceClassification,
    "TOKEN_CLS": AutoModelForTokenClassification,
    "QUESTION_ANS": AutoModelForQuestionAnswering,
}
SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
}  # fmt: skip
LLAMA = LlamaConfig(num_key_value_heads=2, pad_token_id=0, **SIZES)
TIED = LlamaConfig(num_key_value_heads=2, pad_token_id=0, tie_word_embeddings=True, **SIZES)
GPT2 = GPT2Config(vocab_size=96, n_embd=32, n_layer=1, n_head=4, n_positions=32, pad_token_id=0)
BERT, ROBERTA = BertConfig(**SIZES), RobertaConfig(pad_token_id=1, **SIZES)
DISTILBERT = DistilBertConfig(vocab_size=96, dim=32, hidden_dim=48, n_layers=1, n_heads=4)
SPECIAL = dict.fromkeys(("pad_token_id", "cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id"), 0)
MODERNBERT = ModernBertConfig(**SPECIAL, **SIZES)

BART = BartConfig(
    vocab_size=96, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
    encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=32,
)  # fmt: skip
T5 = T5Config(
    vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4, decoder_start_token_id=0, eos_token_id=2
)
XLNET = XLNetConfig(vocab_size=96, d_model=32, n_layer=1, n_head=4, d_inner=48)
ALBERT = AlbertConfig(embedding_size=16, **SIZES)
"""Which has a head of its own that is called as one of a classifier is: `sop_classifier.classifier`."""
UNSAVED = "has no head; the base, which is a"

CASES = [
    ("LlamaForCausalLM", LLAMA, "SEQ_CLS", "q_proj"),
    ("LlamaForCausalLM", TIED, "SEQ_CLS", "q_proj"),
    ("LlamaModel", LLAMA, "TOKEN_CLS", "q_proj"),
    ("GPT2LMHeadModel", GPT2, "SEQ_CLS", "c_attn"),
    ("GPT2Model", GPT2, "TOKEN_CLS", "c_attn"),
    ("BertForPreTraining", BERT, "SEQ_CLS", "query"),
    ("BertModel", BERT, "SEQ_CLS", "query"),
    ("BertForMaskedLM", BERT, "TOKEN_CLS", "query"),
    ("RobertaForMaskedLM", ROBERTA, "SEQ_CLS", "query"),
    ("RobertaForMaskedLM", ROBERTA, "TOKEN_CLS", "query"),
    ("DistilBertForMaskedLM", DISTILBERT, "SEQ_CLS", "q_lin"),
    ("ModernBertForMaskedLM", MODERNBERT, "TOKEN_CLS", "Wqkv"),
    ("ModernBertForMaskedLM", MODERNBERT, "SEQ_CLS", "Wqkv"),
    ("T5ForConditionalGeneration", T5, "SEQ_CLS", "q"),
    ("T5ForConditionalGeneration", T5, "TOKEN_CLS", "q"),
    ("AlbertForPreTraining", ALBERT, "TOKEN_CLS", "query"),
]
SAVED = {("T5ForConditionalGeneration", "SEQ_CLS"): ("classification_head",)}
"""Heads that PEFT saves where modules_to_save names them."""
ANSWERING = [
    ("BertForPreTraining", BERT, "query"),
    ("RobertaForMaskedLM", ROBERTA, "query"),
    ("DistilBertModel", DISTILBERT, "q_lin"),
    ("GPT2LMHeadModel", GPT2, "c_attn"),
    ("BartForConditionalGeneration", BART, "q_proj"),
    ("T5ForConditionalGeneration", T5, "q"),
]


def save(name: str, config: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    model = getattr(transformers, name)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    return folder


def train(
    base: Path, folder: Path, task: str, target: str, labels: int = 3, stated: bool = True, saved: tuple[str, ...] = ()
) -> Any:
    """A classifier that PEFT trains from a base, its adapter saved."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TASKS[task].from_pretrained(base, num_labels=labels, ignore_mismatched_sizes=True)
        said: dict[str, Any] = {"task_type": task} if stated else {}
        said |= {"modules_to_save": list(saved)} if saved else {}
        config = peft.LoraConfig(r=4, target_modules=[target], init_lora_weights=False, **said)
        found = peft.get_peft_model(model, config)
        with torch.no_grad():
            for name, parameter in found.named_parameters():
                if "modules_to_save" in name:
                    parameter.normal_(std=0.3)
        found.save_pretrained(folder)
    return found.eval()


def answers(model: Any) -> torch.Tensor:
    with torch.no_grad():
        # a sequence ends with the token 2, which the head of an encoder and decoder looks for
        found = model(input_ids=torch.cat([torch.arange(3, 21).reshape(2, 9), torch.full((2, 1), 2)], 1))
    parts: list[torch.Tensor] = [found.start_logits, found.end_logits] if "start_logits" in found else [found.logits]
    return torch.cat(parts)


def check(base: Path, adapter: Path, out: Path, task: str, live: Any, labels: int = 3) -> Any:
    assert run(["fuse", str(base), str(adapter), "-o", str(out)]) == 0
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(adapter), "--logits"]) == 0
    made, told = TASKS[task].from_pretrained(out, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["mismatched_keys"]
    assert made.config.num_labels == labels
    torch.testing.assert_close(answers(made.eval()), answers(live), rtol=1e-5, atol=1e-5)
    return made


@pytest.mark.parametrize(("name", "config", "task", "target"), CASES, ids=[f"{c[0]} {c[2]}" for c in CASES])
def test_a_model_becomes_the_classifier(name: str, config: Any, task: str, target: str, tmp_path: Path) -> None:
    base = save(name, config, tmp_path / "base")
    live = train(base, tmp_path / "a", task, target, saved=SAVED.get((name, task), ()))
    made = check(base, tmp_path / "a", tmp_path / "out", task, live)
    assert json.loads((tmp_path / "out/config.json").read_text())["architectures"] == [type(made).__name__]
    with safe_open(tmp_path / "out/model.safetensors", "pt") as file:
        other = "lm_head", "cls.", "vocab_", "predictions.", "decoder.weight", "decoder.bias"
        assert not [key for key in file.keys() if key.startswith(other)]  # noqa: SIM118  # it is no mapping


@pytest.mark.parametrize(
    ("name", "config", "head"), [("LlamaForCausalLM", LLAMA, "score"), ("RobertaForMaskedLM", ROBERTA, "classifier")]
)
def test_a_head_under_the_name_of_an_adapter(
    name: str, config: Any, head: str, tmp_path: Path, capsys: Capture
) -> None:
    """Which the names of its LoRA do not have. A head that transformers makes has no layer of this name."""
    base = save(name, config, tmp_path / "base")
    live = train(base, tmp_path / "a", "SEQ_CLS", "q_proj" if head == "score" else "query")
    path = tmp_path / "a/adapter_model.safetensors"
    plain = load_file(path)
    for word in ("mine", "linear"):
        named = {key.replace(f"{head}.", f"{head}.modules_to_save.{word}."): each for key, each in plain.items()}
        save_file(named, path)
        check(base, tmp_path / "a", tmp_path / f"out-{word}", "SEQ_CLS", live)
    code = run(["truncate", str(tmp_path / "a"), "--rank", "2", "-o", str(tmp_path / "cut")])
    assert (code, f"{head}.linear." in capsys.readouterr().err) == ((0, False) if head == "score" else (3, True))


def test_the_class_may_be_said_instead_of_the_task(tmp_path: Path) -> None:
    base = save("LlamaForCausalLM", LLAMA, tmp_path / "base")
    live = train(base, tmp_path / "a", "SEQ_CLS", "q_proj", stated=False, saved=("score",))
    check(base, tmp_path / "a", tmp_path / "out", "SEQ_CLS", live)


@pytest.mark.parametrize("command", [["truncate", "--rank", "4"], ["convert", "--to", "peft"], ["merge", "-w", "1"]])
def test_a_head_of_several_layers_is_written_as_one_module(command: list[str], tmp_path: Path) -> None:
    """PEFT copies the module that the task names whole, and looks for all of it in the file."""
    base = save("RobertaForMaskedLM", ROBERTA, tmp_path / "base")
    live = train(base, tmp_path / "a", "SEQ_CLS", "query")
    assert run([command[0], str(tmp_path / "a"), *command[1:], "-o", str(tmp_path / "out")]) == 0
    model = TASKS["SEQ_CLS"].from_pretrained(base, num_labels=3)
    found = peft.PeftModel.from_pretrained(model, tmp_path / "out").eval()
    torch.testing.assert_close(answers(found), answers(live), rtol=1e-5, atol=1e-5)
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["bias"] == "none"


@pytest.mark.parametrize("labels", [2, 5])
def test_a_classifier_with_other_labels(labels: int, tmp_path: Path) -> None:
    """RoBERTa's head is a module of several layers."""
    base = save("RobertaForSequenceClassification", ROBERTA, tmp_path / "base")
    live = train(base, tmp_path / "a", "SEQ_CLS", "query", labels)
    check(base, tmp_path / "a", tmp_path / "out", "SEQ_CLS", live, labels)


@pytest.mark.parametrize(
    ("name", "config", "target", "part"),
    [("BertForMaskedLM", BERT, "query", "pooler"), ("ModernBertModel", MODERNBERT, "Wqkv", "head")],
)
def test_what_nobody_saved_is_missed(
    name: str, config: Any, target: str, part: str, tmp_path: Path, capsys: Capture
) -> None:
    base = save(name, config, tmp_path / "base")
    train(base, tmp_path / "a", "SEQ_CLS", target)
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    assert f"has a module '{part}', which neither the base nor the adapter has" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "config", "target"), ANSWERING, ids=[case[0] for case in ANSWERING])
def test_a_model_that_answers_questions(name: str, config: Any, target: str, tmp_path: Path) -> None:
    base = save(name, config, tmp_path / "base")
    live = train(base, tmp_path / "a", "QUESTION_ANS", target, labels=2)
    check(base, tmp_path / "a", tmp_path / "out", "QUESTION_ANS", live, labels=2)


@pytest.mark.parametrize(
    ("name", "config", "task", "target", "told"),
    [
        ("BartForConditionalGeneration", BART, "SEQ_CLS", "q_proj", UNSAVED),
        ("T5ForConditionalGeneration", T5, "SEQ_CLS", "q", UNSAVED),
        ("LlamaForCausalLM", LLAMA, "QUESTION_ANS", "q_proj", "fuse it into a checkpoint of the class"),
    ],
)
def test_a_class_that_cannot_be_made(
    name: str, config: Any, task: str, target: str, told: str, tmp_path: Path, capsys: Capture
) -> None:
    base = save(name, config, tmp_path / "base")
    train(base, tmp_path / "a", task, target)
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    assert told in capsys.readouterr().err


def test_a_class_whose_head_was_not_saved_is_known_by_its_name(tmp_path: Path, capsys: Capture) -> None:
    base = save("LlamaForCausalLM", LLAMA, tmp_path / "base")
    train(base, tmp_path / "a", "SEQ_CLS", "q_proj", stated=False)
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    assert UNSAVED in capsys.readouterr().err


def test_a_head_of_another_name_goes_into_a_checkpoint_of_its_class(tmp_path: Path, capsys: Capture) -> None:
    base = save("XLNetLMHeadModel", XLNET, tmp_path / "base")
    live = train(base, tmp_path / "a", "SEQ_CLS", "layer_1", saved=("logits_proj", "sequence_summary"))
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    told = capsys.readouterr().err
    assert "logits_proj.bias: is a full tensor of shape [3], and the base has nothing of that name" in told
    assert "fuse it into a checkpoint of the class that it was trained on" in told
    whole = TASKS["SEQ_CLS"].from_pretrained(base, num_labels=3, ignore_mismatched_sizes=True)
    whole.save_pretrained(tmp_path / "whole")
    check(tmp_path / "whole", tmp_path / "a", tmp_path / "out", "SEQ_CLS", live)


def test_unfusing_a_classifier_is_refused(tmp_path: Path, capsys: Capture) -> None:
    base = save("LlamaForCausalLM", LLAMA, tmp_path / "base")
    train(base, tmp_path / "a", "SEQ_CLS", "q_proj")
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert run(["unfuse", str(tmp_path / "out"), str(tmp_path / "a"), "-o", str(tmp_path / "back")]) == 4
    assert "score.weight: replaced the base's" in capsys.readouterr().err


EXTRACTED = [CASES[each] for each in (0, 1, 3, 7, 8, 10, 12, 13)]


@pytest.mark.parametrize(("name", "config", "task", "target"), EXTRACTED, ids=[f"{c[0]} {c[2]}" for c in EXTRACTED])
def test_a_classifier_is_extracted_from_the_model_that_it_was_made_of(
    name: str, config: Any, task: str, target: str, tmp_path: Path
) -> None:
    """PEFT loads the adapter with its head, and `fuse` makes the classifier again."""
    base = save(name, config, tmp_path / "base")
    live = train(base, tmp_path / "a", task, target, saved=SAVED.get((name, task), ())).merge_and_unload()
    live.save_pretrained(tmp_path / "tuned")
    command = ["extract", str(tmp_path / "tuned"), "--base", str(base), "--rank", "4", "-o"]
    assert run([*command, str(tmp_path / "out")]) == 0
    fields = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert fields["task_type"] == task
    model = TASKS[task].from_pretrained(base, num_labels=3)
    found = peft.PeftModel.from_pretrained(model, tmp_path / "out").eval()
    torch.testing.assert_close(answers(found), answers(live), rtol=1e-4, atol=1e-5)
    check(base, tmp_path / "out", tmp_path / "again", task, found)
    assert run([*command, str(tmp_path / "without"), "--rest", "refuse"]) == 4


@pytest.mark.parametrize("task", TASKS)
def test_a_classifier_is_extracted_from_an_earlier_one(task: str, tmp_path: Path) -> None:
    """Its head goes along whole: PEFT replaces it for these tasks, and loads no LoRA on it."""
    base = save(f"BertFor{TASKS[task].__name__[len('AutoModelFor') :]}", BERT, tmp_path / "base")
    live = train(base, tmp_path / "a", task, "query", labels=2).merge_and_unload()
    live.save_pretrained(tmp_path / "tuned")
    command = ["extract", str(tmp_path / "tuned"), "--base", str(base), "--rank", "4", "-o", str(tmp_path / "out")]
    assert run(command) == 0
    found = peft.PeftModel.from_pretrained(TASKS[task].from_pretrained(base), tmp_path / "out").eval()
    torch.testing.assert_close(answers(found), answers(live), rtol=1e-4, atol=1e-5)


def test_a_classifier_is_no_task_vector_of_the_model_that_it_was_made_of(tmp_path: Path) -> None:
    base = save("LlamaForCausalLM", LLAMA, tmp_path / "base")
    train(base, tmp_path / "a", "SEQ_CLS", "q_proj").merge_and_unload().save_pretrained(tmp_path / "tuned")
    assert run(["fuse", str(base), "--tuned", str(tmp_path / "tuned"), "-o", str(tmp_path / "out")]) == 4
