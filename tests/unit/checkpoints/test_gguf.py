"""GGUF models, written as what they were or as checkpoints of transformers."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_models import mixed, write

import adapterops as ao
from adapterops.checkpoints.gguf import check_fits
from adapterops.errors import (
    AdapterWarning,
    NotFoundError,
    OptionError,
    OutputExistsError,
    ResourceError,
    UnsupportedError,
)
from adapterops.storage.outputs import manifest_of


def test_copied_a_model_is_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", "llama", mixed)
    for out in (tmp_path / "out.gguf", tmp_path / "out"):
        ao.save_checkpoint(ao.open_checkpoint(path), out)
        found = out / "a.gguf" if out.is_dir() else out
        assert found.read_bytes() == path.read_bytes()
        assert manifest_of(out).is_file()
        with pytest.raises(OutputExistsError):
            ao.save_checkpoint(ao.open_checkpoint(path), out)
        ao.save_checkpoint(ao.open_checkpoint(path), out, force=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "a.gguf",
        "out",
        "out.gguf",
        "out.gguf.adapterops.json",
    ]


def test_parts_stay_parts(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts" / "b.gguf", "llama", mixed, split_max_tensors=8)
    model = ao.open_checkpoint(tmp_path / "parts")
    ao.save_checkpoint(model, tmp_path / "out")
    for each in (tmp_path / "parts").iterdir():
        assert (tmp_path / "out" / each.name).read_bytes() == each.read_bytes()
    with pytest.raises(OptionError, match="one file"):
        ao.save_checkpoint(model, tmp_path / "out.gguf")


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf")
    (tmp_path / "out.gguf").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        ao.save_checkpoint(ao.open_checkpoint(path), tmp_path / "out.gguf", force=True)
    assert (tmp_path / "out.gguf").read_bytes() == b"mine"


@pytest.mark.parametrize("call", ["link", "fsync"])
def test_what_fails_leaves_no_model(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, out = ao.open_checkpoint(write(tmp_path / "a.gguf")), tmp_path / "out.gguf"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(ResourceError):
            ao.save_checkpoint(model, out)
    assert not out.exists()
    ao.save_checkpoint(model, out)
    assert {each.name for each in tmp_path.iterdir()} == {"a.gguf", "out.gguf", "out.gguf.adapterops.json"}


def test_tensors_that_the_file_has_not_are_refused(tmp_path: Path) -> None:
    model = ao.open_checkpoint(write(tmp_path / "a.gguf", "qwen2"))
    norm = "model.norm.weight"
    more = replace(
        model,
        layout={**model.layout, "lm_head.weight": model.layout[norm]},
        stored={**model.stored, "lm_head.weight": model.stored[norm]},
        shards={name: [*names, "lm_head.weight"] for name, names in model.shards.items()},
    )
    with pytest.raises(UnsupportedError, match="the tensors it has") as raised:
        check_fits(more)
    assert "--dtype" in str(raised.value.hint)
    wider = replace(model, layout={**model.layout, norm: model.layout[norm]._replace(dtype="F16")})
    with pytest.raises(UnsupportedError, match="would be F16"):
        check_fits(wider)


def test_a_checkpoint_of_transformers_is_no_gguf_file(tmp_path: Path) -> None:
    with pytest.warns(AdapterWarning, match="tokenizer"):
        plain = ao.dequantize(ao.open_checkpoint(write(tmp_path / "a.gguf")))
    assert list(plain.shards) == ["model.safetensors"]
    with pytest.raises(OptionError, match=r"ends in \.gguf"):
        ao.save_checkpoint(plain, tmp_path / "out.gguf")


def test_a_type_that_takes_no_other_numbers_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it would change; elsewhere its bytes go along."""

    def strange(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor(
            "blk.2.attn_v.weight", np.zeros((256, 110), np.uint8), raw_dtype=gguf.GGMLQuantizationType.IQ3_S
        )

    model = ao.open_checkpoint(write(tmp_path / "a.gguf", "llama", mixed, alter=strange))
    check_fits(model)
    name = "model.layers.2.self_attn.v_proj.weight"
    with pytest.raises(UnsupportedError, match="IQ3_S") as raised:
        check_fits(replace(model, edits={name: model.rows(name)}))
    assert raised.value.tensor == name
    assert "--dtype bfloat16" in str(raised.value.hint)
    assert ao.dequantize(model).layout[name].shape == (256, 256)
    monkeypatch.setattr("adapterops.quant.ggml.find_spec", lambda name: None)
    with pytest.raises(NotFoundError, match="not installed"):
        ao.dequantize(model)
