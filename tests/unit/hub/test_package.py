"""What goes to the Hub from a folder, and what stays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from collections_of import adapters, collection
from corpus import config, write_adapter
from safetensors.torch import save_file

import adapterops as ao
from adapterops.errors import AdapterWarning, InputError, NotFoundError, UnsupportedError
from adapterops.hub.card import MARK, render
from adapterops.hub.package import CARD, Payload, files, made
from adapterops.hub.snapshot import Known, blob_hash
from adapterops.requests.sending import card
from adapterops.storage.place import Place


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
    with pytest.raises(NotFoundError, match="does not exist"):
        files(tmp_path / "missing")


def about(folder: Path) -> None:
    made(folder, "me/a", {name: Payload.of(path) for name, path in files(folder)[0].items()})


def test_what_is_not_as_the_manifest_says_is_refused(folder: Path) -> None:
    about(folder)
    fields = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**fields, "lora_alpha": 99}))
    with pytest.raises(InputError, match="one of them was changed"):
        about(folder)


def test_a_manifest_that_was_edited_is_refused(folder: Path) -> None:
    manifest = folder / "adapterops.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "command": ["mine"]}))
    with pytest.raises(InputError, match="its checksum"):
        about(folder)


@pytest.mark.parametrize(("base", "phrase"), [("/home/me/base", "is not a Hub repository"), (None, "names no base")])
def test_a_base_that_nobody_else_has_is_warned_of(tmp_path: Path, base: str | None, phrase: str) -> None:
    write_adapter(tmp_path / "a", fields=config(base_model_name_or_path=base))
    with pytest.warns(AdapterWarning, match=phrase):
        about(tmp_path / "a")


def test_contents_are_compared_by_the_hash_that_the_hub_has(folder: Path) -> None:
    small, large = Payload.of(folder / "adapter_config.json"), Payload.of(folder / "adapter_model.safetensors")
    assert small.same(Known(small.size, None, blob_hash((folder / "adapter_config.json").read_bytes())))
    assert not small.same(Known(small.size, None, "0" * 40))
    assert large.same(Known(large.size, large.sha256))
    assert not large.same(Known(large.size, "0" * 64))
    assert not large.same(None)
    assert isinstance(large.source, Path)
    shutil.rmtree(folder)
    assert isinstance(small.source, bytes)


def lone(path: Path, name: str = "lora_unet_blocks_0_attn_q") -> Path:
    save_file({f"{name}.lora_down.weight": torch.ones(2, 6), f"{name}.lora_up.weight": torch.ones(5, 2)}, path)
    return path


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("form", ["kohya", "comfy", "diffusers"])
def test_adapters_of_image_models_are_what_diffusers_loads(tmp_path: Path, form: str, alone: bool) -> None:
    source = lone(tmp_path / "a.safetensors")
    save_file({"blocks.0.attn.q.weight": torch.ones(5, 6)}, tmp_path / "base.safetensors")
    base = ao.open_checkpoint(tmp_path / "base.safetensors")
    ao.save_adapter(2 * ao.named_as(ao.open_adapter(source), base), tmp_path / "out", format=form)
    (weights,) = (tmp_path / "out").glob("*.safetensors")
    what = weights if alone else tmp_path / "out"
    assert set(files(what)[0]) == ({weights.name} if alone else {weights.name, "adapterops.json"})
    with pytest.warns(AdapterWarning, match=f"{weights.name} names no base"):
        text = card(what, repo="me/style")
    assert "library_name: diffusers" in text
    assert f'pipeline.load_lora_weights("me/style", weight_name="{weights.name}")' in text
    assert "peft" not in text.lower()


def test_the_card_of_a_file_says_how_it_was_made(tmp_path: Path) -> None:
    source, out = lone(tmp_path / "a.safetensors"), tmp_path / "weaker.safetensors"
    (tmp_path / "recipe.yaml").write_text(f"adapterops: 1\ninputs: {{a: {source}}}\nresult: 0.5*a\n")
    ao.run_recipe(tmp_path / "recipe.yaml", out)
    with pytest.warns(AdapterWarning, match="names no base"):
        text = card(out, repo="me/style")
    assert "**scale** by 0.5" in text
    assert "recipe.yaml" not in text, "it is not sent"


def test_the_base_of_an_image_adapter_is_named_in_its_card(tmp_path: Path) -> None:
    base = Place(tmp_path / "base", remote=FakeRemote())  # what it is asked for
    contents = {"a.safetensors": Payload.of(lone(tmp_path / "a.safetensors"))}
    text = render(made(tmp_path / "a.safetensors", "me/style", contents, base))
    assert "base_model: owner/flux" in text
    assert 'DiffusionPipeline.from_pretrained("owner/flux")' in text


class FakeRemote:
    reference = "owner/flux"


def test_what_no_card_tells_how_to_load_is_named(tmp_path: Path) -> None:
    ao.save_adapter(2 * ao.open_adapter(write_adapter(tmp_path / "a")), tmp_path / "out", format="mlx")
    with pytest.raises(UnsupportedError, match="in the format mlx, and only peft, kohya, comfy, diffusers are pushed"):
        files(tmp_path / "out")
    with pytest.raises(UnsupportedError, match="a file by itself, and PEFT loads folders"):
        files(tmp_path / "a/adapter_model.safetensors")
    many = collection(tmp_path, adapters(tmp_path, 2))
    with pytest.raises(UnsupportedError, match="in the format collection") as caught:
        files(many)
    assert f"adapterops convert '{many}#NAME' --to peft" in str(caught.value.hint)
