"""The files next to the tensors of a fused model."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.verification.other_files import other_files


@pytest.mark.parametrize("grown", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_the_tokenizer_is_the_adapters_or_else_the_bases(own: bool, grown: bool, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base")
    (folder / "generation_config.json").write_text("{}")
    base, trained = ao.open_checkpoint(folder), write_tuned(tmp_path / "a")
    if own:
        (trained / "tokenizer.json").write_text('{"its": "own"}')
    adapter = ao.open_adapter(trained)
    ao.save_checkpoint(ao.fuse(base, adapter), tmp_path / "out")

    def wrong() -> list[str]:
        return [
            f"{name} {what}"
            for name, what in other_files(ao.open_checkpoint(tmp_path / "out"), base, adapter, grown=grown)
        ]

    assert not wrong()
    (tmp_path / "out" / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    assert bool(wrong()) == (own and grown)
    (tmp_path / "out" / "tokenizer.json").write_text('{"of": "nobody"}')
    (one,) = wrong()
    assert one.startswith("tokenizer.json is not the bytes of ")
    assert str((trained if own and grown else folder) / "tokenizer.json") in one
    (tmp_path / "out" / "generation_config.json").unlink()
    assert any(each.startswith("generation_config.json is missing, and ") for each in wrong())
