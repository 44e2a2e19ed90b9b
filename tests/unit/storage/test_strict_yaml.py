"""YAML with one meaning, and where each value stands."""

from __future__ import annotations

import pytest

from adapterops.errors import InputError
from adapterops.storage.strict_yaml import DEPTH, VALUES, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: [1, -2.5, 1e3, .5]", {"a": [1, -2.5, 1000.0, 0.5]}),
        ("a: {b: ~, c: null, d: }", {"a": {"b": None, "c": None, "d": None}}),
        ("- true\n- False\n- 'no'\n- \"0x1\"", [True, False, "no", "0x1"]),
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
        ("\ufeffx: runs/a", {"x": "runs/a"}),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse_yaml(text.encode())[0] == value


@pytest.mark.parametrize(
    "plain", ["no", "On", "017", "0x1f", "12:30", "2024-01-01", "1_000", ".inf", "<<", "99999999999999999999"]
)
def test_what_versions_of_yaml_read_differently(plain: str) -> None:
    with pytest.raises(InputError, match="line 1, column 4") as caught:
        parse_yaml(f"a: {plain}".encode())
    assert "in quotes" in str(caught.value.hint)
    assert parse_yaml(f"a: '{plain}'".encode())[0] == {"a": plain}


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("a: 1\na: 2", "line 2, column 1: the key 'a' appears twice"),
        ("1: a", "the key 1 is not text"),
        ("a: &x 1\nb: *x", "&x|alias|anchor"),
        ("a: !!str 1", "tag"),
        ("a: 1\n---\nb: 2", "a second document begins here"),
        ("", "is empty"),
        ("a: b: c", "is not YAML"),
        ("[" * (DEPTH + 2) + "]" * (DEPTH + 2), "deep"),
        ("[" + "1," * (VALUES + 1) + "]", "values"),
        ("a: \x07", "U\\+0007"),
    ],
)
def test_what_is_refused(text: str, fact: str) -> None:
    with pytest.raises(InputError, match=fact):
        parse_yaml(text.encode())
    with pytest.raises(InputError, match="is not UTF-8"):
        parse_yaml(b"a: \xff")


def test_every_value_has_its_place() -> None:
    marks = parse_yaml(b"a:\n  - x\n  - {b: 1}\n")[1]
    assert marks[("a",)] == (1, 1)
    assert (marks["a", 0], marks["a", 1, "b"]) == ((2, 5), (3, 6))
