"""Vocabularies of another size than the base's: PEFT resizes the base, trains, and saves what fuse has to put in place."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import peft
import pytest
import torch
from resized_models import MODELS, MORE, WORDS, logits, make, trained
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from turns import in_turn

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


def fused(name: str, base: Path, adapter: Path, out: Path, words: int = MORE) -> torch.Tensor:
    """The logits of what fuse makes, which verify has confirmed."""
    assert run(["fuse", str(base), str(adapter), "-o", str(out)]) == 0
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(adapter), "--logits"]) == 0
    return logits(type(MODELS[name].model(True)).from_pretrained(out).eval(), words)


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_that_were_resized_take_the_place_of_the_bases(name: str, tmp_path: Path) -> None:
    base = make(name, tmp_path / "base")
    live = trained(name, base, tmp_path / "a")
    found = fused(name, base, tmp_path / "a", tmp_path / "out")
    torch.testing.assert_close(found, logits(live), rtol=1e-5, atol=1e-5)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config.get("text_config", config)["vocab_size"] == MORE
    assert config["tie_word_embeddings"] == MODELS[name].tied


@pytest.mark.parametrize("name", ["bart", "bart, tied", "marian, tied"])
def test_a_bias_of_all_logits_loses_words_that_are_cut(name: str, tmp_path: Path) -> None:
    base = make(name, tmp_path / "base")
    live = trained(name, base, tmp_path / "a", words=90)
    found = fused(name, base, tmp_path / "a", tmp_path / "out", 90)
    torch.testing.assert_close(found, logits(live, 90), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "ends"),
    in_turn(
        [name for name in MODELS if name.startswith(("llama", "gpt2", "llava", "whisper"))],
        [("takes",), ("gives",), ("takes", "gives")],
    ),
)
def test_trained_ends_of_a_resized_vocabulary(name: str, ends: tuple[str, ...], tmp_path: Path) -> None:
    """PEFT has each of them under several names then, also as it was before it was trained."""
    base = make(name, tmp_path / "base")
    saved = [getattr(MODELS[name], end) for end in ends]
    live = trained(name, base, tmp_path / "a", modules_to_save=saved)
    found = fused(name, base, tmp_path / "a", tmp_path / "out")
    torch.testing.assert_close(found, logits(live), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "llama, tied", "gpt2", "llava"])
def test_updates_of_a_resized_vocabulary_are_merged_by_the_names_of_the_base(name: str, tmp_path: Path) -> None:
    """The base has fewer words than the updates of its ends, and the adapter has the weights that they are added to."""
    base, ends = make(name, tmp_path / "base"), [MODELS[name].takes, MODELS[name].gives]
    live = trained(name, base, tmp_path / "a", target=ends)
    halves = ["--linear", "-w", "0.5", "-w", "0.5", "--base", str(base)]
    assert run(["merge", str(tmp_path / "a"), str(tmp_path / "a"), *halves, "-o", str(tmp_path / "mean")]) == 0
    found = fused(name, base, tmp_path / "mean", tmp_path / "out")
    torch.testing.assert_close(found, logits(live), rtol=1e-5, atol=1e-5)


def test_ends_that_peft_keeps_tied(tmp_path: Path) -> None:
    base = make("llama, tied", tmp_path / "base")
    tied = {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}
    live = trained("llama, tied", base, tmp_path / "a", **tied)
    found = fused("llama, tied", base, tmp_path / "a", tmp_path / "out")
    torch.testing.assert_close(found, logits(live), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llava", "llava, tied"])
def test_new_rows_of_one_end_that_nobody_saved_are_missed(name: str, tmp_path: Path, capsys: Capture) -> None:
    base = make(name, tmp_path / "base")
    trained(name, base, tmp_path / "a", save=False, modules_to_save=["embed_tokens"])
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    shown = capsys.readouterr().err
    assert "lm_head.weight: has 96 rows in the base and is not in the adapter, whose vocabulary has 101" in shown
    assert "save_embedding_layers=True" in shown


@pytest.mark.parametrize("name", ["bert, tied", "roberta, tied"])
def test_one_end_of_a_masked_model_with_its_bias(name: str, tmp_path: Path) -> None:
    base = make(name, tmp_path / "base")
    live = trained(name, base, tmp_path / "a", modules_to_save=[MODELS[name].takes])
    found = fused(name, base, tmp_path / "a", tmp_path / "out")
    torch.testing.assert_close(found, logits(live), rtol=1e-5, atol=1e-5)


def test_one_end_of_a_model_that_cannot_have_two(tmp_path: Path, capsys: Capture) -> None:
    base = make("t5, tied", tmp_path / "base")
    trained("t5, tied", base, tmp_path / "a", modules_to_save=[MODELS["t5, tied"].takes])
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    assert "is tied to other tensors of the base" in capsys.readouterr().err


def test_unfusing_a_resized_vocabulary_is_refused(tmp_path: Path, capsys: Capture) -> None:
    base = make("llama", tmp_path / "base")
    trained("llama", base, tmp_path / "a")
    assert run(["unfuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    assert "use the base itself" in capsys.readouterr().err


def tokenizer(folder: Path, *words: str) -> Path:
    """A tokenizer that transformers saves."""
    vocabulary = {word: place for place, word in enumerate(("a", "b", *words))}
    found = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="a")))
    found.save_pretrained(folder)
    return folder


def test_the_tokenizer_next_to_an_adapter_goes_along(tmp_path: Path) -> None:
    base = tokenizer(make("llama", tmp_path / "base"))
    trained("llama", base, tmp_path / "a")
    tokenizer(tmp_path / "a", "new")
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 0
    assert "new" in AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
    manifest = json.loads((tmp_path / "out/adapterops.json").read_text())
    assert "tokenizer.json" in manifest["outputs"]
    assert "tokenizer.json" in manifest["inputs"][1]["files"]
    assert run(["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(tmp_path / "a")]) == 0
    (tmp_path / "out/tokenizer.json").write_text("{}")
    assert run(["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(tmp_path / "a")]) == 8


@pytest.mark.parametrize(("name", "words"), [each for each in in_turn(MODELS, (WORDS, MORE)) if each != ("bart", MORE)])
def test_a_change_of_embeddings_is_extracted_so_that_peft_and_fuse_take_it(
    name: str, words: int, tmp_path: Path
) -> None:
    base = make(name, tmp_path / "base")
    tuned = type(MODELS[name].model(True)).from_pretrained(base).eval()
    if words != WORDS:
        tuned.resize_token_embeddings(words)
    embedding = tuned.get_input_embeddings().weight
    with torch.no_grad():
        embedding.add_(0.1 * torch.randn_like(embedding))
        for key, each in tuned.named_parameters():
            if key.endswith(("q_proj.weight", "c_attn.weight", "query.weight", "Wqkv.weight", ".q.weight")):
                each.add_(torch.randn(each.shape[0], 2) @ torch.randn(2, each.shape[1]) / 10)
    tuned.save_pretrained(tmp_path / "tuned")
    assert run(["extract", str(tmp_path / "tuned"), "--base", str(base), "--rank", "2", "-o", str(tmp_path / "a")]) == 0
    found = fused(name, base, tmp_path / "a", tmp_path / "out", words)
    torch.testing.assert_close(found, logits(tuned, words), rtol=1e-4, atol=1e-5)
    again = type(tuned).from_pretrained(base)
    if words != WORDS:
        again.resize_token_embeddings(words)
    loaded = peft.PeftModel.from_pretrained(again, tmp_path / "a").eval()
    torch.testing.assert_close(logits(loaded, words), logits(tuned, words), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("saved", [["embed_tokens"], ["embed_tokens", "lm_head"]], ids="+".join)
@pytest.mark.parametrize("name", ["bart", "bart, tied", "marian, tied"])
def test_embeddings_of_encoder_and_decoder_in_the_place_of_the_shared_one(
    name: str, saved: list[str], tmp_path: Path
) -> None:
    """Nothing reads what they shared then, and it has as many words."""
    base = make(name, tmp_path / "base")
    live = trained(name, base, tmp_path / "a", modules_to_save=saved)
    found = fused(name, base, tmp_path / "a", tmp_path / "out")
    torch.testing.assert_close(found, logits(live), rtol=1e-5, atol=1e-5)


def test_new_words_of_the_shared_embedding_alone_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PEFT trains a copy that nothing reads, and saves none of those that encoder and decoder have."""
    base = make("bart, tied", tmp_path / "base")
    trained("bart, tied", base, tmp_path / "a", modules_to_save=["shared", "lm_head"])
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    assert "train again with this module in modules_to_save" in capsys.readouterr().err


