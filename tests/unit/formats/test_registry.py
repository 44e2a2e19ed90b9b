"""Exactly one format claims what is at a place."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import write_adapter

from adapterops.errors import InputError, NotFoundError
from adapterops.formats.registry import DEFAULT, FORMATS, WritableFormat, format_of, read_adapter, written
from adapterops.storage.place import Place


def test_a_format_that_is_written_can_be_read() -> None:
    assert written().keys() <= {*FORMATS}
    assert DEFAULT in written()
    assert all(isinstance(each, WritableFormat) for each in written().values())


def test_the_format_of_a_place(tmp_path: Path) -> None:
    place = Place.of(write_adapter(tmp_path / "a"))
    assert format_of(place) == "peft"
    assert len(read_adapter(place).modules) == 3
    assert format_of(Place.of(tmp_path / "none")) == DEFAULT
    with pytest.raises(NotFoundError):
        read_adapter(Place.of(tmp_path / "none"))


def test_a_place_that_two_formats_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place.of(write_adapter(tmp_path / "a"))
    monkeypatch.setattr(type(FORMATS["mlx"]), "claims", lambda self, place: True)
    with pytest.raises(InputError, match="could be mlx or peft") as caught:
        format_of(place)
    assert caught.value.code == "E-FORMAT"
