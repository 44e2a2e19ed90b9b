"""RegMean from files, against its formula on what PEFT's own adapters take in and change."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from quantized_models import deltas, write_lora, write_model
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from adapterops.cli.main import run
from adapterops.methods.families.regmean import RIDGE

WORDS = [f"w{index}" for index in range(48)]
LINES = {
    name: [" ".join(WORDS[(step * line + 3 * place) % 48] for place in range(3 + line % 5)) for line in range(30)]
    for name, step in (("one", 7), ("two", 11))
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("regmean")
    write_model(place / "base", "llama")
    words = {word: index for index, word in enumerate(["<s>", "</s>", *WORDS])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="</s>").save_pretrained(place / "base")
    for seed, (name, lines) in enumerate(LINES.items()):
        write_lora(place / name, place / "base", "llama", seed=seed)
        (place / f"{name}.txt").write_text("\n".join(lines))
        typed("gram", place / "base", place / f"{name}.txt", "--adapter", place / name, "-o", grams(place, name))
    return place


def typed(*arguments: Path | str, code: int = 0) -> None:
    assert run([str(argument) for argument in arguments]) == code


def grams(place: Path, name: str) -> Path:
    return place / f"{name}.grams.safetensors"


def seen(place: Path, name: str) -> dict[str, np.ndarray]:
    """Module → the mean of x xᵀ with the adapter at work, text by text, by hooks of torch."""
    network = AutoModelForCausalLM.from_pretrained(place / "base", dtype=torch.float32).eval()
    network = peft.PeftModel.from_pretrained(network, place / name).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(place / "base")
    rows: dict[str, list[torch.Tensor]] = {}
    for key, layer in network.get_base_model().named_modules():
        if hasattr(layer, "lora_A"):
            layer.register_forward_pre_hook(lambda _, x, key=key: rows.setdefault(key, []).append(x[0][0].double()))
    with torch.no_grad():
        for line in LINES[name]:
            network(input_ids=tokenizer(line, return_tensors="pt")["input_ids"])
    joined = {key: torch.cat(each) for key, each in rows.items()}
    return {key: (x.T @ x / len(x)).numpy() for key, x in joined.items()}


def test_it_is_the_formula_on_peft_s_own_adapters(place: Path, tmp_path: Path) -> None:
    files = [each for name in LINES for each in ("--grams", grams(place, name))]
    out = tmp_path / "merged"
    typed(
        "merge", place / "one", place / "two", "--regmean", "--shrink", "0.9", *files, "--dtype", "float32", "-o", out
    )
    counts = [seen(place, name) for name in LINES]
    inputs, found = [deltas(place / name) for name in LINES], deltas(out)
    assert set(found) == set(inputs[0])
    for module, delta in found.items():
        kinds = []
        for each in counts:
            gram = each[module.removeprefix("base_model.model.").removesuffix(".weight")]
            diagonal = np.diag(np.diag(gram))
            kinds.append(0.9 * gram + 0.1 * diagonal + RIDGE * diagonal.trace() / len(gram) * np.eye(len(gram)))
        expected = sum(each[module].numpy() @ kind for each, kind in zip(inputs, kinds, strict=True))
        expected = expected @ np.linalg.inv(sum(kinds))
        assert np.linalg.norm(delta.numpy() - expected) < 0.02 * np.linalg.norm(expected)
        mean = sum(each[module].numpy() for each in inputs) / 2
        assert np.linalg.norm(mean - expected) > 0.05 * np.linalg.norm(expected)
    made = json.loads((out / "adapterops.json").read_text())
    assert [each["path"] for each in made["inputs"]] == [
        "one",
        "two",
        grams(place, "one").name,
        grams(place, "two").name,
    ]
    assert made["request"]["inputs"]["a"]["grams"]["path"].endswith("one.grams.safetensors")


def test_a_recipe_names_them_and_makes_the_same_bytes(place: Path, tmp_path: Path) -> None:
    files = [each for name in LINES for each in ("--grams", grams(place, name))]
    typed("merge", place / "one", place / "two", "--regmean", *files, "-o", tmp_path / "merged")
    inputs = {
        x: {"path": str(place / name), "grams": str(grams(place, name))} for x, name in zip("ab", LINES, strict=True)
    }
    recipe = {"adapterops": 1, "inputs": inputs, "result": "regmean(a, b)"}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    typed("run", tmp_path / "recipe.json", "-o", tmp_path / "again")
    typed("run", tmp_path / "again/recipe.yaml", "-o", tmp_path / "third")
    one, *others = (
        (tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("merged", "again", "third")
    )
    assert all(other == one for other in others)
    typed("run", tmp_path / "recipe.json", "-o", tmp_path / "not", "--dry-run")


def test_what_does_not_fit_is_said(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both, one = (place / "one", place / "two"), ("--grams", grams(place, "one"))
    for arguments, code, said in (
        (("--regmean",), 2, "--grams FILE --grams FILE"),
        (("--regmean", *one), 2, "1 file of Gram matrices for 2 adapters"),
        (("--linear", *one, *one), 2, "asks for them"),
        (("--regmean", *one, "--grams", place / "base"), 4, "has no Gram matrix there"),
        (("--regmean", *one, "--grams", place / "nothing"), 5, "nothing"),
        (("--regmean", *one, "--grams", place / "two"), 3, "is an adapter, where a file of Gram matrices is expected"),
    ):
        capsys.readouterr()
        typed("merge", *both, *arguments, "-o", tmp_path / "out", code=code)
        assert said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_a_model_is_fused_with_what_the_merge_has(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """W + the formula's update, as a file of the merge in float32 says; and `verify` makes it anew."""
    adapters, files = (place / "one", place / "two"), [each for x in LINES for each in ("--grams", grams(place, x))]
    typed("merge", *adapters, "--regmean", *files, "--dtype", "float32", "-o", tmp_path / "merged")
    typed("fuse", place / "base", *adapters, "--regmean", *files, "--dtype", "float32", "-o", tmp_path / "fused")
    plain, fused = (load_file(folder / "model.safetensors") for folder in (place / "base", tmp_path / "fused"))
    for module, delta in deltas(tmp_path / "merged").items():
        key = f"{module.removeprefix('base_model.model.').removesuffix('.weight')}.weight"
        torch.testing.assert_close(fused[key], plain[key].float() + delta.float(), atol=1e-6, rtol=0)
    named = ("--base", place / "base", "--adapter", place / "one", "--adapter", place / "two")
    moved = ("--base", place / "base", "--adapter", f"a={adapters[0]}", "--adapter", f"b={adapters[1]}")
    typed("verify", tmp_path / "fused", *moved, *files)
    capsys.readouterr()
    typed("verify", tmp_path / "fused", *moved, code=2)
    assert "name its place: --grams FILE for each adapter, in their order" in capsys.readouterr().err
    (tmp_path / "fused/adapterops.json").unlink()
    typed("verify", tmp_path / "fused", *named, "--regmean", *files, "--dtype", "float32")
    typed("verify", tmp_path / "fused", *named, "--regmean", *files[2:], *files[:2], "--dtype", "float32", code=4)
    typed("unfuse", tmp_path / "fused", *adapters, "--regmean", *files, "-o", tmp_path / "back")
    back = load_file(tmp_path / "back/model.safetensors")
    for key, tensor in plain.items():
        torch.testing.assert_close(back[key], tensor.float(), atol=1e-6, rtol=0)
    for given, said in (
        ((), "--grams FILE --grams FILE"),
        (files[:2], "1 file of Gram matrices for 2 adapters"),
        ((*files, *files[:2]), "3 files of Gram matrices for 2 adapters"),
    ):
        capsys.readouterr()
        typed("fuse", place / "base", *adapters, "--regmean", *given, "-o", tmp_path / "out", code=2)
        assert said in capsys.readouterr().err
    typed("fuse", place / "base", *adapters, *files, "-o", tmp_path / "out", code=2)
    assert "--regmean and one --grams FILE for each" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_last_file_is_that_of_calibrated_rounding(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files before it are those of the adapters, in their order; one file may be given for both."""
    typed("quantize", place / "base", "--to", "nf4", "-o", tmp_path / "nf4")
    one, two = (("--grams", grams(place, name)) for name in LINES)
    how = ("--rounding", "calibrated", "--accept-loss")
    adapters = (place / "one", place / "two")
    typed("fuse", tmp_path / "nf4", *adapters, "--regmean", *one, *two, *two, *how, "-o", tmp_path / "fused")
    assert "count as two" not in capsys.readouterr().err
    request = json.loads((tmp_path / "fused/adapterops.json").read_text())["request"]
    noted = [each["grams"]["path"] for each in (*request["inputs"].values(), request)]
    assert [Path(each).name for each in noted] == [grams(place, name).name for name in ("one", "two", "two")]
    there = ("--base", tmp_path / "nf4", "--adapter", f"a={adapters[0]}", "--adapter", f"b={adapters[1]}")
    typed("verify", tmp_path / "fused", *there, *one, *two, *two)
