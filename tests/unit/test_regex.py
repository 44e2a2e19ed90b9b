"""A regular expression is compiled once, when it is used."""

from __future__ import annotations

import re

import pytest

from adapterops.regex import Regex


def test_it_does_what_a_compiled_one_does() -> None:
    text = r"(?P<name>[a-z]+)\.(?P<number>\d+)"
    late, compiled = Regex(text, re.IGNORECASE), re.compile(text, re.IGNORECASE)
    assert late.pattern == text
    for given in ("Layers.12", "layers", "x.1 y.2"):
        assert late.findall(given) == compiled.findall(given)
        assert bool(late.fullmatch(given)) == bool(compiled.fullmatch(given))
    assert late.sub("_", "a.1 B.2") == "_ _"
    assert late.split("a.1|B.2") == compiled.split("a.1|B.2")
    assert [found[0] for found in late.finditer("a.1 B.2")] == ["a.1", "B.2"]
    assert late.compiled == compiled


def test_it_is_compiled_once_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = re.compile
    monkeypatch.setattr(re, "compile", lambda text, flags=0: (compiled.append(text), real(text, flags))[1])
    late = Regex("a+")
    assert (late.pattern, compiled) == ("a+", [])
    assert [bool(late.match(text)) for text in ("aa", "b")] == [True, False]
    assert late.search("ba") is not None
    assert compiled == ["a+"]


def test_one_that_is_wrong_says_so_when_it_is_used() -> None:
    with pytest.raises(re.error, match="unterminated"):
        Regex("(").match("a")
