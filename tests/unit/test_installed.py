"""What is installed is found as the standard library finds it, and without it where that can be."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from adapterops.installed import _texts, points, version


def test_a_version_is_what_the_library_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("adapterops", "numpy", "pytest"):
        assert version(name) == metadata.version(name)
    info = tmp_path / "toy-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: toy\nVersion: 1.2+local\n\nVersion: 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert version("toy") == metadata.version("toy") == "1.2+local"
    with pytest.raises(metadata.PackageNotFoundError):
        version("no-such-toy")


def test_a_version_is_known_without_the_library() -> None:
    code = "import sys, adapterops; print(adapterops.__version__, 'importlib.metadata' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [metadata.version("adapterops"), "False"]


def test_packages_are_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["/no such folder", *sys.path])  # which nobody has asked for
    counted: list[int] = []
    found, entry_points = list(metadata.entry_points(group="console_scripts")), metadata.entry_points
    monkeypatch.setattr(metadata, "entry_points", lambda: (counted.append(1), entry_points())[1])
    assert sorted(points("console_scripts")) == sorted(found)
    assert (list(points("no such group")), counted) == ([], [1])


def test_packages_are_looked_for_without_the_library_where_none_names_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "toy-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: toy\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[toys]\nball = toy:ball\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [point.name for point in points("toys")] == ["ball"]
    real = metadata.entry_points
    monkeypatch.setattr(metadata, "entry_points", lambda: pytest.fail("the library was asked"))
    assert list(points("no toys")) == []
    archive = tmp_path / "packages.zip"
    archive.write_bytes(b"")
    monkeypatch.setattr(metadata, "entry_points", real)
    monkeypatch.syspath_prepend(str(archive))  # what is in it, the library knows
    assert _texts(tuple(sys.path)) is None
    assert [point.name for point in points("toys")] == ["ball"]
