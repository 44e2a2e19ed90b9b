"""Models as deltas: a repository holds what they are made of and their hashes, and `pull` makes the same bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from corpus import tree
from hub_server import SECRET, Hub
from pretended import pretend
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run

TARGET = "me/delta"
COMMAND = ["fuse", "hf://me/base", "../a", "--push", TARGET, "--as-delta"]


@pytest.fixture
def place(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base on the Hub, an adapter and the model of both; an empty folder to be in, with a token."""
    write_base(tmp_path / "base", layers=4, out=64, into=96)
    write_tuned(tmp_path / "a", layers=4, out=64, into=96)
    hub.put("me/base", tmp_path / "base")
    monkeypatch.setenv("HF_TOKEN", SECRET)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run(["fuse", "../base", "../a", "-o", "../local"]) == 0
    return tmp_path


def files(hub: Hub, repo: str = TARGET) -> dict[str, bytes]:
    return {name: hub.content(file) for name, file in hub.repos[repo].at("main").files.items()}


def changed(hub: Hub, name: str, data: bytes, repo: str = TARGET) -> None:
    found = hub.repos[repo]
    found.add("main", "changed", {**found.at("main").files, name: hub.stored(name, data)})


def test_what_is_pulled_is_what_was_made(hub: Hub, place: Path) -> None:
    """Weights are made for their hashes, and not sent; nothing stays here."""
    assert run(COMMAND) == 0
    assert not list(Path().iterdir())
    there = files(hub)
    assert {name.partition("/")[0] for name in there} == {
        ".gitattributes",
        "README.md",
        "delta.json",
        "files",
        "adapters",
    }
    assert not [name for name in there if name.startswith("files/model-") and name.endswith(".safetensors")]
    assert sum(map(len, there.values())) < 0.2 * sum(path.stat().st_size for path in (place / "local").iterdir())
    assert "adapterops pull me/delta" in there["README.md"].decode()
    assert run(["pull", TARGET]) == 0
    pulled, local = tree(Path("delta")), tree(place / "local")
    assert pulled.keys() == local.keys()
    assert {name for name in local if pulled[name] != local[name]} == {"adapterops.json"}
    assert Path("delta/adapterops.json").read_bytes() == there["files/adapterops.json"]
    assert run(["verify", "delta", "--base", "../base", "--adapter", "../a"]) == 0


def test_what_rounds_as_no_processor_does_is_refused(
    hub: Hub, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A merge on a GPU could not be pulled where there is none; what is only added has the same bits everywhere."""
    pretend(monkeypatch)
    merge = ["fuse", "hf://me/base", "../a", "../a", "--method", "ties", *COMMAND[3:]]
    assert run([*merge, "--device", "cuda"]) == 4
    assert "a merge rounds otherwise on a GPU that is not there" in capsys.readouterr().err
    assert TARGET not in hub.repos
    assert not list(Path().iterdir())
    assert run([*COMMAND, "--device", "cuda"]) == 0
    assert run(["pull", TARGET]) == 0


def test_again_there_is_nothing_to_commit(hub: Hub, place: Path) -> None:
    for _ in range(2):
        assert run(COMMAND) == 0
    assert len(hub.repos[TARGET].history()) == 2
    assert list(hub.repos[TARGET].refs) == ["main"]


def test_adapters_on_the_hub_are_named_and_not_sent(hub: Hub, place: Path) -> None:
    hub.put("me/a", place / "a")
    assert run(["fuse", "hf://me/base", "hf://me/a", "../a", "-w", "0.5,0.5", *COMMAND[3:]]) == 0
    request = json.loads(files(hub)["delta.json"])["request"]
    assert request["inputs"]["a"]["path"].startswith("hf://me/a@")
    assert request["inputs"]["b"]["path"] == "adapters/b"
    assert not [name for name in files(hub) if name.startswith("adapters/a/")]
    assert run(["pull", TARGET]) == 0
    weights = sorted(path.name for path in Path("delta").glob("*.safetensors"))
    for name in weights:
        stated = json.loads(files(hub)["files/adapterops.json"])["outputs"][name]["size"]
        assert (Path("delta") / name).stat().st_size == stated


def test_a_quantized_model(hub: Hub, place: Path) -> None:
    options = ["--to", "nf4"]
    assert run(["quantize", "../base", *options, "-o", "../codes"]) == 0
    assert run(["quantize", "hf://me/base", *options, "--push", TARGET, "--as-delta"]) == 0
    assert run(["pull", TARGET]) == 0
    pulled, local = tree(Path("delta")), tree(place / "codes")
    assert {name for name in local if pulled.get(name) != local[name]} == {"adapterops.json"}


def test_other_bytes_are_not_taken_for_the_model(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An adapter that was changed on the way, or a machine that rounds otherwise."""
    assert run(COMMAND) == 0
    name = "adapters/a/adapter_model.safetensors"
    data = bytearray(files(hub)[name])
    data[-1] ^= 1
    changed(hub, name, bytes(data))
    assert run(["pull", TARGET]) == 8
    assert "would have other bytes" in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_another_config_is_not_taken_either(hub: Hub, place: Path) -> None:
    assert run(COMMAND) == 0
    changed(hub, "files/config.json", files(hub)["files/config.json"] + b" ")
    assert run(["pull", TARGET]) == 8
    assert not list(Path().iterdir())


@pytest.mark.parametrize("path", ["/etc", "../../secret", "adapters/../..", "hf://me/base", "hf://me/base@main"])
@pytest.mark.parametrize("which", ["base", "inputs"])
def test_a_stranger_names_no_files_of_this_machine(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str], path: str, which: str
) -> None:
    assert run(COMMAND) == 0
    stated = json.loads(files(hub)["delta.json"])
    (stated["request"]["base"] if which == "base" else stated["request"]["inputs"]["a"])["path"] = path
    changed(hub, "delta.json", json.dumps(stated).encode())
    assert run(["pull", TARGET]) == 3
    assert "neither a commit on the Hub nor in adapters/" in capsys.readouterr().err


