"""The Hub, as the real client sees it:
references, pushing and pulling, in LFS mode and, where hf_xet allows it, in Xet mode.
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import config, made, tree, write_adapter
from hub_server import SECRET, Hub
from safetensors.torch import load_file, save_file
from strategies import entries
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.cli.main import run
from adapterops.hub.card import MARK

WEIGHTS = "adapter_model.safetensors"
LOCAL_ONLY = """
import socket
real = socket.getaddrinfo
def only(host, *rest, **more):
    assert host == '127.0.0.1', host
    return real(host, *rest, **more)
socket.getaddrinfo = only
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return SECRET


def manifest(folder: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "adapterops.json").read_text())
    return found


def succeeds(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    code = run(list(arguments))
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out, printed.err


def test_headers_alone_are_read_to_show(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    modules = [f"layers.{layer}.{name}" for layer in range(8) for name in ("q_proj", "v_proj")]
    folder = write_adapter(tmp_path / "a", modules=modules, rank=64, out=2000, into=2000)
    commit = hub.put("me/big", folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    shown, noted = succeeds(capsys, "show", "hf://me/big@main")
    assert shown.startswith(f"me/big@{commit[:12]}: LoRA on some/base\n")
    assert f"me/big@main is commit {commit[:12]}" in noted
    assert hub.sent < size / 100
    assert [each.range for each in hub.asked("GET .*resolve.*safetensors")] == ["bytes=0-131071"]
    assert "never trained" not in shown
    found = json.loads(succeeds(capsys, "show", "me/big", "--json")[0])
    assert found["zero"] is None
    assert found["parameters"] == 16 * 64 * 4000


def test_a_long_header_is_read_in_two_requests(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_adapter(tmp_path / "a", modules=[f"layers.{layer}.q_proj" for layer in range(800)])
    assert (folder / WEIGHTS).stat().st_size > 1 << 17
    hub.put("me/long", folder)
    assert "800 modules" in succeeds(capsys, "show", "me/long")[0]
    assert len(hub.asked("GET .*resolve.*safetensors")) == 2


def test_merging_from_the_hub_is_merging_what_was_there(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = write_adapter(tmp_path / "a"), write_adapter(tmp_path / "b", seed=2)
    pinned = [hub.put("me/a", first), hub.put("me/b", second, inner="sub", ref="v2")]
    hub.put("me/b", write_adapter(tmp_path / "other", seed=9), inner="sub")
    _, noted = succeeds(capsys, "merge", "me/a", "me/b@v2:sub", "--ties", "-o", "merged")
    assert f"me/b@v2:sub is commit {pinned[1][:12]}" in noted
    succeeds(capsys, "merge", str(first), str(second), "--ties", "-o", "local")
    assert tree(place / "merged")[WEIGHTS] == tree(place / "local")[WEIGHTS]
    inputs = manifest("merged")["inputs"]
    assert [(each["reference"], each["revision"]) for each in inputs] == [("me/a", pinned[0]), ("me/b:sub", pinned[1])]
    assert inputs[1]["files"][WEIGHTS]["sha256"] == hashlib.sha256((second / WEIGHTS).read_bytes()).hexdigest()
    assert not hub.asked("resolve/(main|v2)/"), "everything is asked for by its commit"
    hub.log.clear()
    succeeds(capsys, "merge", f"me/a@{pinned[0]}", "hf://me/b@v2/sub", "--ties", "-o", "again")
    assert made(place / "again") == made(place / "merged"), "a name and its commit are the same work"
    assert not hub.asked("resolve"), "what is in the cache is not asked for again"


def test_a_base_is_fetched_as_it_is_consumed(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, tuned = write_base(tmp_path / "base"), write_tuned(tmp_path / "tuned")
    commit = hub.put("me/base", base)
    hub.put("me/tuned", tuned)
    plan = json.loads(succeeds(capsys, "fuse", "me/base", "me/tuned", "--dry-run", "-o", "out", "--json")[0])
    missing = [*base.glob("*.safetensors"), base / "tokenizer.json", tuned / WEIGHTS]
    assert plan["download"] == {"files": len(missing), "bytes": sum(path.stat().st_size for path in missing)}
    assert not [each for each in hub.asked("GET .*safetensors$") if not each.range]
    assert (
        f"to download: 4.9 kB in {len(missing)} files"
        in succeeds(capsys, "fuse", "me/base", "me/tuned", "--dry-run", "-o", "out")[0]
    )
    succeeds(capsys, "fuse", "me/base", "me/tuned", "-o", "out")
    succeeds(capsys, "fuse", str(base), str(tuned), "-o", "local")
    assert {**tree(place / "out"), "adapterops.json": ""} == {**tree(place / "local"), "adapterops.json": ""}
    assert manifest("out")["inputs"][0]["reference"] == "me/base"
    assert manifest("out")["inputs"][0]["revision"] == commit
    hub.log.clear()
    assert "verified" in succeeds(capsys, "verify", "out", "--base", "me/base", "--adapter", "me/tuned")[0]
    assert "to download" not in succeeds(capsys, "fuse", "me/base", "me/tuned", "--dry-run", "-o", "no")[0]
    assert not hub.asked("resolve")
    tuned_model = hub.put("me/fused", place / "out")
    assert "verified" in succeeds(capsys, "verify", "me/fused", "--base", "me/base", "--adapter", "me/tuned")[0]
    succeeds(capsys, "extract", "me/fused", "--base", "me/base", "--rank", "2", "-o", "extracted")
    fields = json.loads((place / "extracted/adapter_config.json").read_text())
    assert (fields["base_model_name_or_path"], fields["revision"]) == ("me/base", commit)
    assert tuned_model in json.dumps(manifest("extracted"))


def test_parts_fetch_what_they_need_and_are_of_one_commit(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, tuned = write_base(tmp_path / "base"), write_tuned(tmp_path / "tuned")
    hub.put("me/base", base)
    hub.put("me/tuned", tuned)
    fuse = ["fuse", "hf://me/base", "hf://me/tuned", "-o"]
    for number in (1, 2):
        succeeds(capsys, *fuse, "out", "--part", f"{number}/2")
        there = {path.name for path in Path(hub.cache).rglob("model-*.safetensors")}
        assert len(there) == 2 * number
    shutil.rmtree(hub.cache)  # another machine finalizes
    hub.log.clear()
    succeeds(capsys, "finalize", "out")
    asked = hub.asked("GET .*resolve.*safetensors$")
    assert asked
    assert all(each.range for each in asked), "headers are enough"
    succeeds(capsys, *fuse, "whole")
    assert tree(Path("out")) == tree(Path("whole"))
    succeeds(capsys, *fuse, "again", "--part", "1/2")
    (base / "config.json").write_text((base / "config.json").read_text() + " ")
    hub.put("me/base", base)
    assert run([*fuse, "again", "--part", "2/2"]) == 4
    assert "revision" in capsys.readouterr().err


def test_processes_of_ray_fetch_what_they_need_themselves(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each file of the base once, by whoever makes the file of it; the bytes are those of one process."""
    pytest.importorskip("ray")
    hub.put("me/base", write_base(tmp_path / "base"))
    hub.put("me/tuned", write_tuned(tmp_path / "tuned"))
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_CACHE": str(tmp_path / "of-ray")}
    fuse = ["fuse", "hf://me/base", "hf://me/tuned", "-o"]
    on_ray = [sys.executable, "-m", "adapterops", *fuse, "out", "--engine", "ray", "--workers", "2"]
    done = subprocess.run(on_ray, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole = [each.path for each in hub.asked("GET .*resolve.*/model-.*safetensors$") if not each.range]
    assert len(whole) == len(set(whole)) == len(list((tmp_path / "base").glob("*.safetensors")))
    succeeds(capsys, *fuse, "whole")
    out, one = tree(place / "out"), tree(place / "whole")
    assert {**out, "adapterops.json": ""} == {**one, "adapterops.json": ""}
    assert manifest("out")["inputs"] == manifest("whole")["inputs"]


def test_what_does_not_fit_is_said_before_anything_is_downloaded(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/base", write_base(tmp_path / "base"))
    hub.put("me/tuned", write_tuned(tmp_path / "tuned", layers=5))
    assert run(["fuse", "me/base", "me/tuned", "--dry-run"]) == 4
    assert "model.layers.3" in capsys.readouterr().err
    assert not [each for each in hub.asked("GET .*safetensors$") if not each.range]


def test_what_lies_here_is_taken_first(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/a", write_adapter(tmp_path / "a", rank=4))
    write_adapter(place / "me/a")
    shown, noted = succeeds(capsys, "show", "me/a")
    assert shown.startswith("me/a: LoRA")
    assert noted == ""
    assert not hub.log
    assert run(["show", "me/typo"]) == 5
    assert "A repository on the Hub is hf://me/typo" in capsys.readouterr().err
    assert not hub.log
    assert succeeds(capsys, "show", "hf://me/a")[0].startswith("me/a@")
    assert succeeds(capsys, "show", "./me/a")[1] == ""


def test_offline_the_cache_is_enough(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    hub.put("me/a", write_adapter(tmp_path / "a"))
    hub.put("me/b", write_adapter(tmp_path / "b"))
    succeeds(capsys, "truncate", "me/a", "--rank", "1")
    assert (place / "a-r1").is_dir()
    hub.log.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "as the cache has it; offline" in succeeds(capsys, "truncate", "me/a", "--rank", "1", "-o", "again")[1]
    assert tree(place / "again") == tree(place / "a-r1")
    succeeds(capsys, "truncate", "me/a", "--rank", "1", "-o", "verified", "--verify-inputs")
    kept = next(hub.cache.rglob(WEIGHTS)).resolve()
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x55")
    assert run(["truncate", "me/a", "--rank", "1", "-o", "damaged"]) == 3
    assert "is damaged: its hash is" in capsys.readouterr().err
    assert not (place / "damaged").exists()
    assert run(["show", "me/b"]) == 5
    assert "me/b: is not in the cache, and HF_HUB_OFFLINE is set" in capsys.readouterr().err
    assert not hub.log


def test_pulled_is_what_was_there(hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_adapter(tmp_path / "a")
    (folder / "README.md").write_text("mine")
    commit = hub.put("me/a", folder)
    hub.put(
        "me/a",
        {"training_args.bin": b"pickle", "checkpoint-1/adapter_model.safetensors": b"", ".gitattributes": b""},
        ref="main",
    )
    assert succeeds(capsys, "pull", f"me/a@{commit}", "-o", "pulled", "--dry-run")[0].startswith(
        "would write pulled: 3 files"
    )
    assert not (place / "pulled").exists()
    succeeds(capsys, "pull", f"me/a@{commit}", "-o", "pulled")
    assert {name: digest for name, digest in tree(place / "pulled").items() if name != "adapterops.json"} == tree(
        folder
    )
    assert manifest("pulled")["inputs"][0]["revision"] == commit
    assert manifest("pulled")["operation"] == {"input": 0}
    succeeds(capsys, "pull", "me/a")
    assert {path.name for path in (place / "a").iterdir()} == {path.name for path in (place / "pulled").iterdir()}
    assert run(["pull", "me/a"]) == 6
    succeeds(capsys, "pull", "me/a", "--force")
    hub.put("me/pickled", {"adapter_model.bin": b"pickle"})
    assert run(["pull", "me/pickled"]) == 3
    assert not (place / "pickled").exists()


def test_pushed_once(hub: Hub, place: Path, tmp_path: Path, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    sources = [write_adapter(tmp_path / "a"), write_adapter(tmp_path / "b", seed=2)]
    for name, source in zip("ab", sources, strict=True):
        hub.put(f"me/{name}", source)
        hub.put(f"me/{name}", {"README.md": b"---\nlicense: apache-2.0\n---\n"})
    succeeds(capsys, "merge", "me/a", "me/b", "--ties", "-o", "merged")
    (place / "merged/notes.txt").write_text("mine")
    (place / "merged/.env").write_text("HF_TOKEN=x")
    before = tree(place / "merged")
    plan, _ = succeeds(capsys, "push", "merged", "me/merged", "--dry-run")
    assert (
        "would push merged to me/merged: adapter_config.json, adapter_model.safetensors, adapterops.json, README.md"
        in plan
    )
    assert "me/merged" not in hub.repos
    shown, _ = succeeds(capsys, "push", "merged", "me/merged", "--private", "--message", "ties of two")
    repo = hub.repos["me/merged"]
    assert repo.private
    assert [commit.message for commit in repo.history()] == ["ties of two", "initial commit"]
    assert f"  {hub.url}/me/merged/commit/{repo.refs['main']}\n" in shown
    assert "not sent: .env, notes.txt" in shown
    files = hub.files("me/merged")
    assert set(files) == {".gitattributes", "README.md", "adapter_config.json", WEIGHTS, "adapterops.json"}
    for name in (WEIGHTS, "adapter_config.json", "adapterops.json"):
        assert files[name] == (place / "merged" / name).read_bytes()
    card = files["README.md"].decode()
    assert "license: apache-2.0" in card
    assert repo.at("main").files[WEIGHTS].lfs
    assert tree(place / "merged") == before
    assert "nothing new in merged: me/merged has it all" in succeeds(capsys, "push", "merged", "me/merged")[0]
    assert len(repo.history()) == 2
    assert run(["push", "merged", "me/merged", "--public"]) == 6
    assert "me/merged: is private, and public was asked for" in capsys.readouterr().err
    monkey = succeeds(capsys, "pull", "me/merged", "-o", "back")
    assert monkey[0].startswith("wrote back")
    assert tree(place / "back")[WEIGHTS] == tree(place / "merged")[WEIGHTS]
    assert all(SECRET.encode() not in path.read_bytes() for path in place.rglob("*") if path.is_file())


def test_a_card_of_a_person_is_kept(
    hub: Hub, place: Path, tmp_path: Path, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_adapter(place / "a")
    succeeds(capsys, "push", "a", "me/one")
    assert MARK in hub.files("me/one")["README.md"].decode()
    hub.put("me/one", {"README.md": b"written by hand"})
    write_adapter(place / "b", seed=1)
    succeeds(capsys, "push", "b", "me/one")
    assert hub.files("me/one")["README.md"] == b"written by hand"
    (place / "b/README.md").write_text("mine, from here")
    succeeds(capsys, "push", "b", "me/one")
    assert hub.files("me/one")["README.md"] == b"mine, from here"


def test_a_pull_request_is_made_once(hub: Hub, place: Path, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    hub.put("me/one", write_adapter(place / "a"))
    write_adapter(place / "b", seed=1)
    head = hub.repos["me/one"].refs["main"]
    shown, _ = succeeds(capsys, "push", "b", "me/one", "--create-pr")
    assert f"{hub.url}/me/one/discussions/1" in shown
    assert hub.repos["me/one"].refs["main"] == head
    assert hub.files("me/one", "refs/pr/1")[WEIGHTS] == (place / "b" / WEIGHTS).read_bytes()
    shown, _ = succeeds(capsys, "push", "b", "me/one", "--create-pr")
    assert f"{hub.url}/me/one/discussions/1" in shown
    assert len(hub.repos["me/one"].pulls) == 1


def test_shards_of_before_do_not_stay(hub: Hub, place: Path, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_base(place / "base")
    tuned = write_tuned(place / "tuned")
    succeeds(capsys, "fuse", "base", str(tuned), "-o", "one")
    succeeds(capsys, "push", "one", "me/model")
    assert (
        hub.files("me/model")["model-00001-of-00004.safetensors"]
        == (place / "one/model-00001-of-00004.safetensors").read_bytes()
    )
    succeeds(capsys, "fuse", "base", str(tuned), "--max-shard-size", "1GB", "-o", "two")
    shown, _ = succeeds(capsys, "push", "two", "me/model")
    assert "and remove model-00001-of-00004.safetensors" in shown
    assert [name for name in hub.files("me/model") if "model" in name and name != "README.md"] == ["model.safetensors"]
    assert len(hub.repos["me/model"].history()) == 3
    loaded = succeeds(capsys, "show", "hf://me/model")[0]
    assert "12 tensors in 1 file" in loaded


def test_damaged_output_is_not_pushed(hub: Hub, place: Path, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_adapter(place / "a")
    succeeds(capsys, "truncate", "a", "--rank", "1", "-o", "out")
    weights = bytearray((place / "out" / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (place / "out" / WEIGHTS).write_bytes(weights)
    assert run(["push", "out", "me/out"]) == 3
    assert "was changed" in capsys.readouterr().err
    (place / "empty").mkdir()
    assert run(["push", "empty", "me/out"]) == 3
    assert run(["push", "missing", "me/out"]) == 5
    assert run(["push", "a", "me"]) == 2
    assert not hub.repos


def test_inputs_are_compared_with_the_hub(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/a", write_adapter(tmp_path / "a"))
    succeeds(capsys, "merge", "me/a", "-o", "one", "--verify-inputs")
    (blob,) = hub.cache.rglob(WEIGHTS)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    for option in ([], ["--verify-inputs"]):
        assert run(["merge", "me/a", "-o", "two", *option]) == 3
        assert "is damaged: its hash is" in capsys.readouterr().err
        assert not (place / "two").exists()
    assert run(["show", "me/a", "--spectrum", "--verify-inputs"]) == 3


def test_a_damaged_config_in_the_cache(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/a", write_adapter(tmp_path / "a"))
    succeeds(capsys, "show", "me/a")
    (path,) = hub.cache.rglob("adapter_config.json")
    path.write_text(json.dumps(config(2, lora_alpha=64)))
    assert run(["show", "me/a", "--verify-inputs"]) == 3
    assert "is damaged: its hash is" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", '{"x": 1e999}', "[" * 900 + "]" * 900])
@pytest.mark.parametrize("name", ["adapterops.json", "adapter_config.json"])
def test_what_no_command_would_read_is_not_pulled(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    folder = write_adapter(tmp_path / "adapter")
    (folder / name).write_text(text)
    hub.put("me/adapter", folder)
    monkeypatch.chdir(tmp_path)
    assert run(["pull", "me/adapter", "-o", "out"]) == 3
    assert name in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_cache_whose_branch_names_no_commit(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/a", write_adapter(tmp_path / "a"))
    succeeds(capsys, "merge", "me/a", "-o", str(tmp_path / "out"))
    (branch,) = hub.cache.rglob("refs/main")
    branch.write_bytes(b"\xff\xfe")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert run(["show", "me/a"]) == 5
    assert "Traceback" not in capsys.readouterr().err


def test_files_alone_and_numbers_in_them(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file(write_adapter(tmp_path / "a") / WEIGHTS)
    alphas = {name.replace(".lora_A.weight", ".alpha"): torch.tensor(3.0) for name in tensors if "lora_A" in name}
    save_file({**tensors, **alphas}, tmp_path / "lone.safetensors")
    hub.put("me/files", {"deep/er/lone.safetensors": (tmp_path / "lone.safetensors").read_bytes()})
    shown, _ = succeeds(capsys, "show", "hf://me/files/deep/er/lone.safetensors")
    assert " 3 " in shown
    assert not [each for each in hub.asked("GET .*safetensors$") if not each.range]
    succeeds(capsys, "truncate", "me/files:deep/er/lone.safetensors", "--rank", "1")
    assert (place / "lone-r1").is_dir()


def test_large_files_come_from_another_host_which_gets_no_token(
    hub: Hub, place: Path, tmp_path: Path, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.elsewhere = True
    hub.put("me/a", write_adapter(tmp_path / "a"), private=True)
    assert "3 modules" in succeeds(capsys, "show", "me/a")[0]
    assert [each.range for each in hub.asked("GET /cdn/")] == ["bytes=0-1143"]
    succeeds(capsys, "pull", "me/a")
    assert tree(place / "a")[WEIGHTS] == tree(tmp_path / "a")[WEIGHTS]
    assert all(each.authorized for each in hub.asked("/resolve/"))
    assert not any(each.authorized for each in hub.asked("/cdn/"))


def test_what_is_private(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("me/a", write_adapter(tmp_path / "a"), private=True)
    assert run(["show", "me/a"]) == 5
    assert "is private, or does not exist" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", SECRET)
    succeeds(capsys, "show", "me/a")


def test_no_room_is_said_before_anything_is_downloaded(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapterops.hub import snapshot

    hub.put("me/a", write_adapter(tmp_path / "a"))
    monkeypatch.setattr(snapshot, "SPARE", 1 << 60)
    for option in ([], ["--dry-run"]):
        assert run(["merge", "me/a", "-o", "out", *option]) == 7
        assert "bytes are free in the Hub's cache" in capsys.readouterr().err
    assert not [each for each in hub.asked("GET .*safetensors$") if not each.range]


def test_other_files_of_a_repository_stay_there(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/base", write_base(tmp_path / "base"))
    hub.put(
        "me/base",
        {
            "model.onnx_data": b"large",
            "pytorch_model.bin": b"pickle",
            "original/x.safetensors": b"",
            "photo.png": b"",
            "LICENSE": b"mit",
        },
    )
    hub.put("me/tuned", write_tuned(tmp_path / "tuned"))
    succeeds(capsys, "fuse", "me/base", "me/tuned", "-o", "out")
    assert {path.name for path in (place / "out").iterdir()} >= {"LICENSE", "tokenizer.json", "config.json"}
    assert not hub.asked("onnx|bin|original|photo")


def test_a_recipe_of_the_hub_is_pinned_and_pushed(
    hub: Hub, place: Path, tmp_path: Path, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = hub.put("me/a", write_adapter(tmp_path / "a"), inner="sub", ref="v2")
    write_adapter(place / "b", seed=1)
    succeeds(capsys, "calc", "0.5*a + b", "a=me/a@v2:sub", "b=b", "-o", "out", "--verify-inputs")
    recipe = (place / "out/recipe.yaml").read_text()
    assert f"hf://me/a@{commit}/sub" in recipe
    hub.put("me/a", write_adapter(tmp_path / "c", seed=2), inner="sub", ref="v2")
    succeeds(capsys, "run", "out/recipe.yaml", "-o", "again")
    assert tree(place / "again")[WEIGHTS] == tree(place / "out")[WEIGHTS]
    (place / "recipe.yaml").write_text(recipe.replace("../b", "b") + "push: {repo: me/made, private: true}\n")
    told = json.loads(succeeds(capsys, "run", "recipe.yaml", "-o", "third", "--json")[0])
    assert "me/made" in told["pushed"]
    assert hub.repos["me/made"].private
    assert hub.files("me/made")["recipe.yaml"] == (place / "third/recipe.yaml").read_bytes()
    (place / "again/recipe.yaml").write_text(recipe.replace("../b", "/home/me/b"))
    assert "absolute paths" in succeeds(capsys, "push", "again", "me/other")[1]
    assert "recipe.yaml" not in hub.files("me/other")


def test_adapters_on_the_hub_are_compared(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/a", write_tuned(tmp_path / "a"))
    hub.put("me/b", write_tuned(tmp_path / "b", seed=1))
    hub.put("me/base", write_base(tmp_path / "base"))
    succeeds(capsys, "compare", "me/a", "me/b")
    succeeds(capsys, "report", "me/a", "me/b", "--base", "me/base")
    assert "me/a" in (place / "report.html").read_text()
    assert str(hub.cache) not in (place / "report.html").read_text()


def test_the_page_tells_the_truth(
    hub: Hub, place: Path, tmp_path: Path, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("owner/adapter", write_tuned(tmp_path / "a"), ref="v2")
    hub.put("owner/adapter", tmp_path / "a")
    hub.put("owner/a", tmp_path / "a")
    hub.put("owner/b", write_tuned(tmp_path / "b", seed=1), inner="subfolder", ref="v2")
    hub.put("owner/base", write_base(tmp_path / "base"))
    text = (Path(__file__).parents[2] / "docs/hub.md").read_text(encoding="utf-8")
    commands = [
        line.partition("#")[0].split()
        for line in text.splitlines()
        if line.startswith("adapterops") and "owner/" in line
    ]
    asked = {command[1] for command in commands} - {"card"}  # of the two pages one has room for it
    assert asked == {"show", "merge", "fuse", "push", "pull"}
    for command in commands:
        succeeds(capsys, *command[1:])


def test_the_example_publishes(
    hub: Hub, place: Path, tmp_path: Path, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(("a", "b")):
        hub.put(f"me/{name}", write_tuned(tmp_path / name, seed=seed))
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples/publish.py"))
    example["main"]("me/a", "me/b", "me/merged", "merged")
    assert "me/merged" in capsys.readouterr().out
    assert MARK in hub.files("me/merged")["README.md"].decode()


def test_the_library_opens_what_the_hub_has(hub: Hub, tmp_path: Path) -> None:
    hub.put("me/a", write_adapter(tmp_path / "a"))
    found, wanted = ao.open_adapter(ao.locate("me/a")), ao.open_adapter(tmp_path / "a")
    assert all(
        torch.equal(entries(found.updates[module]), entries(wanted.updates[module])) for module in wanted.updates
    )


def test_nothing_local_imports_the_client(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    code = "import sys\nfrom adapterops.cli.main import run\nassert run(sys.argv[1:]) == 0\nassert 'huggingface_hub' not in sys.modules"
    for arguments in (
        ["--help"],
        ["push", "--help"],
        ["pull", "--help"],
        ["show", "a"],
        ["merge", "a", "a", "--dry-run"],
        ["merge", "a"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_in_a_process_of_its_own(hub: Hub, place: Path, tmp_path: Path) -> None:
    """As a person runs it:
    the endpoint from the environment, no other host, the token in nothing that is printed or written.
    """
    hub.put("me/a", write_adapter(tmp_path / "a"))
    code = LOCAL_ONLY + "from adapterops.cli.main import main\nmain()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": SECRET,
        "HF_HUB_DISABLE_XET": "1",
    }
    output = ""
    for arguments in (
        ["merge", "me/a", "me/a", "-o", "out"],
        ["push", "out", "me/out"],
        ["pull", "me/out", "-o", "back"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        output += done.stdout + done.stderr
    assert len(hub.repos["me/out"].history()) == 2
    assert tree(place / "back")[WEIGHTS] == tree(place / "out")[WEIGHTS]
    assert SECRET not in output
    assert all(each.authorized for each in hub.asked("POST .*/commit/"))
    assert all(SECRET.encode() not in path.read_bytes() for path in place.rglob("*") if path.is_file())


def test_both_ways_through_xet(
    hub: Hub,
    place: Path,
    tmp_path: Path,
    token: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hf_xet = pytest.importorskip("hf_xet")
    if not hasattr(hf_xet, "XetSession"):
        pytest.skip("this hf_xet has no local store")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.xet = tmp_path / "store"
    hub.xet.mkdir()
    write_adapter(place / "a", rank=64, out=3000, into=3000)
    succeeds(capsys, "push", "a", "me/a")
    assert not hub.asked("PUT|objects/batch")
    assert len(hub.repos["me/a"].history()) == 2
    assert "nothing new" in succeeds(capsys, "push", "a", "me/a")[0]
    hub.learn(place / "a")
    succeeds(capsys, "pull", "me/a", "-o", "back")
    assert tree(place / "back")[WEIGHTS] == tree(place / "a")[WEIGHTS]
    assert not [each for each in hub.asked("GET .*safetensors$") if not each.range], "the bytes came from the store"
