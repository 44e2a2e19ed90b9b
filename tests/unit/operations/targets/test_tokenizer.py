from __future__ import annotations

from pathlib import Path

import pytest

from adapterops.errors import AdapterWarning
from adapterops.operations.targets.tokenizer import agreed_tokenizer
from adapterops.provenance.history import Source, Step, sources, with_tokenizer


def source(folder: Path, **files: str) -> Source:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text)
    return Source(folder, (), tokenizer=tuple(sorted(folder.iterdir())))


def test_the_tokenizers_of_several_adapters_have_to_agree(tmp_path: Path) -> None:
    one, two = source(tmp_path / "a", tokenizer="1", vocab="2"), source(tmp_path / "b", tokenizer="1", added_tokens="3")
    found = agreed_tokenizer(Step("merge", {}, (one, two)))
    assert {name: path.parent.name for name, path in found.items()} == {
        "tokenizer.json": "a",
        "vocab.json": "a",
        "added_tokens.json": "b",
    }
    other = source(tmp_path / "c", tokenizer="4")
    with pytest.warns(AdapterWarning, match="differ: the model keeps the base's tokenizer"):
        assert agreed_tokenizer(Step("merge", {}, (one, other))) == {}


def test_files_that_go_along_belong_to_the_inputs(tmp_path: Path) -> None:
    one = source(tmp_path / "a", tokenizer="1", vocab="2")
    (taking,) = sources(with_tokenizer(Step("scale", {}, (one,)), {"vocab.json"}))
    assert [path.name for path in taking.others] == ["vocab.json"]
    assert with_tokenizer(one, {}) is one
