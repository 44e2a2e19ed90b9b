from __future__ import annotations

from pathlib import Path

import pytest

from adapterops import tables

WRITTEN = """What is above the first title is for people.

[RULES] What it says.
one two
three
    a => b
    [c] d
three
    e

[WORDS] Words with nothing below.
one two
four

"""


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "some.txt").write_text(WRITTEN, encoding="utf-8")
    monkeypatch.setattr(tables, "files", lambda package: tmp_path / package)
    return "some.txt"


def test_what_is_indented_holds_for_the_words_above_it(name: str) -> None:
    rules = tables.ruled(".", name, "RULES")
    assert rules == {"one": ("a => b", "[c] d"), "two": ("a => b", "[c] d"), "three": ("a => b", "[c] d", "e")}


def test_words_may_have_nothing_below(name: str) -> None:
    assert tables.ruled(".", name, "WORDS") == {"one": (), "two": (), "four": ()}


def test_text_is_what_follows_a_title(name: str) -> None:
    assert tables.text(".", name, "WORDS").split() == ["one", "two", "four"]
    with pytest.raises(KeyError):
        tables.text(".", name, "NONE")
