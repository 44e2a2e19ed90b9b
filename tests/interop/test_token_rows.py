"""Rows of embeddings that PEFT trains by themselves (trainable_token_indices), of tied ends and of a resized vocabulary."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from resized_models import MODELS, MORE, WORDS, logits, make, trained
from safetensors.torch import load_file, save_file
from turns import in_turn

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]
CAUSAL = [name for name in MODELS if name.startswith(("llama", "gpt2", "llava"))]


def indices(name: str, kind: str, last: int) -> Any:
    takes, gives = MODELS[name].takes, MODELS[name].gives
    return {
        "rows": [3, 70, last],
        "of the input": {takes: [70, last, 3]},
        "of both": {takes: [3, last], gives: [5]},
        "the same of both": {takes: [3, last], gives: [3, last]},
    }[kind]


def fused(name: str, base: Path, adapter: Path, out: Path, words: int) -> torch.Tensor:
    assert run(["fuse", str(base), str(adapter), "-o", str(out)]) == 0
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(adapter)]) == 0
    return logits(type(MODELS[name].model(True)).from_pretrained(out).eval(), words)


@pytest.mark.parametrize(
    ("name", "words", "kind"),
    in_turn(CAUSAL, [WORDS, MORE], ["rows", "of the input", "of both", "the same of both"], times=3),
)
def test_rows_take_the_place_of_the_bases(name: str, kind: str, words: int, tmp_path: Path) -> None:
    base = make(name, tmp_path / "base")
    rows = indices(name, kind, words - 1)
    live = trained(name, base, tmp_path / "a", words=words, save="auto", trainable_token_indices=rows)
    if words != WORDS and name.startswith("llava"):  # of which PEFT does not see that the vocabulary changed
        trained(name, base, tmp_path / "a", words=words, trainable_token_indices=rows)
    found = fused(name, base, tmp_path / "a", tmp_path / "out", words)
    torch.testing.assert_close(found, logits(live, words), rtol=1e-5, atol=1e-5)
    tied = json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"]
    assert tied == (MODELS[name].tied and kind != "of both")


@pytest.mark.parametrize("words", [WORDS, MORE])
@pytest.mark.parametrize("name", ["bert, tied", "roberta, tied", "t5, tied"])
def test_rows_of_an_embedding_that_several_share(name: str, words: int, tmp_path: Path) -> None:
    """As PEFT merges them: its own layers leave out the bias of an output embedding."""
    base = make(name, tmp_path / "base")
    rows = indices(name, "of the input", words - 1)
    live = trained(name, base, tmp_path / "a", words=words, save="auto", trainable_token_indices=rows)
    found = fused(name, base, tmp_path / "a", tmp_path / "out", words)
    torch.testing.assert_close(found, logits(live.merge_and_unload().eval(), words), rtol=1e-5, atol=1e-5)


def only_rows(name: str, base: Path, folder: Path) -> Any:
    """PEFT's adapter of nothing but rows, saved; and the model."""
    torch.manual_seed(2)
    live = peft.get_peft_model(
        type(MODELS[name].model(True)).from_pretrained(base),
        peft.TrainableTokensConfig(token_indices=[70, 95, 3], target_modules=[MODELS[name].takes]),
    )
    with torch.no_grad():
        for parameter in live.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    live.save_pretrained(folder)
    return live.eval()


@pytest.mark.parametrize(
    "name",
    ["llama", "llama, tied", "gpt2, tied", "openai-gpt, tied", "bert, tied", "modernbert, tied", "t5, tied"],
)
def test_an_adapter_of_rows_alone(name: str, tmp_path: Path, capsys: Capture) -> None:
    base, adapter = make(name, tmp_path / "base"), tmp_path / "a"
    live = only_rows(name, base, adapter)
    found = fused(name, base, adapter, tmp_path / "out", WORDS)
    torch.testing.assert_close(found, logits(live.merge_and_unload().eval(), WORDS), rtol=1e-5, atol=1e-5)
    capsys.readouterr()
    assert run(["show", str(adapter)]) == 0
    assert "(rows of some tokens)" in capsys.readouterr().out
    for command in (["truncate", str(adapter), "--rank", "1"], ["merge", str(adapter), str(adapter)]):
        assert run([*command, "-o", str(tmp_path / "no")]) in (2, 4)
        assert "fuse it into its base: adapterops fuse" in capsys.readouterr().err
    assert run(["compare", str(adapter), str(adapter)]) == 0
    assert "never trained" not in capsys.readouterr().out


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("name", ["llama", "llama, tied"])
def test_rows_in_a_model_that_was_saved_unmerged(name: str, alone: bool, tmp_path: Path, capsys: Capture) -> None:
    base, whole, parts = make(name, tmp_path / "base"), tmp_path / "whole", tmp_path / "parts"
    live = (
        only_rows(name, base, whole)
        if alone
        else trained(name, base, whole, words=WORDS, trainable_token_indices=[3, 70])
    )
    (whole / "adapter_model.safetensors").unlink()
    stored = {key: tensor.clone() for key, tensor in live.state_dict().items()}
    save_file(stored, whole / "model.safetensors", {"format": "pt"})
    (whole / "config.json").write_text((base / "config.json").read_text())
    assert run(["split", str(whole), "-o", str(parts)]) == 0
    again = peft.PeftModel.from_pretrained(
        type(MODELS[name].model(True)).from_pretrained(parts / "base"), parts / "adapter"
    )
    torch.testing.assert_close(logits(again.eval(), WORDS), logits(live, WORDS))
    (whole / "adapter_config.json").unlink()
    capsys.readouterr()
    assert run(["split", str(whole), "--alpha", "8", "-o", str(tmp_path / "no")]) == 4
    assert "only the config says which rows" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["llama", "llama, tied"])
