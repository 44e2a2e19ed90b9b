"""What is taken for a path, and what for a name on the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterops.errors import OptionError
from adapterops.hub.references import Reference, choose, parse

ENDS = (".bin", ".pt", ".json", ".gguf")
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.]{0,20}", fullmatch=True).filter(
    lambda name: ".." not in name and not name.endswith(ENDS)
)
folders = st.lists(names, max_size=3).map("/".join)
revisions = st.one_of(st.none(), names, st.integers(1, 99).map("refs/pr/{}".format))


@given(names, names, revisions, folders)
def test_what_is_printed_is_read_again(owner: str, name: str, revision: str | None, inner: str) -> None:
    reference = Reference(f"{owner}/{name}", revision, inner)
    assert parse(str(reference)) == reference
    long = f"hf://{reference.repo}" + (f"@{revision}" if revision else "") + (f"/{inner}" if inner else "")
    assert parse(long) == parse(long.replace("hf://", "hf://models/")) == reference


@pytest.mark.parametrize(
    "text",
    [
        "a",
        ".",
        "./a/b",
        "/a/b",
        "~/a",
        "../a/b",
        "a/b/c",
        "a/b.safetensors",
        "a/",
        "a b/c",
        "a/b@",
        "a/b:",
        "a--b/c",
        "-a/b",
        "a/b:../c",
        "é/b",
        "",
    ],
)
def test_paths(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "text", ["hf://", "hf://a", "hf://a/b/../c", "hf:///a/b", "hf://datasets/a", "hf://a b/c", "hf://me:secret@host/a"]
)
def test_no_references(text: str) -> None:
    with pytest.raises(OptionError, match="not a reference"):
        parse(text)


def test_an_encoded_revision() -> None:
    assert parse("hf://me/a@refs%2Fpr%2F3/sub") == Reference("me/a", "refs/pr/3", "sub")


def test_what_is_here_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert choose("me/a") == Reference("me/a")
    (tmp_path / "me").mkdir()
    assert choose("me/a") == Path("me/a")
    assert choose("me/a@v2") == Path("me/a@v2")
    (tmp_path / "me/a").mkdir()
    assert choose("me/a") == Path("me/a")
    assert choose("hf://me/a") == Reference("me/a")
    assert choose("~/a") == Path.home() / "a"
    assert choose("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")
