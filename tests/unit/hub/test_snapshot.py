"""One commit of a repository: which of its files count, where they are, and whether they are what the Hub has."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import write_adapter
from hub_server import Hub
from huggingface_hub import constants, hf_hub_download

import adapterops as ao
from adapterops.errors import InputError, NotFoundError, ResourceError
from adapterops.hub.references import Reference
from adapterops.hub.snapshot import Known, Snapshot, locate, wanted

COMMIT = "0123456789" * 4


def snapshot(root: Path, files: dict[str, Known], inner: str = "") -> Snapshot:
    return Snapshot(Reference("me/a", None, inner), COMMIT, root, files)


def test_files_of_a_model_count(tmp_path: Path) -> None:
    found = snapshot(
        tmp_path, {"a.safetensors": Known(1), "a.onnx": Known(2), "a.png": Known(3), "sub/b.json": Known(4)}
    )
    assert {path.relative_to(tmp_path).as_posix() for path in found.sizes} == {"a.safetensors", "sub/b.json"}
    inside = snapshot(tmp_path, {"a.safetensors": Known(1), "sub/b.json": Known(4), "subway/c.json": Known(5)}, "sub")
    assert {path.relative_to(tmp_path).as_posix() for path in inside.sizes} == {"sub/b.json"}


def test_no_room(tmp_path: Path) -> None:
    snapshot(tmp_path, {}).check_room(1)
    with pytest.raises(ResourceError, match="are free in the Hub's cache"):
        snapshot(tmp_path, {}).check_room(1 << 60)


def test_a_small_file_is_compared_by_git_s_hash(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"")
    empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    snapshot(tmp_path, {"a.json": Known(0, None, empty)}).verify(tmp_path / "a.json")
    with pytest.raises(InputError, match="is damaged"):
        snapshot(tmp_path, {"a.json": Known(0, None, "0" * 40)}).verify(tmp_path / "a.json")
    with pytest.raises(NotFoundError, match="HF_HUB_OFFLINE is set"):
        snapshot(tmp_path, {"a.json": Known(0)}).verify(tmp_path / "a.json")


def test_the_cache_is_the_one_that_every_program_uses(hub: Hub, tmp_path: Path) -> None:
    hub.put("me/a", write_adapter(tmp_path / "a"))
    place = locate("hf://me/a")
    for path in wanted(place):
        assert not path.exists()
        assert place.here(path) == Path(hf_hub_download("me/a", path.name, endpoint=hub.url)), (
            "the client finds it where we look"
        )
    assert {path.name for path in wanted(place)} == {"adapter_model.safetensors", "adapter_config.json"}


def test_names_that_are_no_paths_are_left_out(hub: Hub, tmp_path: Path) -> None:
    hub.put("me/a", {"adapter_config.json": b"{}", "../out.json": b"x", ".git/config.json": b"x", "a\\b.json": b"x"})
    place = locate("hf://me/a")
    assert place.remote is not None
    assert [path.name for path in place.remote.sizes] == ["adapter_config.json"]
    assert all(str(path).startswith(str(Path(constants.HF_HUB_CACHE).resolve())) for path in place.remote.sizes)


def test_a_folder_that_is_not_there(hub: Hub) -> None:
    hub.put("me/a", {"adapter_config.json": b"{}"})
    with pytest.raises(NotFoundError, match=r"has no sub; it has adapter_config\.json") as caught:
        locate("hf://me/a/sub")
    assert caught.value.hint == "name a folder that it has, or leave sub out"


def test_a_commit_as_messages_show_it_is_taken(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Hub takes whole commits alone, and what is printed is the beginning of one."""
    hub.put("me/a", write_adapter(tmp_path / "a"), inner="sub")
    first = locate("me/a:sub")
    hub.put("me/a", {"README.md": b"later"})
    assert (locate(str(first)).path, locate("me/a:sub").path == first.path) == (first.path, False)
    capsys.readouterr()
    locate(f"me/a@{first.remote.revision}")
    assert not capsys.readouterr().err, "what was asked for is said again"
    with pytest.raises(NotFoundError, match="no such revision"):
        locate(f"me/a@{'0' * 12}")


def test_the_config_next_to_a_file_counts(hub: Hub, tmp_path: Path) -> None:
    """As it does of a file here: it states the scale."""
    hub.put("me/a", write_adapter(tmp_path / "a"), inner="sub")
    file, folder = (ao.open_adapter(locate(f"me/a:sub{end}")) for end in ("/adapter_model.safetensors", ""))
    assert {each.scale for each in file.updates.values()} == {each.scale for each in folder.updates.values()}
    assert file.config.base_model == folder.config.base_model
