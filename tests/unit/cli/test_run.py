"""`run`: a recipe is followed, and a part of it is not pushed."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import write_adapter

from adapterops.cli.main import run

RECIPE = "adapterops: 1\ninputs: {a: a}\nresult: 2*a\noutput: {path: out}\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_adapter(tmp_path / "a")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)


def test_the_output_goes_where_the_recipe_or_an_option_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "recipe.yaml"]) == 0
    assert run(["run", "recipe.yaml", "-o", "elsewhere"]) == 0
    assert Path("out/recipe.yaml").exists()
    files = [Path(name, "adapter_model.safetensors").read_bytes() for name in ("out", "elsewhere")]
    assert files[0] == files[1]
    capsys.readouterr()
    assert run(["run", "out/recipe.yaml", "-o", "planned", "--dry-run"]) == 0
    assert "would write planned" in capsys.readouterr().out
    assert not Path("planned").exists()


def test_a_part_is_not_pushed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.yaml").write_text(RECIPE + "push: {repo: me/it}\n")
    assert run(["run", "recipe.yaml", "--part", "1/2"]) == 2
    assert "leave push out of the recipe" in capsys.readouterr().err
