"""tests/unit mirrors the package file by file: a module's tests are where its path says."""

from __future__ import annotations

import ast
from pathlib import Path

import adapterops

PACKAGE, UNIT = Path(adapterops.__file__).parent, Path(__file__).parent

OF_THE_PACKAGE = {"test_layers.py", "test_mirror.py", "test_words.py"}
"""Tests of no single module."""


def has_code(path: Path) -> bool:
    """Whether a module defines or does anything, beyond its docstring and what it takes from elsewhere."""
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not isinstance(each, ast.Import | ast.ImportFrom | ast.Expr | ast.Assign) for each in statements)


TESTS = {path.relative_to(UNIT).as_posix() for path in UNIT.rglob("test_*.py")} - OF_THE_PACKAGE


def mirrored(module: str) -> str:
    """The file that holds the tests of a module."""
    path = Path(module)
    return (path.parent / f"test_{path.name}").as_posix()


def test_every_module_has_its_tests() -> None:
    modules = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py") and has_code(path)
    }
    assert len(modules) > 400
    missing = {module for module in modules if mirrored(module) not in TESTS}
    assert not missing, "write tests/unit/<room>/test_<module>.py"


def test_every_test_has_its_module() -> None:
    expected = {mirrored(path.relative_to(PACKAGE).as_posix()) for path in PACKAGE.rglob("*.py")}
    assert not TESTS - expected, "a module was moved or renamed: move its tests, too"
