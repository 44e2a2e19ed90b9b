"""Adapters, good and bad, built byte by byte where that is what a test is about."""

import hashlib
import json
import struct
from pathlib import Path

import torch
from safetensors.torch import save_file

from adapterops.cli.main import run

PREFIX = "base_model.model."
MODULES = ("layers.0.q_proj", "layers.0.v_proj", "layers.1.q_proj")
A = PREFIX + "layers.0.q_proj.lora_A.weight"
B = PREFIX + "layers.0.q_proj.lora_B.weight"


def file_bytes(header, data=b"", length=None):
    """A safetensors file of this header, an object or text as it is, whatever `length` it then claims to have."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def good_header(**more):
    """One module of rank 1, out 3 and in 2; 20 bytes of data."""
    return {A: entry([1, 2], 0, 8), B: entry([3, 1], 8, 20), **more}


def factors(modules=MODULES, rank=2, out=12, into=8, seed=0, dtype=torch.float32):
    """The tensors of an adapter under PEFT's names."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for module in modules:
        tensors[f"{PREFIX}{module}.lora_A.weight"] = torch.randn(rank, into, generator=generator).to(dtype)
        tensors[f"{PREFIX}{module}.lora_B.weight"] = torch.randn(out, rank, generator=generator).to(dtype)
    return tensors


def config(rank=2, **fields):
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": "some/base",
        "r": rank,
        "lora_alpha": 4,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        **fields,
    }


def write_adapter(folder, tensors=None, fields=None, **shape):
    """A folder as PEFT saves it."""
    folder.mkdir(parents=True)
    save_file(
        factors(**shape) if tensors is None else tensors,
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    if fields is None:
        modules = {name.removeprefix(PREFIX).partition(".lora_")[0] for name in tensors or ()}
        fields = config(shape.get("rank", 2)) | ({"target_modules": sorted(modules)} if tensors else {})
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    return folder


def write_raw(folder, content, fields=None):
    """A folder whose tensors' file holds `content`, whatever that is."""
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(content)
    (folder / "adapter_config.json").write_text(json.dumps(config(1) if fields is None else fields))
    return folder


def tree(folder):
    """Every file under a folder, by its path and hash."""
    return {str(path.relative_to(folder)): digest(path) for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def made(folder):
    """`tree` of an output, of whose manifest the command line is left out: whatever was typed, the same work gives the same."""
    manifest = json.loads((Path(folder) / "adapterops.json").read_text())
    del manifest["command"], manifest["seal"]
    return {**tree(folder), "adapterops.json": manifest}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def deltas(folder):
    """ΔW of every module of an adapter of ours, computed by the definition."""
    from safetensors.torch import load_file

    fields = json.loads((folder / "adapter_config.json").read_text())
    assert fields["lora_alpha"] == fields["r"]
    assert fields["alpha_pattern"] == fields["rank_pattern"]
    tensors = load_file(folder / "adapter_model.safetensors")
    modules = sorted(name.removeprefix(PREFIX).removesuffix(".lora_A.weight") for name in tensors if ".lora_A." in name)
    return {
        module: (
            tensors[f"{PREFIX}{module}.lora_B.weight"].double() @ tensors[f"{PREFIX}{module}.lora_A.weight"].double()
        )
        for module in modules
    }


class Refusal:
    """Runs a command that must fail, with and without `--json`, and checks all that is true of every failure."""

    def __init__(self, folder, capsys):
        self.out = folder / "out"
        self.capsys = capsys

    def __call__(self, arguments, exit_code, code, *phrases, tensor=None):
        arguments = [str(argument) for argument in arguments]
        if arguments[0] != "show":
            arguments += ["-o", str(self.out)]
        before = {path.name for path in self.out.parent.iterdir()}
        self.capsys.readouterr()
        assert run(arguments) == exit_code, self.capsys.readouterr()
        captured = self.capsys.readouterr()
        for phrase in (*phrases, *([tensor] if tensor else [])):
            assert str(phrase) in captured.err
        assert captured.out == ""
        assert "Traceback" not in captured.err
        assert captured.err.startswith(("error: ", "warning: "))
        assert run([*arguments, "--json"]) == exit_code
        printed = self.capsys.readouterr()
        answer = json.loads(printed.out)
        assert "Traceback" not in printed.err
        assert answer["ok"] is False
        assert answer["error"]["code"] == code
        if tensor:
            assert answer["error"]["tensor"] == tensor
        assert {path.name for path in self.out.parent.iterdir()} == before
        return answer["error"]
