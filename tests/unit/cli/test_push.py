"""`push`: what it says of what is sent; what the Hub then has is tried in tests/interop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus import write_adapter
from hub_server import SECRET, Hub

from adapterops.cli.main import run
from adapterops.provenance.manifest import seal

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    write_adapter(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", SECRET)


def test_a_dry_run_is_what_is_sent_then(hub: Hub, capsys: Capture) -> None:
    found = []
    for more in (["--dry-run"], []):
        assert run(["push", "a", "me/a", "--json", *more]) == 0
        found.append(json.loads(capsys.readouterr().out))
    plan, done = found
    assert (plan["kind"], plan["dry_run"], done["dry_run"]) == ("push", True, False)
    assert plan["files"] == done["files"]
    assert plan["bytes"] == done["bytes"] == sum(len(hub.files("me/a")[name]) for name in done["files"])
    assert done["url"] == f"{hub.url}/me/a/commit/{hub.repos['me/a'].refs['main']}"


def test_quiet_says_nothing_of_what_was_done_and_all_of_a_plan(capsys: Capture) -> None:
    assert run(["push", "a", "me/a", "--dry-run", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("would push a to me/a: ")
    assert run(["push", "a", "me/a", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_a_request_in_the_manifest_that_nobody_can_do_is_not_sent(hub: Hub, capsys: Capture) -> None:
    assert run(["truncate", "a", "--rank", "1", "-o", "out"]) == 0
    manifest = json.loads(Path("out/adapterops.json").read_text())
    manifest["request"]["result"] = "no_such_method(a)"
    Path("out/adapterops.json").write_text(json.dumps({**manifest, "seal": seal(manifest)}))
    assert run(["push", "out", "me/out"]) == 3
    assert "no_such_method" in capsys.readouterr().err
    assert not hub.repos