def test_a_resized_model_whose_files_lack_embeddings_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """resize_token_embeddings makes one of three, and transformers saves it once though the config ties nothing."""
    base = make("bart", tmp_path / "base")
    tuned = type(MODELS["bart"].model(True)).from_pretrained(base).eval()
    tuned.resize_token_embeddings(MORE)
    with torch.no_grad():
        for key, each in tuned.named_parameters():
            if key.endswith("q_proj.weight"):
                each.add_(torch.randn(each.shape[0], 2) @ torch.randn(2, each.shape[1]) / 10)
    tuned.save_pretrained(tmp_path / "tuned")
    extract = ["extract", str(tmp_path / "tuned"), "--base", str(base), "--rank", "2"]
    assert run([*extract, "-o", str(tmp_path / "a")]) == 4
    assert "loads such a model with random numbers there" in capsys.readouterr().err
    for part in (tuned.model.encoder, tuned.model.decoder):
        part.embed_tokens = copy.deepcopy(tuned.model.shared)
    tuned.save_pretrained(tmp_path / "tuned")
    assert run([*extract, "-o", str(tmp_path / "a")]) == 0
    torch.testing.assert_close(
        fused("bart", base, tmp_path / "a", tmp_path / "out"), logits(tuned), rtol=1e-4, atol=1e-5
    )


def test_a_resized_vocabulary_of_two_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Marian may have one for each language."""
    base = make("marian, tied", tmp_path / "base")
    trained("marian, tied", base, tmp_path / "a")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "share_encoder_decoder_embeddings": False}))
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    assert "encoder and decoder of the base have one each" in capsys.readouterr().err


def test_names_of_a_base_are_taken_of_what_cannot_be_fused_into_it(tmp_path: Path) -> None:
    """A full tensor of one end of tied embeddings: nothing is fused where an adapter is cut."""
    base = make("llama, tied", tmp_path / "base")
    trained("llama, tied", base, tmp_path / "a", words=WORDS, save=False, target=["q_proj"])
    file = tmp_path / "a/adapter_model.safetensors"
    end = torch.ones(WORDS, load_file(base / "model.safetensors")["model.embed_tokens.weight"].shape[1])
    save_file({**load_file(file), "base_model.model.lm_head.weight": end}, file, {"format": "pt"})
    assert run(["truncate", str(tmp_path / "a"), "--rank", "1", "--base", str(base), "-o", str(tmp_path / "out")]) == 0
    written = load_file(tmp_path / "out/adapter_model.safetensors")
    assert [each.shape for name, each in written.items() if "lora_" not in name] == [end.shape]
