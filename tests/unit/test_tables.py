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
def file(tmp_path: Path) -> Path:
    (tmp_path / "some.txt").write_text(WRITTEN, encoding="utf-8")
    return tmp_path / "some.txt"


def test_what_is_indented_holds_for_the_words_above_it(file: Path) -> None:
    rules = tables.ruled(file, "RULES")
    assert rules == {"one": ("a => b", "[c] d"), "two": ("a => b", "[c] d"), "three": ("a => b", "[c] d", "e")}


def test_words_may_have_nothing_below(file: Path) -> None:
    assert tables.ruled(file, "WORDS") == {"one": (), "two": (), "four": ()}


def test_a_table_is_what_follows_its_title(file: Path) -> None:
    assert list(tables.texts(file)) == ["RULES", "WORDS"]
    assert tables.texts(file)["WORDS"].split() == ["one", "two", "four"]
