"""After exit code 0 the output can be read by our own readers; what could not is refused on reading."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from corpus import config, write_adapter
from safetensors.torch import save_file
from tiny_models import write_base, write_tuned

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli.main import run
from adapterops.formats.models.model_files import holds_model
from adapterops.provenance.reader import read_manifest
from adapterops.recipes.schema import read_recipe

COMMANDS = {
    "merge": ["merge", "a", "a", "--ties", "-o", "out"],
    "truncate": ["truncate", "a", "--rank", "1", "-o", "out"],
    "truncate to mlx": ["truncate", "a", "--rank", "1", "--format", "mlx", "-o", "out"],
    "calc": ["calc", "2*a", "a=a", "-o", "out"],
    "fuse": ["fuse", "base", "a", "-o", "out"],
    "fuse into codes": ["fuse", "base", "a", "--quantize", "int8", "-o", "out"],
    "unfuse": ["unfuse", "base", "a", "-o", "out"],
    "quantize": ["quantize", "base", "--to", "nf4", "-o", "out"],
    "report": ["report", "a", "-o", "page.html", "--figures", "out"],
}
NAMES = [os.fsdecode(b"a\xff"), "a\U0001f600\n\x1b", "a'\"\\b", "ü\u2028x\x85\x7f"]
TEXTS = {
    "infinite": '{"x": 1e999}',
    "infinite below": '{"x": [-1e999]}',
    "400 digits": '{"x": ' + "9" * 400 + "}",
    "900 levels": '{"x": ' + "[" * 900 + "]" * 900 + "}",
    "half a surrogate": '{"x": "\\udcff"}',
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_readable(out: Path) -> None:
    assert read_manifest(out)
    if holds_model(out):
        open_checkpoint(out)
    elif list(out.glob("*.safetensors")):
        open_adapter(out)
    if (out / "recipe.yaml").exists():
        read_recipe(out / "recipe.yaml")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_paths_of_any_letters(command: str, name: str) -> None:
    os.rename("a", name)
    line = [name if each == "a" else f"a={name}" if each == "a=a" else each for each in COMMANDS[command]]
    assert run(line) == 0
    check_readable(Path("out"))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("command", [*COMMANDS, "extract", "dequantize"])
@pytest.mark.parametrize("file", ["base/config.json", "a/adapter_config.json"])
def test_numbers_and_depths_that_cannot_be_written(command: str, file: str, text: str) -> None:
    fields = json.loads(Path(file).read_text())
    line = {
        **COMMANDS,
        "extract": ["extract", "base", "--base", "base", "--rank", "1", "-o", "out"],
        "dequantize": ["dequantize", "base", "-o", "out"],
    }[command]
    Path(file).write_text(json.dumps({**fields, "lora_dropout": "HERE"}).replace('"HERE"', text))
    code = run(line)
    read = any(file.partition("/")[0] in each.split("=") for each in line)
    assert code == 3 if read else code in (0, 4)
    if code == 0:
        check_readable(Path("out"))
    else:
        assert not Path("out").exists()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_headers(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    header = f'{{"__metadata__": {text}, "model.x.weight": {{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}}}'
    Path("x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(4))
    assert run(["show", "x.safetensors"]) == 3
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(64, 0), (0, 64), (0, 0)])
@pytest.mark.parametrize("scales", ["one", "rows", "none"])
def test_codes_without_entries(shape: tuple[int, int], scales: str) -> None:
    """FP8 weights of no entries are read and written like others."""
    Path("empty").mkdir()
    scale = torch.ones({"one": (1,), "rows": (shape[0], 1), "none": ()}[scales])
    tensors = {"model.x.weight": torch.zeros(shape).to(torch.float8_e4m3fn), "model.x.weight_scale": scale}
    tensors["model.layers.0.q_proj.weight"] = torch.ones(12, 8)
    save_file(tensors, "empty/model.safetensors", metadata={"format": "pt"})
    Path("empty/config.json").write_text(json.dumps({"quantization_config": {"quant_method": "fp8"}}))
    write_adapter(Path("one"), fields=config(2), modules=["model.layers.0.q_proj"])
    assert run(["show", "empty"]) == 0
    for line in (["dequantize", "empty"], ["quantize", "empty", "--to", "int8"], ["fuse", "empty", "one"]):
        assert run([*line, "-o", "out", "--force"]) == 0
        check_readable(Path("out"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:100] + bytes(200) + data[300:],
        lambda data: data[:-50] + bytes(50),
        lambda data: data.replace(b"FloatStorage", b"FloatStoragf"),
        lambda data: data.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v7"),
        lambda data: b"PK\x03\x04" + bytes(300),
        lambda data: b"",
    ],
    ids=["half", "hole", "end", "storage", "function", "zip", "empty"],
)
def test_damaged_pickles(damage: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]) -> None:
    Path("pickled").mkdir()
    torch.save({"model.layers.0.q_proj.weight": torch.ones(12, 8)}, "pickled/pytorch_model.bin")
    Path("pickled/pytorch_model.bin").write_bytes(damage(Path("pickled/pytorch_model.bin").read_bytes()))
    for line in (["quantize", "pickled", "--to", "int8", "-o", "out"], ["fuse", "pickled", "a", "-o", "out"]):
        assert run([*line, "--allow-pickle"]) == 3
        assert "Traceback" not in capsys.readouterr().err


def test_pickles_of_tensors_that_are_views() -> None:
    """Transposed, cut out of others, shared: each is what torch makes of it."""
    from adapterops.storage.pickles import PickleFile

    whole = torch.arange(96, dtype=torch.float32).reshape(12, 8)
    tensors = {"a": whole, "b": whole.T, "c": whole[2:5, 1:3], "d": whole.bfloat16().T, "e": torch.zeros(0, 3)}
    torch.save(tensors, "views.bin")
    file = PickleFile(Path("views.bin"))
    for name, tensor in tensors.items():
        expected = tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        assert bytes(file.read(name)) == expected
        assert b"".join(map(bytes, file.chunks(name))) == expected
        assert file.array(name).tobytes() == expected
        assert file.array(name, (0, tensor.shape[0])).tobytes() == expected
