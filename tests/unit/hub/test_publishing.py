"""Files that wait on a branch, and the commit that takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import SECRET, Hub

from adapterops.errors import OptionError
from adapterops.hub.publishing import Publication
from adapterops.hub.snapshot import Known

PLAN = "0123456789abcdef"


@pytest.fixture
def publication(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Publication:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return Publication.begin("me/model", PLAN)


def test_what_was_sent_is_found_by_another_run_of_the_plan(hub: Hub, publication: Publication, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"some bytes")
    sha256 = publication.send("x.safetensors", tmp_path / "x.safetensors")
    finished = {"x.safetensors": Known(10, sha256), "y.safetensors": Known(10, sha256)}
    again = Publication.begin("me/model", PLAN)
    assert again.branch == publication.branch
    assert again.waiting(finished) == {"x.safetensors"}
    assert again.waiting({"x.safetensors": Known(10, "0" * 64)}) == set()
    assert "x.safetensors" not in hub.repos["me/model"].at("main").files
    assert not Publication.begin("me/model", "f" * 16).waiting(finished)


def test_the_branch_goes_and_may_be_gone(hub: Hub, publication: Publication) -> None:
    publication.end()
    publication.end()
    assert list(hub.repos["me/model"].refs) == ["main"]


def test_a_folder_inside_a_repository_is_refused(hub: Hub) -> None:
    with pytest.raises(OptionError, match="names a folder inside"):
        Publication.begin("me/model:inner", PLAN)
