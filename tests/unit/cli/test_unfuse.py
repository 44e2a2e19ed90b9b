"""`unfuse`: what was fused is taken out, and doubt is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    write_tuned(tmp_path / "other", seed=1)
    monkeypatch.chdir(tmp_path)
    assert run(["fuse", "base", "a", "--dtype", "float32", "-o", "fused"]) == 0


def test_the_base_comes_back(capsys: Capture) -> None:
    assert run(["unfuse", "fused", "a", "-o", "back"]) == 0
    assert "warning" not in capsys.readouterr().err
    for file in Path("base").glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            assert (load_file(Path("back", file.name))[name].double() - tensor.double()).abs().max() < 1e-5


def test_what_the_manifest_does_not_say_is_doubted(capsys: Capture) -> None:
    assert run(["unfuse", "fused", "other", "-o", "wrong"]) == 0
    assert "warning: fused:" in capsys.readouterr().err
    Path("fused/adapterops.json").unlink()
    assert run(["unfuse", "fused", "a", "-o", "back"]) == 0
    assert "no manifest says what was fused into it" in capsys.readouterr().err
    assert run(["unfuse", "fused", "a", "-o", "strict", "--strict"]) != 0


def test_another_merge_than_that_of_the_manifest_is_doubted(capsys: Capture) -> None:
    assert run(["fuse", "base", "a", "other", "-w", "1", "-w", "0.5", "-o", "both"]) == 0
    assert run(["unfuse", "both", "a", "other", "--tsv", "-o", "wrong"]) == 0
    assert "were merged with linear(a, b, weights=[1.0, 0.5]" in capsys.readouterr().err


def test_without_options_the_merge_is_that_of_the_manifest(capsys: Capture) -> None:
    write_tuned(Path("third"), seed=2)
    three = ["a", "other", "third"]
    for out, options in (("evened", []), ("added", ["-w", "1,0.5,2"]), ("by-tsv", ["--tsv"])):
        assert run(["fuse", "base", *three, *options, "--dtype", "float32", "-o", out]) == 0
        assert run(["unfuse", out, *three, "-o", f"{out}-back"]) == 0
        said = capsys.readouterr()
        assert "warning" not in said.err
        assert "the default for" not in said.out.partition(f"wrote {out}-back")[2]
        for file in Path("base").glob("*.safetensors"):
            for name, tensor in load_file(file).items():
                assert (load_file(Path(f"{out}-back", file.name))[name].double() - tensor.double()).abs().max() < 1e-5
        named = [word for each in three for word in ("--adapter", each)]
        assert run(["verify", out, "--base", "base", *named]) == 0


def test_an_adapter_that_was_written_anew_is_doubted(capsys: Capture) -> None:
    assert run(["unfuse", "fused", "a", "-o", "back"]) == 0
    assert "is not the file" not in capsys.readouterr().err
    shutil.rmtree("a")
    write_tuned(Path("a"), seed=3)
    assert run(["unfuse", "fused", "a", "-o", "wrong"]) == 0
    assert "a/adapter_model.safetensors is not the file that it was made from" in capsys.readouterr().err
    assert run(["unfuse", "fused", "a", "other", "-o", "both"]) == 0
    assert "and a, other were given" in capsys.readouterr().err
