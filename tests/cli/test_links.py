"""A link in a folder must not publish what is elsewhere on the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from corpus import write_adapter
from tiny_models import write_base

from adapterops.cli.main import run
from adapterops.hub.package import SMALL

ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "README.md", *sorted(SMALL))


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapterops.hub.pushing.there_now", lambda *_: None)


def linked(folder: Path, name: str) -> None:
    """Move a file out of its folder, and let a link lead to it."""
    elsewhere = folder.parent / "secret"
    if (folder / name).exists():
        os.replace(folder / name, elsewhere)
    else:
        elsewhere.write_text("{}")
    (folder / name).symlink_to(elsewhere)


@pytest.mark.parametrize("name", ADAPTER)
def test_an_adapter(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    folder = write_adapter(tmp_path / "a")
    linked(folder, name)
    assert run(["push", str(folder), "me/a", "--dry-run"]) == 3
    assert "leads out of its folder" in capsys.readouterr().err or name == "adapterops.json"


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "config.json", "tokenizer.json", "README.md"])
def test_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    folder = write_base(tmp_path / "base")
    linked(folder, name)
    assert run(["push", str(folder), "me/base", "--dry-run"]) == 3
    assert "leads out of its folder" in capsys.readouterr().err


def test_a_model_of_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write_base(tmp_path / "base")
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").symlink_to(base / "model-00001-of-00004.safetensors")
    assert run(["push", str(folder), "me/one", "--dry-run"]) == 3
    assert "leads out of its folder" in capsys.readouterr().err


def test_a_link_inside_is_followed(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    os.replace(folder / "adapter_config.json", folder / "other.json")
    (folder / "adapter_config.json").symlink_to("other.json")
    assert run(["push", str(folder), "me/a", "--dry-run"]) == 0
