"""What goes to the Hub from a folder, and what stays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from corpus import config, write_adapter
from safetensors.torch import save_file

import adapterops as ao
from adapterops.errors import AdapterWarning, InputError, NotFoundError, UnsupportedError
from adapterops.hub.card import MARK
from adapterops.hub.package import CARD, Content, files, made
from adapterops.hub.snapshot import Known, blob_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter that adapterops wrote, with what people keep in such folders."""
    ao.save_adapter(2 * ao.open_adapter(write_adapter(tmp_path / "a")), tmp_path / "out")
    (tmp_path / "out/tokenizer.json").write_text("{}")
    (tmp_path / "out/optimizer.pt").write_bytes(b"pickle")
    (tmp_path / "out/.env").write_text("TOKEN=secret")
    (tmp_path / "out/config.json").mkdir()
    return tmp_path / "out"


def test_only_what_is_known_goes(folder: Path) -> None:
    found, left = files(folder)
    assert set(found) == {"adapter_model.safetensors", "adapter_config.json", "adapterops.json", "tokenizer.json"}
    assert set(left) == {".env", "config.json", "optimizer.pt"}


def test_a_card_of_ours_is_written_anew_and_one_of_a_person_goes(folder: Path) -> None:
    (folder / CARD).write_text(f"---\n---\n{MARK}\n")
    assert CARD not in files(folder)[0]
    (folder / CARD).write_text("mine")
    assert CARD in files(folder)[0]


def test_a_recipe_with_absolute_paths_stays(folder: Path) -> None:
    (folder / "recipe.yaml").write_text("inputs:\n  a: a\n")
    assert "recipe.yaml" in files(folder)[0]
    (folder / "recipe.yaml").write_text("output:\n  path: /home/me/out\n")
    with pytest.warns(AdapterWarning, match="absolute paths"):
        found, left = files(folder)
    assert "recipe.yaml" not in found
    assert "recipe.yaml" in left


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not a folder"):
        files(tmp_path / "missing")


def about(folder: Path) -> None:
    made(folder, "me/a", {name: Content.of(path) for name, path in files(folder)[0].items()})


def test_what_is_not_as_the_manifest_says_is_refused(folder: Path) -> None:
    about(folder)
    fields = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**fields, "lora_alpha": 99}))
    with pytest.raises(InputError, match="one of them was changed"):
        about(folder)


def test_a_manifest_that_was_edited_is_refused(folder: Path) -> None:
    manifest = folder / "adapterops.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "command": ["mine"]}))
    with pytest.raises(InputError, match="its seal"):
        about(folder)


@pytest.mark.parametrize(("base", "phrase"), [("/home/me/base", "is not a Hub repository"), (None, "names no base")])
def test_a_base_that_nobody_else_has_is_warned_of(tmp_path: Path, base: str | None, phrase: str) -> None:
    write_adapter(tmp_path / "a", fields=config(base_model_name_or_path=base))
    with pytest.warns(AdapterWarning, match=phrase):
        about(tmp_path / "a")


def test_contents_are_compared_by_the_hash_that_the_hub_has(folder: Path) -> None:
    small, large = Content.of(folder / "adapter_config.json"), Content.of(folder / "adapter_model.safetensors")
    assert small.same(Known(small.size, None, blob_hash((folder / "adapter_config.json").read_bytes())))
    assert not small.same(Known(small.size, None, "0" * 40))
    assert large.same(Known(large.size, large.sha256))
    assert not large.same(Known(large.size, "0" * 64))
    assert not large.same(None)
    assert isinstance(large.source, Path)
    shutil.rmtree(folder)
    assert isinstance(small.source, bytes)


def test_an_adapter_that_is_not_in_the_format_of_peft_is_named(tmp_path: Path) -> None:
    name = "lora_unet_blocks_0_attn_q"
    tensors = {f"{name}.lora_down.weight": torch.ones(2, 6), f"{name}.lora_up.weight": torch.ones(5, 2)}
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(UnsupportedError, match="in the format kohya, and only PEFT's are pushed"):
        files(tmp_path)
