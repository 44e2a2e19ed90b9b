"""What is inside a collection."""

from __future__ import annotations

from pathlib import Path

import pytest
from collections_of import MODULES, adapters, collection

import adapterops as ao
from adapterops.operations.collections import holds_collection, inspect_collection, member_names
from adapterops.storage.place import Place


def test_every_adapter_is_listed_with_its_errors(tmp_path: Path) -> None:
    paths = adapters(tmp_path)
    done = ao.compress({name: ao.open_adapter(path) for name, path in paths.items()}, tmp_path / "coll", error=0.03)
    found = inspect_collection(tmp_path / "coll")
    assert found.error == 0.03
    assert found.size == done.bytes
    assert found.modules == done.modules
    assert {name: member.error for name, member in found.members.items()} == pytest.approx(dict(done.errors))
    assert {member.base_model for member in found.members.values()} == {"owner/base"}
    assert all(member.modules.keys() == MODULES.keys() for member in found.members.values())
    assert max(max(member.modules.values()) for member in found.members.values()) == pytest.approx(done.worst[0])
    assert member_names(Place.of(tmp_path / "coll")) == list(paths)


def test_one_of_its_adapters_is_no_collection(tmp_path: Path) -> None:
    paths = adapters(tmp_path, 2)
    place = collection(tmp_path, paths)
    assert holds_collection(Place.of(place))
    assert holds_collection(Place.of(place / "collection.safetensors"))
    for other in (f"{place}#task0", paths["task0"], tmp_path / "none"):
        assert not holds_collection(Place.of(other))
