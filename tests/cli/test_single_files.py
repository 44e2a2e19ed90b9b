"""An adapter whose format is one file is written as the file that -o names; every other name is a folder."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command, Fault
from corpus import tree
from gguf_files import write, write_base
from safetensors import safe_open
from safetensors.torch import save_file

from adapterops.cli.main import run
from adapterops.storage import safetensors
from adapterops.storage.header import read_header


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_base(tmp_path / "base")
    write(tmp_path / "lora.gguf")
    names = {"lora_down.weight": (2, 8), "lora_up.weight": (8, 2), "alpha": ()}
    tensors = {f"lora_te_text_model_encoder_layers_0_self_attn_q_proj.{n}": torch.ones(s) for n, s in names.items()}
    save_file(tensors, tmp_path / "style.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_gguf_file_of_an_adapter(place: Path) -> None:
    assert run(["convert", "lora.gguf", "--to", "peft", "--base", "base", "-o", "peft"]) == 0
    assert run(["convert", "peft", "--to", "gguf", "--base", "base", "-o", "new.gguf"]) == 0
    assert run(["convert", "peft", "--to", "gguf", "--base", "base", "-o", "folder"]) == 0
    assert (place / "new.gguf").read_bytes() == (place / "folder/adapter.gguf").read_bytes()
    assert run(["convert", "new.gguf", "--to", "peft", "--base", "base", "-o", "again"]) == 0
    name = "adapter_model.safetensors"
    assert (place / "again" / name).read_bytes() == (place / "peft" / name).read_bytes()


def test_a_safetensors_file_of_an_image_adapter(place: Path) -> None:
    assert run(["merge", "style.safetensors", "style.safetensors", "-w", "1", "-w", "2", "-o", "both.safetensors"]) == 0
    with safe_open(place / "both.safetensors", "np") as file:
        assert any(name.endswith("lora_up.weight") for name in file.keys())  # noqa: SIM118  # not a mapping
    assert (place / "both.safetensors.adapterops.json").is_file()
    assert run(["merge", "style.safetensors", "style.safetensors", "-o", "both.safetensors"]) == 6
    assert run(["truncate", "both.safetensors", "--rank", "1", "-o", "cut.safetensors"]) == 0
    assert run(["truncate", "both.safetensors", "--rank", "1", "-o", "cut.safetensors", "--force"]) == 0


def test_the_recipe_is_next_to_the_file(place: Path) -> None:
    assert run(["calc", "2*a", "a=style.safetensors", "-o", "twice.safetensors"]) == 0
    assert run(["run", "twice.safetensors.recipe.yaml", "-o", "again.safetensors"]) == 0
    assert (place / "twice.safetensors").read_bytes() == (place / "again.safetensors").read_bytes()
    (place / "twice.safetensors.recipe.yaml").write_text("mine")
    assert run(["calc", "3*a", "a=style.safetensors", "-o", "twice.safetensors", "--force"]) == 6
    assert (place / "twice.safetensors.recipe.yaml").read_text() == "mine"


INSIDE = r"/\.twice\.safetensors\.adapterops-\w+/"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ["adapterops.json", "twice.safetensors.recipe.yaml", "twice.safetensors"])
@pytest.mark.parametrize("force", [False, True], ids=["new", "replaced"])
def test_killed_between_the_renames(place: Path, force: bool, name: str, after: bool) -> None:
    """The file is the last to get its name, and the same command makes all of it afterwards."""
    assert run(["calc", "2*a", "a=style.safetensors", "-o", "twice.safetensors"]) == 0
    whole = tree(place)
    for path in place.glob("twice.safetensors*"):
        path.unlink()
    if force:
        assert run(["calc", "3*a", "a=style.safetensors", "-o", "twice.safetensors"]) == 0
    old = tree(place).get("twice.safetensors")
    again = ["calc", "2*a", "a=style.safetensors", "-o", "twice.safetensors", *(["--force"] if force else [])]
    function = "link" if name == "twice.safetensors" and not force else "replace"
    ended = Command(again, Fault(function, "kill", f"{INSIDE}{name}$", after=after)).end()
    assert ended.code == -signal.SIGKILL, ended
    done = name == "twice.safetensors" and after
    assert tree(place).get("twice.safetensors") == (whole["twice.safetensors"] if done else old)
    assert run([*again, "--dry-run"]) == (6 if done and not force else 0)
    assert run(again) == (6 if done and not force else 0)
    assert run([*again[:5], "--force"]) == 0
    assert tree(place) == whole


def test_a_file_that_somebody_changed_is_kept_after_a_kill(place: Path) -> None:
    assert run(["calc", "3*a", "a=style.safetensors", "-o", "twice.safetensors"]) == 0
    again = ["calc", "2*a", "a=style.safetensors", "-o", "twice.safetensors", "--force"]
    assert Command(again, Fault("replace", "kill", f"{INSIDE}twice.safetensors$")).end().code == -signal.SIGKILL
    (place / "twice.safetensors").write_bytes(b"mine")
    assert run(again) == 6
    assert (place / "twice.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("command", "fact", "step"),
    [
        ("convert lora.gguf --to peft --base base -o x.safetensors", "is a folder with adapter_model.safe", "-o x,"),
        ("convert lora.gguf --to mlx --base base -o x.gguf --dry-run", "is a folder with", "-o x,"),
        ("convert lora.gguf --to gguf --base base -o x.safetensors", "is one .gguf file", "-o x.gguf"),
        ("merge style.safetensors style.safetensors -o x.gguf", "is one .safetensors file", "-o x.safetensors"),
        ("truncate style.safetensors --rank 1 -o x.safetensors --part 1/2", "work in parts needs a folder", "-o"),
    ],
)
def test_what_is_no_single_file(
    place: Path, capsys: pytest.CaptureFixture[str], command: str, fact: str, step: str
) -> None:
    assert run(command.split()) == 2
    shown = capsys.readouterr().err
    assert fact in shown
    assert step in shown
    assert not (place / "x.gguf").exists()
    assert not (place / "x.safetensors").exists()


@pytest.mark.parametrize(
    "line",
    [
        "show {a}",
        "check {a} --for comfyui",
        "convert {a} --to comfy --base {base} -o {out}",
        "normalize {a} --base {base} -o {out}",
    ],
)
def test_the_header_of_an_adapter_is_read_once(tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: tmp_path / name for name in ("a.safetensors", "base", "out")}
    factors = {"lora_down": torch.ones(2, 8), "lora_up": torch.ones(8, 2)}
    save_file({f"lora_unet_blocks_0_q.{half}.weight": each for half, each in factors.items()}, given["a.safetensors"])
    given["base"].mkdir()
    save_file({"blocks.0.q.weight": torch.ones(8, 8)}, given["base"] / "diffusion_pytorch_model.safetensors")
    read: list[int] = []

    def counted(content: Any, size: int) -> Any:
        read.append(size)
        return read_header(content, size)

    monkeypatch.setattr(safetensors, "read_header", counted)
    words = line.format(a=given["a.safetensors"], base=given["base"], out=given["out"])
    assert run(words.split()) in (0, 9)
    assert read.count(given["a.safetensors"].stat().st_size) == 1
