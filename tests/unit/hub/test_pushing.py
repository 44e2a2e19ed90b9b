"""What `push` does: one commit or none, and never where more people would see it than were meant to."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import write_adapter
from hub_server import SECRET, Hub

from adapterops.errors import NotFoundError, OptionError, OutputExistsError
from adapterops.requests.sending import push


@pytest.fixture
def folder(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return write_adapter(tmp_path / "a")


def test_one_commit_and_then_none(hub: Hub, folder: Path) -> None:
    first = push(folder, "me/a")
    assert set(first.files) == {"adapter_model.safetensors", "adapter_config.json", "README.md"}
    assert len(hub.repos["me/a"].history()) == 2
    again = push(folder, "me/a")
    assert (again.files, again.commit) == ((), first.commit)
    assert len(hub.repos["me/a"].history()) == 2


def test_a_dry_run_asks_and_sends_nothing(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    planned = push(folder, "me/a", dry_run=True)
    assert planned.commit is None
    assert "README.md" in planned.files
    assert not hub.repos
    assert {request.method for request in hub.log} == {"GET"}


def test_a_public_repository_is_not_sent_what_is_private(hub: Hub, folder: Path) -> None:
    hub.put("me/a", {}, private=False)
    with pytest.raises(OutputExistsError, match="is public, and private was asked for"):
        push(folder, "me/a", private=True)
    assert not hub.asked("POST .*/commit/")


@pytest.mark.parametrize(("target", "options"), [("hf://me/a/sub", {}), ("hf://me/a@v2", {"create_pr": True})])
def test_targets_that_make_no_sense(hub: Hub, folder: Path, target: str, options: dict[str, bool]) -> None:
    with pytest.raises(OptionError, match="names a folder inside"):
        push(folder, target, **options)


def test_without_a_token_nothing_is_asked(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(NotFoundError, match="token"):
        push(folder, "me/a")
    assert not hub.log


def test_a_dry_run_does_not_wait(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    planned = push(folder, "me/a", dry_run=True)
    assert set(planned.files) == {"adapter_model.safetensors", "adapter_config.json", "README.md"}
    assert not planned.compared
    assert planned.reason == "the Hub cannot be reached: ConnectError"
    assert hub.waits == []


def test_a_dry_run_needs_no_hub_at_all(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    planned = push(folder, "me/a", dry_run=True)
    assert not planned.compared
    assert planned.reason == "HF_HUB_OFFLINE is set"
