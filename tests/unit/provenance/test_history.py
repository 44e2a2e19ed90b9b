"""Inputs, and what becomes of files of theirs that change while they are used."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import write_adapter

import adapterops as ao
from adapterops.errors import InputError, NotFoundError
from adapterops.provenance import history
from adapterops.provenance.history import Source


def test_a_file_that_is_gone_between_two_looks_at_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ao.open_adapter(write_adapter(tmp_path / "a")).history
    assert isinstance(source, Source)

    def gone(path: Path, *algorithms: str) -> dict[str, str]:
        raise NotFoundError("does not exist", path=path)

    monkeypatch.setattr(history, "file_digests", gone)
    with pytest.raises(InputError, match="changed while it was read") as caught:
        source.as_json()
    assert caught.value.code == "E-CHANGED"


def test_a_mask_depends_on_what_is_left_out_and_not_on_why(tmp_path: Path) -> None:
    a = ao.open_adapter(write_adapter(tmp_path / "a"))
    keys = [
        history.key(ao.drop(a, reasons).history)
        for reasons in ({"layers.0": "x"}, {"layers.0": "y"}, {"layers.1": "x"})
    ]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]
