"""Members of our own are found by themselves; what another package breaks is named."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from adapterops.errors import AdapterWarning
from adapterops.registry import Registry


def registry(monkeypatch: pytest.MonkeyPatch, *there: metadata.EntryPoint) -> Registry[str]:
    monkeypatch.setattr("adapterops.registry.points", lambda group: there)
    return Registry("toy", "adapterops.methods.families", "adapterops.toys")


def test_a_name_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    toys = registry(monkeypatch)
    toys.add("bear", "brown")
    assert (toys["bear"], list(toys), len(toys), "bear" in toys, "doll" in toys) == ("brown", ["bear"], 1, True, False)
    with pytest.raises(ValueError, match="there is already a toy 'bear'"):
        toys.add("bear", "white")
    toys.remove("bear")
    assert not toys


def test_a_package_that_cannot_be_imported_is_named_and_all_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [metadata.EntryPoint(name, f"no_such_package.{name}", "adapterops.toys") for name in ("ball", "doll")]
    toys = registry(monkeypatch, *points)
    toys.add("bear", "brown")
    with pytest.warns(AdapterWarning) as warned:
        assert list(toys) == ["bear"]
    assert [str(each.message).partition(": No module")[0] for each in warned] == [
        f"the toy {name} of another package is not there: it cannot be loaded from no_such_package.{name}"
        for name in ("ball", "doll")
    ]
    assert list(toys) == ["bear"]


def test_a_package_that_ends_python_when_it_is_imported_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_that_exits.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    toys = registry(monkeypatch, metadata.EntryPoint("doll", "toy_that_exits", "adapterops.toys"))
    with pytest.warns(AdapterWarning, match="the toy doll of another package is not there"):
        assert not toys


def test_of_a_package_that_fails_nothing_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_half.py").write_text("import toys_here\ntoys_here.TOYS.add('half', 'a')\n1 / 0\n")
    (tmp_path / "toys_here.py").write_text("TOYS = None\n")
    info = tmp_path / "toy_maker-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: toy-maker\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[adapterops.toys]\nhalf = toy_half\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    toys: Registry[str] = Registry("toy", "adapterops.methods.families", "adapterops.toys")
    monkeypatch.setattr("toys_here.TOYS", toys)
    toys.add("bear", "brown")
    with pytest.warns(AdapterWarning, match="the toy half of the package toy-maker is not there.*division by zero"):
        assert list(toys) == ["bear"]
