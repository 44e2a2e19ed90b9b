"""`calc` and `run` on adapters that PEFT saved:
what they compute, what they refuse, and that the same bytes come again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import config, digest, factors, tree, write_adapter
from peft_models import CONFIGS, base, deltas, load, make
from safetensors.torch import save_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.provenance.manifest import described
from adapterops.storage.checksums import file_digests
from adapterops.storage.strict_yaml import parse_yaml

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters of three kinds, and their base."""
    place = tmp_path_factory.mktemp("trained")
    for name in ("plain", "rslora", "all"):
        make(place / name, list(CONFIGS).index(name), **CONFIGS[name])
    base().save_pretrained(place / "base")
    return place


@pytest.fixture
def place(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def done(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def failed(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """What a command says that must fail, and leave nothing behind."""
    before = sorted(path.name for path in Path().iterdir())
    capsys.readouterr()
    assert run(list(arguments)) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert not shown.out
    assert sorted(path.name for path in Path().iterdir()) == before
    return shown.err


def write(name: str, text: str) -> str:
    Path(name).write_text(textwrap.dedent(text))
    return name


RECIPE = """\
    adapterops: 1
    inputs:
      a: plain
      b: {path: rslora}
      c: ./all
    result: >-
      0.7*a - ties(b, c, density=0.5)
      + scale(select(c, "*.mlp.*"), {"layers.0": 0.3, "*": 1})
    output: {path: out, rank: 6, dtype: bfloat16}
"""


def test_calc_is_arithmetic_on_what_peft_adds(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = done(capsys, "calc", "0.7*a - 0.3*(b + c)/2", "a=plain", "b=rslora", "c=all", "-o", "out")
    assert "100% (exact)" in shown
    a, b, c, out = (deltas(load(place / name)) for name in ("plain", "rslora", "all", "out"))
    zero = torch.zeros(())
    for module, delta in out.items():
        expected = 0.7 * a.get(module, zero) - 0.15 * (b.get(module, zero) + c.get(module, zero))
        torch.testing.assert_close(delta, expected, atol=1e-6, rtol=1e-4)
    assert set(out) == {*a, *b, *c}


def test_a_weighted_sum_is_that_of_merge(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done(capsys, "calc", "0.7*a - 0.3*b", "a=plain", "b=rslora", "-o", "calculated")
    done(capsys, "merge", "plain", "rslora", "-w", "0.7", "-w", "-0.3", "-o", "merged")
    done(
        capsys,
        "calc",
        "ties(a, b, density=0.3)",
        "a=plain",
        "b=rslora",
        "-o",
        "calculated-ties",
        "--rank",
        "5",
        "--dtype",
        "bf16",
    )
    done(
        capsys,
        "merge",
        "plain",
        "rslora",
        "--ties",
        "--density",
        "0.3",
        "-o",
        "merged-ties",
        "--rank",
        "5",
        "--dtype",
        "bf16",
    )
    for suffix in ("", "-ties"):
        assert digest(Path(f"calculated{suffix}/{WEIGHTS}")) == digest(Path(f"merged{suffix}/{WEIGHTS}"))


def test_a_recipe_computes_what_the_library_does(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "rank 6" in done(capsys, "run", write("recipe.yaml", RECIPE))
    a, b, c = (ao.open_adapter(name) for name in ("plain", "rslora", "all"))
    expected = (
        0.7 * a - ao.merge([b, c], "ties", density=0.5) + ao.scale(ao.select(c, "*.mlp.*"), {"layers.0": 0.3, "*": 1})
    )
    ao.save_adapter(ao.truncate(expected, 6), "library", dtype="BF16")
    assert digest(Path("out") / WEIGHTS) == digest(Path("library") / WEIGHTS)
    assert load(place / "out")


def test_a_stored_recipe_makes_the_same_bytes_again(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done(capsys, "run", write("recipe.yaml", RECIPE))
    done(capsys, "run", "out/recipe.yaml", "-o", "again")
    assert tree(place / "again") == tree(place / "out")
    moved = shutil.copytree(place, place.parent / "far" / "moved")
    monkeypatch.chdir("/")
    done(capsys, "run", str(moved / "out/recipe.yaml"), "-o", str(moved / "again2"), "--workers", "1")
    assert tree(moved / "again2") == tree(place / "out")
    elsewhere = place.parent / "elsewhere" / "deeper"
    elsewhere.mkdir(parents=True)
    ao.run_recipe(place / "out/recipe.yaml", elsewhere / "out")
    names = {WEIGHTS, "adapter_config.json"}
    assert {name: digest(elsewhere / "out" / name) for name in names} == {
        name: digest(place / "out" / name) for name in names
    }
    done(capsys, "run", str(elsewhere / "out/recipe.yaml"), "-o", str(elsewhere / "again"))
    assert tree(elsewhere / "again") == tree(elsewhere / "out")


def test_calc_stores_a_recipe_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done(
        capsys,
        "calc",
        "a + dare_ties(a, b, seed=7)",
        "a=plain",
        f"b={place / 'rslora'}",
        "--budget",
        "20k",
        "--exact",
        "-o",
        "out",
    )
    done(capsys, "run", "out/recipe.yaml", "-o", "again")
    assert tree(place / "again") == tree(place / "out")


def test_what_is_stored(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done(capsys, "run", write("recipe.yaml", RECIPE))
    stored, _ = parse_yaml(Path("out/recipe.yaml").read_bytes())
    assert stored["inputs"]["a"] == {
        "path": "../plain",
        "blake3": {name: described(Path("plain") / name)["blake3"] for name in (WEIGHTS, "adapter_config.json")},
        "allow_nonfinite": False,
    }
    assert (
        'ties(b, c, weights=[1.0, 1.0], scale="auto", space="delta", density=0.5, majority="total")' in stored["result"]
    )
    assert stored["output"] == {"dtype": "BF16", "adapter": False, "rank": 6, "exact": False, "normalize": False}
    manifest = json.loads(Path("out/adapterops.json").read_text())
    assert manifest["outputs"]["recipe.yaml"] == described(Path("out/recipe.yaml"))
    assert manifest["command"] == ["adapterops", "run", "recipe.yaml"]
    assert str(place) not in Path("out/adapterops.json").read_text() + Path("out/recipe.yaml").read_text()
    assert '"*.mlp.*"' in json.dumps(manifest["operation"])


def test_the_same_recipe_in_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields, _ = parse_yaml(textwrap.dedent(RECIPE).encode())
    Path("recipe.json").write_text(json.dumps(fields, indent="\t"))
    done(capsys, "run", write("recipe.yaml", RECIPE))
    done(capsys, "run", "recipe.json", "-o", "json")
    assert tree(place / "json") == tree(place / "out")
    Path("twice.json").write_text('{"adapterops": 1, "adapterops": 1}')
    assert "appears twice" in failed(capsys, 2, "run", "twice.json")


def test_a_result_is_fused_into_a_base(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "adapterops: 1\ninputs: {a: plain, b: all}\nresult: 0.5*a - b\nbase: base\noutput: {path: model}\n"
    assert "modules changed" in done(capsys, "run", write("recipe.yaml", text))
    done(capsys, "calc", "0.5*a - b", "a=plain", "b=all", "-o", "sum")
    assert "verified" in done(capsys, "verify", "model", "--base", "base", "--adapter", "sum")
    done(capsys, "fuse", "base", "plain", "all", "-w", "0.5", "-w", "-1", "-o", "fused")
    assert digest(Path("model/model.safetensors")) == digest(Path("fused/model.safetensors"))
    done(capsys, "run", "model/recipe.yaml", "-o", "again")
    assert tree(place / "again") == tree(place / "model")
    done(capsys, "fuse", "model", "plain", "-o", "more")
    assert not Path("more/recipe.yaml").exists()


def test_a_fused_result_is_quantized(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "adapterops: 1\ninputs: {a: plain}\nresult: 20*a\nbase: base\nquantize: nf4\n"
    done(capsys, "run", write("recipe.yaml", text), "-o", "model")
    done(capsys, "calc", "20*a", "a=plain", "-o", "more")
    done(capsys, "fuse", "base", "more", "--quantize", "nf4", "-o", "fused")
    assert digest(Path("model/model.safetensors")) == digest(Path("fused/model.safetensors"))
    done(capsys, "run", "model/recipe.yaml", "-o", "again")
    assert tree(place / "again") == tree(place / "model")


def test_a_dry_run_writes_nothing_and_needs_no_torch(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("recipe.yaml", RECIPE)
    shown = done(capsys, "run", "recipe.yaml", "--dry-run")
    assert "would write out: 14 modules, rank 6" in shown
    assert "majority=" in shown
    assert json.loads(done(capsys, "run", "recipe.yaml", "--dry-run", "--json"))["dry_run"]
    assert not Path("out").exists()
    Path("out").mkdir()
    Path("out/file").touch()
    failed(capsys, 6, "run", "recipe.yaml", "--dry-run")


@pytest.mark.parametrize("algorithm", ["blake3", "sha256"])
def test_inputs_are_compared_with_their_hashes(place: Path, capsys: pytest.CaptureFixture[str], algorithm: str) -> None:
    right = file_digests(Path("plain") / WEIGHTS, algorithm)[algorithm]
    text = f"adapterops: 1\ninputs: {{a: {{path: plain, {algorithm}: '%s'}}}}\nresult: 2*a\noutput: {{path: out%d}}\n"
    done(capsys, "run", write("right.yaml", text % (right, 1)))
    said = failed(capsys, 3, "run", write("wrong.yaml", text % ("0" * 64, 2)))
    assert f"plain/{WEIGHTS}: is not the file that the recipe means: its {algorithm} is {right}" in said
    fields = json.loads(Path("plain/adapter_config.json").read_text())
    Path("plain/adapter_config.json").write_text(json.dumps({**fields, "lora_alpha": 5}))
    for dry in ([], ["--dry-run"]):
        assert "plain/adapter_config.json: is not the file" in failed(
            capsys, 3, "run", "out1/recipe.yaml", "-o", "again", *dry
        )
    missing = f"adapterops: 1\ninputs:\n  a: {{path: plain, {algorithm}: {{x.bin: '{right}'}}}}\nresult: a\n"
    assert "x.bin: is missing" in failed(capsys, 3, "run", write("missing.yaml", missing), "-o", "again")


def test_a_changed_base_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        f"adapterops: 1\ninputs: {{a: plain}}\nresult: a\nbase: {{path: base, sha256: {{config.json: '{'0' * 64}'}}}}\n"
    )
    assert "base/config.json" in failed(capsys, 3, "run", write("recipe.yaml", text), "-o", "out")


def test_files_without_a_scale_and_numbers_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tensors = factors()
    save_file(tensors, "bare.safetensors")
    done(capsys, "calc", "2*a", "a=bare.safetensors", "--alpha", "8", "-o", "out")
    done(capsys, "run", "out/recipe.yaml", "-o", "again")
    assert tree(Path("out")) == tree(Path("again"))
    failed(capsys, 3, "calc", "2*a", "a=bare.safetensors", "-o", "out2")
    next(iter(tensors.values()))[0, 0] = float("nan")
    write_adapter(tmp_path / "nan", tensors)
    failed(capsys, 3, "calc", "2*a", "a=nan", "-o", "out3")
    done(capsys, "calc", "2*a", "a=nan", "--allow-nonfinite", "-o", "out3")
    done(capsys, "run", "out3/recipe.yaml", "-o", "again3")
    assert tree(Path("out3")) == tree(Path("again3"))


def test_different_bases_are_combined_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_adapter(tmp_path / "a")
    write_adapter(tmp_path / "b", fields=config(2, base_model_name_or_path="other/base"))
    for text in ("a + b", "ties(a, b)"):
        assert "--allow-base-mismatch" in failed(capsys, 4, "calc", text, "a=a", "b=b", "-o", "out")
    done(capsys, "calc", "a + ties(a, b)", "a=a", "b=b", "--allow-base-mismatch", "-o", "out")
    done(capsys, "run", "out/recipe.yaml", "-o", "again")
    assert tree(Path("out")) == tree(Path("again"))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["0.7*a - 0.3*d", "a=plain", "b=all"], 2, "0.7*a - 0.3*d\n              ^\n  known: a, b"),
        (["a", "a"], 2, "'a' gives no name to an adapter"),
        (["a", "a="], 2, "'a=' gives no name to an adapter"),
        (["a", "a=plain", "a=all"], 2, "a is given twice"),
        (["a", "a=plain", "b=all"], 2, "b is given and not used"),
        (["a", "1=plain"], 2, "cannot be the name"),
        (["a"], 2, "NAME=SOURCE"),
        (["all - 2*b"], 2, "say where each is: adapterops calc 'all - 2*b' all=all b=PATH"),
        (["2*a", "a=nowhere"], 5, "nowhere: does not exist"),
        (["2*a", "a=plain", "--rank", "2", "--energy", "0.9"], 2, "exactly one"),
        (["2*a", "a=base"], 3, "has no adapter_model.safetensors"),
        (["2*a", "a=plain", "-o", "no/such/place"], 5, "create it first"),
        (["select(a, '*.mpl.*')", "a=all"], 2, "did you mean mlp?"),
        (["scale(a, {'layers.2-3': 2, '*': 1})", "a=all"], 2, "there are layers.0-1"),
        (["truncate(a, budget=1)", "a=all"], 2, "is too small for one dimension"),
        (["ties(a, b, space='factors')", "a=plain", "b=all"], 4, "ranks are"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_wrong_use_of_calc(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert said in failed(capsys, code, "calc", *arguments)


HEAD = "adapterops: 1\ninputs: {a: plain}\n"
GOOD = HEAD + "result: 2*a\n"

REFUSED: dict[str, tuple[str, str]] = {
    "an unknown key": (HEAD + "reslt: a\n", "line 3, column 1: reslt is unknown\n  did you mean result?"),
    "an unknown key below": (GOOD + "output:\n  path: out\n  rnk: 3\n", "line 6, column 3: output.rnk is unknown\n  did you mean rank?"),
    "an unknown key of an input": ("adapterops: 1\ninputs: {a: {pth: x}}\nresult: a\n", "inputs.a.pth is unknown"),
    "a duplicate key": (GOOD + "result: a\n", "line 4, column 1: the key 'result' appears twice"),
    "a duplicate input": ("adapterops: 1\ninputs:\n  a: plain\n  a: all\nresult: a\n", "line 4, column 3: the key 'a' appears twice"),
    "an alias": ("adapterops: 1\ninputs: {a: &x plain, b: *x}\nresult: a\n", "line 2, column 13: the anchor &x is not followed"),
    "an undefined alias": ("adapterops: 1\ninputs: {a: *x}\n", "line 2, column 13"),
    "billions of laughs": ("a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a, *a]\n" for i in range(50)), "line 1, column 4: the anchor &a"),
    "a merge key": (GOOD + "<<: {a: 1}\n", "line 4, column 1: <<"),
    "a tag": (GOOD + "base: !!python/object/apply:os.system [echo]\n", "line 4, column 7: the tag"),
    "a short tag": (GOOD + "base: !x y\n", "line 4, column 7: the tag '!x'"),
    "a key that moves the cursor": (GOOD + '"\\e[2J": 1\n', "line 4, column 1: '\\x1b[2J' is unknown"),
    "a key without end": (GOOD + '"' + "x" * 1000 + '": 1\n', "x is unknown"),
    "hashes of hashes": ("adapterops: 1\ninputs: {a: {path: plain, sha256: {x: {y: z}}}}\nresult: a\n", "sha256.x is a table"),
    "a colon in an expression": (HEAD + 'result: scale(a, {"*": 1})\n', "text with a colon and a space in it goes in quotes"),
    "a key that is a number": (GOOD + "1: 2\n", "line 4, column 1: the key 1 is not text"),
    "a key that is a list": (GOOD + "? [a]\n: 2\n", "line 4, column 3: a key must be text"),
    "a key that is null": (GOOD + "~: 2\n", "line 4, column 1: the key ~ is not text"),
    "two documents": (GOOD + "---\na: 1\n", "line 4, column 1: a second document"),
    "no": (GOOD + "base: no\n", "line 4, column 7: no is true or false in YAML 1.1"),
    "Off": (GOOD + "base: Off\n", "line 4, column 7: Off is true or false"),
    "an octal number": (GOOD + "output: {rank: 010}\n", "line 4, column 16: 010 is octal"),
    "a new octal number": (GOOD + "output: {rank: 0o10}\n", "line 4, column 16: 0o10 is octal"),
    "a hexadecimal number": (GOOD + "output: {rank: 0x10}\n", "line 4, column 16: 0x10 is octal"),
    "a time": (GOOD + "base: 1:30\n", "line 4, column 7: 1:30 is a number to the base 60"),
    "a date": (GOOD + "base: 2026-01-01\n", "line 4, column 7: 2026-01-01 is a date"),
    "a number with underscores": (GOOD + "output: {rank: 1_0}\n", "1_0 is a number in YAML 1.1"),
    "infinity": (GOOD + "output: {energy: .inf}\n", "not a finite number"),
    "a number that overflows": (GOOD + "output: {energy: 1e999}\n", "too large"),
    "a number of many digits": (GOOD + f"output: {{rank: {'9' * 5000}}}\n", "too large"),
    "what is no YAML": ("inputs: [\n", "is not YAML"),
    "a tab": ("\tadapterops: 1\n", "line 1, column 1: is not YAML"),
    "nothing": ("", "is empty"),
    "a comment": ("# recipe\n", "is empty"),
    "a control character": (GOOD + "base: \x01\n", "U+0001"),
    "depth": ("inputs: " + "[" * 500_000, "line 1, column "),
    "depth within the parser's": ("inputs: " + "{a: " * 40, "nested more than 20 deep"),
    "many values": ("inputs: [" + "a, " * 300_000 + "]", "more than 10000 values"),
    "many bytes": ("# " + "x" * (1 << 20), "too large for a recipe"),
    "a list": ("- a\n", "the recipe is a list"),
    "text": ("recipe\n", 'the recipe is "recipe"'),
    "no inputs": ("adapterops: 1\nresult: a\n", "the recipe has no inputs"),
    "empty inputs": ("adapterops: 1\ninputs: {}\nresult: a\n", "line 2, column 1: inputs needs a name"),
    "no version": ("inputs: {a: plain}\nresult: a\n", "the line adapterops: 1"),
    "another version": (GOOD.replace("1", "2", 1), "line 1, column 1: adapterops is 2, expected 1"),
    "a version that is true": (GOOD.replace("1", "true", 1), "adapterops is true"),
    "no result": (HEAD, "the recipe has no result"),
    "a result that is a number": (HEAD + "result: 1.5\n", "line 3, column 1: result is 1.5, expected text"),
    "an input with a NUL": ('adapterops: 1\ninputs: {a: "x\\0y"}\nresult: a\n', "which has the character NUL"),
    "an input that is null": ("adapterops: 1\ninputs: {a: }\nresult: a\n", "inputs.a is missing"),
    "a name that is no name": ("adapterops: 1\ninputs: {a-b: plain}\nresult: a\n", "line 2, column 10: inputs.a-b: 'a-b' cannot be"),
    "an unknown adapter": (
        HEAD + "result: 0.5*aa\n",
        "line 3, column 1: result: there is no adapter named 'aa' (column 5)\n  0.5*aa\n      ^\n  did you mean a?",
    ),
    "an unused input": ("adapterops: 1\ninputs: {a: plain, b: all}\nresult: a\n", "b is given and not used"),
    "an unknown method": (HEAD + "result: dare-ties(a)\n", "did you mean dare_ties?"),
    "a rank that is text": (GOOD + "output: {rank: '8'}\n", 'line 4, column 10: output.rank is "8", expected a whole number'),
    "a rank of zero": (GOOD + "output: {rank: 0}\n", "output: the rank must be"),
    "two cuts": (GOOD + "output: {rank: 1, energy: 0.5}\n", "exactly one of"),
    "a budget that is none": (GOOD + "output: {budget: lots}\n", "output.budget"),
    "a dtype": (GOOD + "output: {dtype: bfloat17}\n", "did you mean bfloat16?"),
    "exact that is text": (GOOD + "output: {exact: 'true'}\n", "expected true or false"),
    "a scheme": (GOOD + "base: base\nquantize: nf5\n", "did you mean nf4?"),
    "a scheme without a base": (GOOD + "quantize: nf4\n", "quantize needs a base"),
    "a sha256 that is none": ("adapterops: 1\ninputs: {a: {path: plain, sha256: abc}}\nresult: a\n", "expected 64 hexadecimal digits"),
    "a BLAKE3 that is none": ("adapterops: 1\ninputs: {a: {path: plain, blake3: 7}}\nresult: a\n", "a.blake3 is 7, expected 64"),
    "an alpha that is text": ("adapterops: 1\ninputs: {a: {path: plain, alpha: x}}\nresult: a\n", "inputs.a.alpha"),
    "a push to nowhere": (GOOD + "push: {private: true}\n", "push has no repo"),
    "a push to a bad name": (GOOD + "push: {repo: name}\n", "expected owner/name"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_recipes_that_are_refused(place: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    text, said = REFUSED[what]
    Path("recipe.yaml").write_text(text)
    begin = time.monotonic()
    shown = failed(capsys, 2, "run", "recipe.yaml", "-o", "out")
    assert time.monotonic() - begin < 1
    assert shown.startswith("error: recipe.yaml: ")
    assert said in shown


def test_text_that_is_not_utf8(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.yaml").write_bytes(GOOD.encode() + b"base: \xff\n")
    assert "is not UTF-8" in failed(capsys, 2, "run", "recipe.yaml")


def test_recipes_that_are_not_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist" in failed(capsys, 5, "run", "nowhere.yaml")
    assert "plain: is a folder, not a file\n  a recipe is a file of YAML" in failed(capsys, 3, "run", "plain")
    done(capsys, "calc", "2*a", "a=plain", "-o", "twice")
    assert "name the recipe in it: twice/recipe.yaml" in failed(capsys, 3, "run", "twice")
    assert "does not exist" in failed(
        capsys, 5, "run", write("recipe.yaml", HEAD.replace("plain", "nowhere") + "result: a\n"), "-o", "out"
    )
    assert "does not say where" in failed(capsys, 2, "run", write("recipe.yaml", GOOD))


def test_numbers_as_people_write_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done(capsys, "run", write("recipe.yaml", GOOD + "output: {path: out, energy: 9.5e-1, exact: True}\n"))
    assert parse_yaml(Path("out/recipe.yaml").read_bytes())[0]["output"] == {
        "adapter": False,
        "energy": 0.95,
        "exact": True,
        "normalize": False,
    }
    done(capsys, "run", write("recipe.yaml", GOOD + "output: {path: out2, budget: 20kB}\n"))
    assert parse_yaml(Path("out2/recipe.yaml").read_bytes())[0]["output"]["budget"] == "20000B"


def test_names_that_yaml_might_misread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["it's", "no", "1e3", "ümläut #x: y", "tab\there", "null"]
    for index, name in enumerate(names):
        write_adapter(tmp_path / name, seed=index)
    inputs = [f"{name}={path}" for name, path in zip(("y", "n", "On", "x1", "_", "Null"), names, strict=True)]
    done(capsys, "calc", "y + n + On + x1 + _ - Null", *inputs, "-o", "out")
    done(capsys, "run", "out/recipe.yaml", "-o", "again")
    assert tree(Path("out")) == tree(Path("again"))


def test_a_link_is_followed_from_where_it_lies(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("deep/er").mkdir(parents=True)
    os.symlink("deep/er", "link")
    done(capsys, "calc", "2*a", "a=plain", "-o", "link/out")
    done(capsys, "run", "link/out/recipe.yaml", "-o", "deep/er/again")
    assert tree(place / "link/out") == tree(place / "deep/er/again")


def test_a_push_goes_to_the_hub(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write("recipe.yaml", GOOD + "output: {path: out}\npush: {repo: me/name, private: true}\n")
    pushed: list[Any] = []
    monkeypatch.setattr(
        "adapterops.requests.sending.push", lambda folder, repo, **options: pushed.append((folder, repo, options))
    )
    done(capsys, "run", recipe, "--dry-run")
    assert not pushed
    done(capsys, "run", recipe)
    [(folder, repo, options)] = pushed
    assert (folder, repo) == (Path("out"), "me/name")
    assert {option: value for option, value in options.items() if value} == {"private": True}
    assert "push" not in Path("out/recipe.yaml").read_text()


@pytest.mark.parametrize("command", ["calc", "run"])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert f"  adapterops {command} " in done(capsys, command, "--help").partition("Options:")[0].replace(
        "Usage: adapterops", ""
    )


def test_a_refusal_comes_before_torch(place: Path) -> None:
    code = "import sys; from adapterops.cli.main import run; sys.exit(run(['run', 'recipe.yaml']) + 50 * ('torch' in sys.modules))"
    write("recipe.yaml", HEAD + "result: a*a\n")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "not multiplied (column 2)" in ended.stderr