def test_rows_are_kept_in_what_is_made_of_the_adapter(name: str, tmp_path: Path) -> None:
    base = make(name, tmp_path / "base")
    live = trained(name, base, tmp_path / "a", words=WORDS, save="auto", trainable_token_indices=[3, 95])
    for more in ([], ["--base", str(base)]):
        out = tmp_path / "out"
        assert run(["merge", str(tmp_path / "a"), *more, "-o", str(out), "--force"]) == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = peft.PeftModel.from_pretrained(type(MODELS[name].model(True)).from_pretrained(base), out)
        torch.testing.assert_close(logits(loaded.eval(), WORDS), logits(live, WORDS), rtol=1e-5, atol=1e-5)


def test_rows_and_an_update_of_one_embedding(tmp_path: Path, capsys: Capture) -> None:
    base = make("llama", tmp_path / "base")
    both = {"target": ["lm_head"], "trainable_token_indices": {"embed_tokens": [3]}}
    live = trained("llama", base, tmp_path / "a", words=WORDS, save=False, **both)
    found = fused("llama", base, tmp_path / "a", tmp_path / "out", WORDS)
    torch.testing.assert_close(found, logits(live, WORDS), rtol=1e-5, atol=1e-5)
    tied = make("llama, tied", tmp_path / "tied")
    capsys.readouterr()
    assert run(["fuse", str(tied), str(tmp_path / "a"), "-o", str(tmp_path / "other")]) == 4
    assert "has rows that are replaced, and lm_head an update" in capsys.readouterr().err


def change(adapter: Path, indices: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "trainable_token_indices": indices}))


@pytest.mark.parametrize(
    ("indices", "code", "told"),
    [
        ([3, 96], 4, "has rows [2, 32] of which the last is 96, and the base has [96, 32] there"),
        ([3], 3, "has the shape [2, 32], and trainable_token_indices names 1 rows"),
        ([3, 3], 3, "each once"),
        ([3, -1], 3, "trainable_token_indices is [3, -1]"),
        ({"wte": [3, 4]}, 3, 'trainable_token_indices is {"wte": [3, 4]}'),
        (None, 3, "trainable_token_indices is null"),
        ({"embed_tokens": [3, 4], "lm_head": [5]}, 3, "trainable_token_indices names rows of lm_head"),
    ],
    ids=str,
)
def test_rows_that_do_not_fit(indices: Any, code: int, told: str, tmp_path: Path, capsys: Capture) -> None:
    base = make("llama", tmp_path / "base")
    trained("llama", base, tmp_path / "a", words=WORDS, save=False, trainable_token_indices=[3, 95])
    change(tmp_path / "a", indices)
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == code
    assert told in capsys.readouterr().err


def test_rows_that_are_not_finite(tmp_path: Path, capsys: Capture) -> None:
    base = make("llama", tmp_path / "base")
    trained("llama", base, tmp_path / "a", words=WORDS, save=False, trainable_token_indices=[3, 95])
    path = tmp_path / "a/adapter_model.safetensors"
    stored = load_file(path)
    next(each for name, each in stored.items() if "trainable_tokens" in name)[0, 0] = torch.nan
    save_file(stored, path, {"format": "pt"})
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 3
    assert "has numbers that are NaN or infinite" in capsys.readouterr().err


def test_rows_cannot_be_taken_away_again(tmp_path: Path, capsys: Capture) -> None:
    base = make("llama", tmp_path / "base")
    trained("llama", base, tmp_path / "a", words=WORDS, save=False, trainable_token_indices=[3, 95])
    assert run(["unfuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    assert "replaced the base's" in capsys.readouterr().err


def test_rows_that_the_file_lacks(tmp_path: Path, capsys: Capture) -> None:
    base = make("llama", tmp_path / "base")
    trained("llama", base, tmp_path / "a", words=WORDS, save=False)
    change(tmp_path / "a", [3, 4])
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 3
    assert "names rows of the input embedding, and no tensor holds them" in capsys.readouterr().err
