"""An adapter of a collection, opened as any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from collections_of import MODULES, adapters, collection
from hub_server import Hub

import adapterops as ao
from adapterops.errors import InputError, NotFoundError, OptionError
from adapterops.formats.registry import FORMATS, format_of, read_adapter, written
from adapterops.provenance.history import key
from adapterops.storage.place import Place


def test_a_collection_is_claimed_by_its_format_alone(tmp_path: Path) -> None:
    place = collection(tmp_path, adapters(tmp_path, 2))
    for each in (place, place / "collection.safetensors", f"{place}#task1"):
        assert format_of(Place.of(each)) == "collection"
        assert [name for name, format in FORMATS.items() if format.claims(Place.of(each))] == ["collection"]


def test_one_of_it_is_an_adapter(tmp_path: Path) -> None:
    place = collection(tmp_path, adapters(tmp_path, 2))
    for path in (f"{place}#task1", f"{place / 'collection.safetensors'}#task1"):
        files = read_adapter(Place.of(path))
        assert files.modules.keys() == MODULES.keys()
        assert {scaling.scale for scaling in files.scalings.values()} == {1.0}
    assert str(Place.of(f"{place}#task1")) == f"{place}#task1"


def test_a_collection_itself_is_no_adapter_and_no_model(tmp_path: Path) -> None:
    place = collection(tmp_path, adapters(tmp_path, 2))
    with pytest.raises(InputError, match=r"collection of 2 adapters") as caught:
        ao.open_adapter(place)
    assert f"{place}#task0" in str(caught.value.hint)
    for each in (place, place / "collection.safetensors", f"{place}#task0"):
        with pytest.raises(InputError, match="is a collection of adapters, where a model is expected"):
            ao.open_checkpoint(each)


def test_one_on_the_hub_is_downloaded_first(tmp_path: Path, hub: Hub) -> None:
    hub.put("me/many", collection(tmp_path, adapters(tmp_path, 2)))
    place = ao.locate("me/many")
    with pytest.raises(InputError, match=r"collection of 2 adapters") as caught:
        ao.open_adapter(place)
    assert caught.value.hint == f"download it, and name one: adapterops pull {place} -o many, and many#task0"
    ao.pull(str(place), tmp_path / "many")
    assert len(ao.open_adapter(f"{tmp_path}/many#task0").layout) == len(MODULES)


def test_the_sign_is_for_collections_alone(tmp_path: Path) -> None:
    paths = adapters(tmp_path, 1)
    with pytest.raises(NotFoundError, match="#x"):
        ao.open_adapter(f"{paths['task0']}#x")
    named = tmp_path / "a#b"
    paths["task0"].rename(named)
    assert ao.open_adapter(named).layout.keys() == MODULES.keys()


def test_it_is_read_and_written_by_compress_alone(tmp_path: Path) -> None:
    assert "collection" not in written()
    adapter = ao.open_adapter(adapters(tmp_path, 1)["task0"])
    with pytest.raises(OptionError, match="no format 'collection' to write"):
        ao.save_adapter(adapter, tmp_path / "out", format="collection")


def test_two_of_one_collection_have_random_masks_of_their_own(tmp_path: Path) -> None:
    place = collection(tmp_path, adapters(tmp_path, 2))
    one, other, again = (ao.open_adapter(f"{place}#{name}") for name in ("task0", "task1", "task0"))
    assert key(one.history) != key(other.history)
    assert key(one.history) == key(again.history)
