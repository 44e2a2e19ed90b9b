"""Schemes from the command line: GPTQ, whose grid is kept, and one of another package, which nothing here knows of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from corpus import config, tree, write_adapter
from gptq_models import GPTQWeight, write_gptq
from safetensors.torch import load_file, save_file

from adapterops.cli.main import run

OUT, INTO, SIZE = 64, 96, 32
MODULE = "model.q_proj"


def weight(bits: int = 4) -> GPTQWeight:
    return GPTQWeight.random(OUT, INTO, bits, SIZE, ordered=True)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_gptq(tmp_path / "base", {MODULE: weight()}, SIZE, checkpoint_format="gptq")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "a", fields=config(2), modules=[MODULE], rank=2, out=OUT, into=INTO)


def test_gptq_is_shown(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", str(base)]) == 0
    assert "quantized tensors: 1" in capsys.readouterr().out
    assert run(["show", str(base), "--json"]) == 0
    assert "gptq" in capsys.readouterr().out


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("layout", ["gptq", "gptq_v2"])
def test_gptq_is_dequantized(bits: int, layout: str, tmp_path: Path) -> None:
    each = weight(bits)
    base = write_gptq(tmp_path / "base", {MODULE: each}, SIZE, offset=int(layout == "gptq"), checkpoint_format=layout)
    before = tree(base)
    assert run(["dequantize", str(base), "-o", str(tmp_path / "out")]) == 0
    saved = load_file(tmp_path / "out/model.safetensors")
    assert saved.keys() == {f"{MODULE}.weight", "model.norm.weight"}
    assert torch.equal(saved[f"{MODULE}.weight"], each.formula().half())
    assert json.loads((tmp_path / "out/config.json").read_text()) == {"dtype": "float16"}
    assert tree(base) == before


def test_an_adapter_is_fused_into_16_bits_of_it(base: Path, adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(["fuse", str(base), str(adapter), "--dtype", "bfloat16", "-o", str(out)]) == 0
    factors = load_file(adapter / "adapter_model.safetensors")
    A, B = (factors[f"base_model.model.{MODULE}.lora_{role}.weight"].double() for role in "AB")
    expected = weight().formula() + 2 * B @ A  # alpha 4, rank 2
    found = load_file(out / "model.safetensors")[f"{MODULE}.weight"]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=2**-12)
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(adapter), "--dtype", "bfloat16"]) == 0


def test_an_adapter_is_fused_into_the_codes_where_that_is_asked_for(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {**config(2), "lora_alpha": 0.002}  # small, as trained ones are
    adapter = write_adapter(tmp_path / "small", fields=fields, modules=[MODULE], rank=2, out=OUT, into=INTO)
    out = tmp_path / "out"
    command = ["fuse", str(base), str(adapter), "-o", str(out)]
    assert run(command) == 2
    error = capsys.readouterr().err
    assert "1 adapted weight of the base stored in gptq, whose grid is kept: rounding to nearest loses" in error
    assert "--rounding stochastic" in error
    assert run([*command, "--rounding", "nearest"]) == 4
    assert "gptq is not written with new codes" in capsys.readouterr().err
    assert not out.exists()
    assert run([*command, "--rounding", "stochastic"]) == 0
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert {name for name in before if not torch.equal(before[name], after[name])} == {f"{MODULE}.qweight"}
    assert (out / "config.json").read_bytes() == (base / "config.json").read_bytes()
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(adapter), "--rounding", "stochastic"]) == 0
    after[f"{MODULE}.qweight"][0, 0] += 5
    save_file(after, out / "model.safetensors", metadata={"format": "pt"})
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(adapter), "--rounding", "stochastic"]) == 8


def test_variants_of_gptq_are_refused(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (base / "config.json").read_text()
    for fields, exit_code, words in [
        ({"checkpoint_format": "marlin"}, 4, "GPTQ of another variant (4 bits, 'marlin'"),
        (
            {"bits": 8},
            3,
            "qzeros should be I32 [2, 16]; found I32 [3, 8]",
        ),
        ({"group_size": 16}, 3, "qzeros should be I32 [6, 8]; found I32 [3, 8]"),
    ]:
        fields_ = json.loads(text)
        fields_["quantization_config"] |= fields
        (base / "config.json").write_text(json.dumps(fields_))
        assert run(["show", str(base)]) == exit_code
        assert words in capsys.readouterr().err
    (base / "config.json").write_text(text)
    tensors = load_file(base / "model.safetensors")
    del tensors[f"{MODULE}.qzeros"]
    save_file(tensors, base / "model.safetensors")
    assert run(["dequantize", str(base), "-o", str(base.parent / "out")]) == 3
    assert f"{MODULE}.qzeros should be I32 [3, 8]; found nothing" in capsys.readouterr().err
    assert not (base.parent / "out").exists()


TOY = '''
"""Halves: every number as a byte, times one half."""

from dataclasses import dataclass

from adapterops.quant.header import Claim
from adapterops.quant.registry import scheme
from adapterops.quant.scheme import Part


@scheme("halves", marks=("halves",), methods=("toy",))
@dataclass(frozen=True)
class Halves:
    dtype: str = "F32"
    name = "halves"
    bits = 8.0

    @classmethod
    def detect(cls, header, tensor, role):
        shape = header.part(tensor, role).shape
        return Claim(cls(), shape, cls().parts(shape))

    def parts(self, shape):
        return {"halves": Part("I8", shape)}

    def granularity(self, shape):
        return 1

    def decode(self, shape, read, begin, end):
        import torch

        return read("halves", begin * shape[1], end * shape[1]).view(torch.int8).view(-1, shape[1]) / 2
'''


def test_a_scheme_of_another_package_is_read(tmp_path: Path) -> None:
    """An installed package with an entry point is all it takes."""
    packages, info = tmp_path / "packages", tmp_path / "packages/toy-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "toy_halves.py").write_text(dedent(TOY))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[adapterops.schemes]\nhalves = toy_halves\n")
    (tmp_path / "base").mkdir()
    codes = torch.arange(-12, 12, dtype=torch.int8).view(4, 6)
    save_file({"fc.halves": codes, "norm.weight": torch.ones(4)}, tmp_path / "base/model.safetensors")
    (tmp_path / "base/config.json").write_text(json.dumps({"quantization_config": {"quant_method": "toy"}}))

    def command(*arguments: str, path: Path | None = packages) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
        whole = [sys.executable, "-m", "adapterops", *arguments]
        return subprocess.run(whole, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    refused = command("show", "base", path=None)
    assert refused.returncode == 4
    assert "quantized with toy, which is not read here" in refused.stderr
    shown = command("show", "base")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "quantized tensors: 1" in shown.stdout
    done = command("dequantize", "base", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert torch.equal(load_file(tmp_path / "out/model.safetensors")["fc.weight"], codes.float() / 2)
