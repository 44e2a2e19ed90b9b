"""Our reader and writer beside the safetensors library: what we write it reads, what we accept it accepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import factors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save, save_file

from adapterops.arrays.dtypes import FLOATS
from adapterops.arrays.floats import array
from adapterops.errors import AdapterOpsError
from adapterops.formats.peft.keys import Key, parse, render
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Spec, Stored, as_bytes
from adapterops.storage.writer import write_safetensors

DTYPES = {short: getattr(torch, long) for short, long in FLOATS.items()}
NAMES = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S"], exclude_characters="/\\"), min_size=1, max_size=20
).filter(lambda name: name not in ("..", "__metadata__"))


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    found = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=5, unique=True)):
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        found[name] = torch.randn(shape).to(draw(st.sampled_from(list(DTYPES.values()))))
    return found


def short(dtype: torch.dtype) -> str:
    return next(name for name, each in DTYPES.items() if each == dtype)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


@settings(max_examples=60)
@given(given_tensors=tensors())
def test_the_library_reads_what_we_write(
    tmp_path_factory: pytest.TempPathFactory, given_tensors: dict[str, torch.Tensor]
) -> None:
    path = tmp_path_factory.mktemp("ours") / "file"
    layout = {name: Spec(short(tensor.dtype), tuple(tensor.shape)) for name, tensor in given_tensors.items()}
    stored = ((name, array(tensor.contiguous())) for name, tensor in given_tensors.items())
    write_safetensors(path, layout, stored, {"format": "pt"})
    for name, tensor in load_file(path).items():
        assert (tensor.dtype, tensor.shape) == (given_tensors[name].dtype, given_tensors[name].shape)
        assert bits(tensor) == bits(given_tensors[name])


@settings(max_examples=60)
@given(given_tensors=tensors())
def test_we_read_what_the_library_writes(
    tmp_path_factory: pytest.TempPathFactory, given_tensors: dict[str, torch.Tensor]
) -> None:
    path = tmp_path_factory.mktemp("theirs") / "file"
    save_file(given_tensors, path)
    file = SafetensorsFile(path)
    assert set(file.entries) == set(given_tensors)
    for name, tensor in given_tensors.items():
        assert Stored(file, name).tensor().shape == tensor.shape
        assert bits(Stored(file, name).tensor()) == bits(tensor)


def test_tensors_may_turn_out_smaller_than_planned_or_not_come(tmp_path: Path) -> None:
    layout = {"a": Spec("F32", (4, 3)), "b": Spec("F32", (9, 9)), "c": Spec("BF16", (2, 2))}
    write_safetensors(
        tmp_path / "file", layout, [("a", np.ones((2, 3), np.float32)), ("c", np.full((2, 2), 0x3F80, np.uint16))], {}
    )
    found = load_file(tmp_path / "file")
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {"a": (2, 3), "c": (2, 2)}


GOOD = save(factors(), {"format": "pt"})
HEADER = 8 + int.from_bytes(GOOD[:8], "little")


@settings(max_examples=300)
@given(data=st.data())
def test_damage_is_found_or_harmless(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever happens to a file: an error of ours, or a file that the library takes as well, with the same tensors."""
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, HEADER - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "digit"]))
        if kind == "flip":
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del content[place : place + data.draw(st.integers(1, 40))]
        elif kind == "insert":
            content[place:place] = data.draw(st.binary(min_size=1, max_size=8))
        else:
            content[place] = ord(data.draw(st.sampled_from('0123456789-.,[]{}"')))
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(content)
    try:
        file = SafetensorsFile(path)
        ours = {name: file.read(name) for name in file.entries}
    except AdapterOpsError:
        return
    try:
        theirs = load(bytes(content))
    except (SafetensorError, KeyError) as error:  # KeyError: a dtype that the library names and torch has not
        raise AssertionError(f"we accept what the library refuses: {error}") from error
    assert {name: bits(tensor) for name, tensor in theirs.items()} == {
        name: bytes(value) for name, value in ours.items()
    }


def test_the_bytes_of_a_column_and_nothing_beyond_a_tensor(tmp_path: Path) -> None:
    turned = torch.empty_strided((5, 1), (1, 5)).copy_(
        torch.arange(5.0)[:, None]
    )  # contiguous, whatever its last stride
    assert bytes(as_bytes(turned)) == torch.arange(5.0).numpy().tobytes()
    save_file({"a": torch.ones(2, 3), "b": torch.zeros(2, 3)}, tmp_path / "two.safetensors")
    file = SafetensorsFile(tmp_path / "two.safetensors")
    with pytest.raises(AssertionError, match="a has 24 bytes, not 12 to 36"):
        file.array("a", (1, 3))


SEGMENT = st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True)
MODULE = st.lists(SEGMENT, min_size=1, max_size=5).map(".".join)


@given(MODULE, st.sampled_from(["lora_A", "lora_B"]), st.sampled_from(["", "base_model.model."]), st.none() | SEGMENT)
def test_names_are_rendered_as_they_were_parsed(module: str, role: str, prefix: str, adapter: str | None) -> None:
    key = Key(module, role, prefix, adapter)
    name = render(key)
    try:
        found = parse(name)
    except AdapterOpsError:  # the module is called like something that is refused
        assert any(
            part in name for part in ("lora_", "hada", "lokr", "bias", "base_layer", "prompt", "ia3", "oft", "vera")
        )
        return
    assert render(found) == name
    assert (found.module, found.role) == (module, role)
