from __future__ import annotations

from pathlib import Path

import pytest

from adapterops.errors import InputError
from adapterops.formats.models.tokenizers import tokenizer_files
from adapterops.storage.place import Place


def test_files_of_a_tokenizer_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "added_tokens.json", "notes.txt", "adapter_config.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "vocab.txt").mkdir()
    weights = tmp_path / "adapter_model.safetensors"
    assert [path.name for path in tokenizer_files(Place(tmp_path), weights)] == ["added_tokens.json", "tokenizer.json"]


def test_an_adapter_that_is_named_by_its_file_has_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"")
    assert tokenizer_files(Place(weights), weights) == ()


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "a/tokenizer.json").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out of its folder"):
        tokenizer_files(Place(tmp_path / "a"), tmp_path / "a/adapter_model.safetensors")