def test_a_delta_stands_for_a_model(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(COMMAND) == 0
    stated = json.loads(files(hub)["delta.json"])
    del stated["request"]["base"]
    changed(hub, "delta.json", json.dumps(stated).encode())
    assert run(["pull", TARGET]) == 3
    assert "makes an adapter, expected a model" in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_link_out_of_an_adapter_is_not_followed(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (place / "a" / name).rename(place / "secret")
    (place / "a" / name).symlink_to(place / "secret")
    assert run(COMMAND) == 3
    assert "leads out of its folder" in capsys.readouterr().err
    assert TARGET not in hub.repos


def test_what_is_pushed_is_pulled_whatever_its_name(hub: Hub, place: Path) -> None:
    """One after the other in one repository: nothing of the one is left when the other is there."""
    for source in ("../größer v1", "../collection#a"):
        assert run(["convert", "../a", "--to", "peft", "-o", "../größer v1", "--force"]) == 0
        assert run(["compress", "../a", "b=../a", "-o", "../collection", "--force"]) == 0
        assert run(["fuse", "hf://me/base", source, *COMMAND[3:]]) == 0
        assert run(["pull", TARGET, "--force"]) == 0
    assert run(["push", "../local", TARGET]) == 0
    assert run(["pull", TARGET, "-o", "whole"]) == 0
    assert tree(Path("whole")) == tree(place / "local") | {"README.md": tree(Path("whole"))["README.md"]}


def test_pickles_are_no_part_of_a_delta(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, "--allow-pickle"]) == 4
    assert "a delta names no pickles" in capsys.readouterr().err
    assert TARGET not in hub.repos


def test_a_base_that_nobody_else_has(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fuse", "../base", "../a", "--push", TARGET, "--as-delta"]) == 4
    assert "has to be on the Hub" in capsys.readouterr().err
    assert TARGET not in hub.repos


def test_what_is_there_is_not_replaced_and_a_plan_makes_nothing(hub: Hub, place: Path) -> None:
    assert run(COMMAND) == 0
    assert run(["pull", TARGET, "--dry-run"]) == 0
    assert not list(Path().iterdir())
    assert run(["pull", TARGET]) == 0
    before = hashlib.sha256(Path("delta/adapterops.json").read_bytes()).hexdigest()
    assert run(["pull", TARGET]) == 6
    assert run(["pull", TARGET, "--force"]) == 0
    assert hashlib.sha256(Path("delta/adapterops.json").read_bytes()).hexdigest() == before


def test_it_is_an_option_of_push(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fuse", "../base", "../a", "--as-delta"]) == 2
    assert "add --push" in capsys.readouterr().err
