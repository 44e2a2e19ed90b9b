"""`card`: what push would write, to be read before; nothing is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus import config, tree, write_adapter
from hub_server import SECRET, Hub

from adapterops.cli.main import run
from adapterops.hub.card import MARK
from adapterops.requests.sending import push


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_adapter(tmp_path / "a", fields=config(task_type="CAUSAL_LM"))


def test_it_is_printed_and_nothing_is_written_or_asked(
    folder: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(folder.parent)
    assert run(["card", "a"]) == 0
    shown = capsys.readouterr().out
    assert MARK in shown
    assert run(["card", "a", "-o", "-"]) == 0
    assert capsys.readouterr().out == shown
    assert 'PeftModel.from_pretrained(base, "a")' in shown
    assert tree(folder.parent) == before
    assert not hub.log


def test_it_is_the_one_that_push_sends(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert run(["card", "a", "--repo", "me/a", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "card"
    push(folder, "me/a")
    sent = hub.repos["me/a"].history()[0].files["README.md"].data
    assert sent.decode() == document["text"]


def test_a_file_is_replaced_where_it_is_ours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["card", "a", "-o", "a/README.md"]) == 0
    assert "wrote a/README.md" in capsys.readouterr().out
    assert run(["card", "a", "-o", "a/README.md"]) == 6
    assert run(["card", "a", "-o", "a/README.md", "--force"]) == 0
    (folder / "README.md").write_text("mine")
    assert run(["card", "a", "-o", "a/README.md", "--force"]) == 6
    assert (folder / "README.md").read_text() == "mine"
    capsys.readouterr()
    assert run(["card", "a"]) == 0
    assert "push sends it as it is" in capsys.readouterr().err


def test_a_base_says_what_loads_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_adapter(tmp_path / "b", fields=config())
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text('{"architectures": ["BertModel"]}')
    assert run(["card", "b", "--base", "base"]) == 0
    assert "from transformers import BertModel" in capsys.readouterr().out


def test_a_base_on_the_hub_is_the_one_that_is_named(folder: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.put("me/base", {"config.json": b'{"architectures": ["BertModel"]}'})
    write_adapter(Path("b"), fields=config(base_model_name_or_path="/a/path/of/this/machine"))
    assert run(["card", "b", "--base", "me/base"]) == 0
    shown = capsys.readouterr()
    assert "base_model: me/base" in shown.out
    assert 'BertModel.from_pretrained("me/base")' in shown.out
    assert "warning" not in shown.err


def test_wrong_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["card", "nowhere"]) == 5
    (tmp_path / "empty").mkdir()
    assert run(["card", "empty"]) in (3, 5)
    assert "Traceback" not in capsys.readouterr().err
