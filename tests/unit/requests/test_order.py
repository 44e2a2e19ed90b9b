"""Which of two models is the base, as far as a manifest says."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run
from adapterops.errors import AdapterWarning, NotFoundError, OptionError
from adapterops.requests.order import base_of


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    assert run(["fuse", "base", "a", "-o", "fused"]) == 0
    return tmp_path


def test_what_is_named_as_the_base_is_it(place: Path) -> None:
    assert base_of("fused", None, "base") == "base"
    assert base_of("base", None, "elsewhere") == "elsewhere"


def test_a_manifest_shows_the_order(place: Path) -> None:
    assert base_of("fused", "base", None) == "base"
    assert base_of("fused", "./base", None) == "./base"
    with pytest.raises(OptionError, match="base is the base of fused, which was fused from it") as found:
        base_of("base", "fused", None)
    assert found.value.hint == "adapterops extract fused --base base"


def test_without_one_the_base_has_to_be_named(place: Path) -> None:
    write_base(place / "other", seed=1)
    with pytest.raises(OptionError, match="no manifest says which of other and base is the base"):
        base_of("other", "base", None)


@pytest.mark.parametrize(("other", "base"), [(None, None), ("base", "base")])
def test_one_base(place: Path, other: str | None, base: str | None) -> None:
    with pytest.raises(OptionError, match="the base that it is compared with is missing"):
        base_of("fused", other, base)


def test_the_negative_is_noticed(place: Path) -> None:
    with pytest.warns(AdapterWarning, match="the negative of what was added"):
        assert base_of("base", None, "fused") == "fused"


def test_what_is_not_there_is_said_first(place: Path) -> None:
    with pytest.raises(NotFoundError, match="bose: does not exist"):
        base_of("fused", "bose", None)
    write_base(place / "my other", seed=1)
    with pytest.raises(OptionError, match="no manifest says") as found:
        base_of("base", "my other", None)
    assert found.value.hint == "if it is my other: adapterops extract base --base 'my other'"


def test_a_damaged_manifest_says_nothing(place: Path) -> None:
    (place / "fused/adapterops.json").write_text("{")
    with pytest.raises(OptionError, match="no manifest says"):
        base_of("fused", "base", None)
