"""The registry of schemes: who is in it, in what order, and what it takes to know the names."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import adapterops.quant
from adapterops.errors import AdapterWarning, OptionError, UnsupportedError
from adapterops.quant import registry
from adapterops.quant.fourbit import FourBit
from adapterops.quant.fp8 import FP8
from adapterops.quant.header import Claim, Header
from adapterops.quant.int8 import Int8
from adapterops.quant.transposed import Transposed

FOLDER = Path(adapterops.quant.__file__).parent
WRITTEN = [name for each in registry.own() if each.make for name in each.names]
KEPT = FP8((1, 8), "weight_scale", "F8_E4M3", "F32", (4,))


class Toy:
    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        return None


@pytest.fixture
def other_packages(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Entry points are looked for again, and what they register is forgotten afterwards."""
    registry.schemes()
    monkeypatch.setattr(registry.SCHEMES, "_members", dict(registry.SCHEMES))
    monkeypatch.setattr(registry.SCHEMES, "_loaded_others", False)
    return monkeypatch


def test_every_file_of_the_folder_that_registers_is_found() -> None:
    files = {path.stem for path in FOLDER.glob("*.py") if "\n@scheme(" in path.read_text(encoding="utf-8")}
    assert {each.module.rpartition(".")[2] for each in registry.own()} == files
    assert {name for each in registry.own() for name in each.names} >= {
        "nf4",
        "fp4",
        "int8",
        "fp8",
        "mxfp4",
        "nvfp4",
        "awq",
        "gptq",
    }
    assert list(registry.written()) == WRITTEN
    assert {"nf4", "fp4", "int8"} <= {*WRITTEN}


@pytest.mark.parametrize("first", ["int8", "gptq"])
def test_the_order_is_that_of_the_files_and_no_file_needs_torch(first: str) -> None:
    script = f"import sys, adapterops.quant.{first}; from adapterops.quant.registry import own; print(*(each.names[0] for each in own()))"
    script += "; assert not {'torch', 'numpy', 'importlib.metadata'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [each.names[0] for each in registry.own()]


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="already a scheme 'nf4'"):
        registry.scheme("toy", "nf4", marks=("toy",))(Toy)
    assert all("toy" not in each.names for each in registry.own())


def test_schemes_are_made_by_their_names() -> None:
    assert registry.make("nf4") == FourBit()
    assert registry.make("fp4", "F16", double_quant=True, block_size=128) == FourBit("fp4", 128, True, "F16")
    assert registry.make("int8", "F32", double_quant=False, block_size=None) == Int8("F32")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nf5", {}, f"must be one of {', '.join(WRITTEN)}, got 'nf5'"),
        ("fp8", {}, "must be one of"),
        ("nf4", {"block_size": 63}, "block size must be one of 32, 64"),
        ("nf4", {"block_size": 0}, "block size must be one of"),
        ("int8", {"double_quant": True}, "no double quantization"),
        ("int8", {"block_size": 64}, "no block size"),
        ("nf4", {"groups": 3}, "nf4 has no option groups"),
    ],
    ids=str,
)
def test_wrong_names_and_options(name: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        registry.make(name, **options)


WAYS = f"write 16 bits with --dtype bfloat16, or fewer with {' or '.join(f'--quantize {name}' for name in WRITTEN)}"


def test_what_is_written() -> None:
    assert registry.is_written(FourBit("fp4"))
    assert registry.is_written(Transposed(Int8()))
    for scheme in (KEPT, Transposed(KEPT)):
        assert not registry.is_written(scheme)
        assert registry.kept(scheme) is scheme
        with pytest.raises(UnsupportedError, match="fp8 is not written with new codes") as caught:
            registry.writable(scheme)
        assert caught.value.hint == f"--rounding stochastic keeps its grid; or {WAYS}"


def test_what_is_only_read(other_packages: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("toy", "toy_package", "adapterops.schemes")
    other_packages.setattr("adapterops.registry.points", lambda group: [point] if group == "adapterops.schemes" else [])
    other_packages.setattr(metadata.EntryPoint, "load", lambda self: registry.scheme("fp8x", marks=("toy",))(Toy))
    toy: Any = SimpleNamespace(name="fp8x")
    with pytest.raises(UnsupportedError, match="fp8x is read, not written") as caught:
        registry.kept(toy)
    assert caught.value.hint == WAYS


def test_schemes_of_other_packages_come_last(other_packages: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("toy", "toy_package", "adapterops.schemes")
    other_packages.setattr("adapterops.registry.points", lambda group: [point] if group == "adapterops.schemes" else [])
    other_packages.setattr(metadata.EntryPoint, "load", lambda self: registry.scheme("aaa", marks=("toy",))(Toy))
    assert registry.schemes()[-1].names == ("aaa",)
    assert registry.schemes()[:-1] == registry.own()


def test_a_package_that_cannot_be_loaded_is_named(other_packages: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("toy", "no_such_package:Scheme", "adapterops.schemes")
    other_packages.setattr("adapterops.registry.points", lambda group: [point])
    with pytest.warns(
        AdapterWarning,
        match=r"scheme toy .* cannot be loaded from no_such_package:Scheme: No module .*; update that package, or uninstall it",
    ):
        assert registry.schemes() == registry.own()
