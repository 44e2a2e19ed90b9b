"""The kinds of files that commands read, and the commands that read them. `@` is where a damaged one is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf_files
import gguf_models
import hub_server
import mergekit_models
import numpy as np
import quantized_layouts
import torch
import yaml
from corpus import config, write_adapter
from damage import Random
from huggingface_hub import constants
from layouts import LAYOUTS
from safetensors.torch import load_file, save_file
from tiny_models import write_base, write_tuned, write_unmerged

from adapterops.cli.main import run
from adapterops.storage.grams import grams_file

Command = list[str]

ADAPTER_COMMANDS = [
    ["show", "@"],
    ["truncate", "@", "--rank", "1", "-o", "out"],
    ["merge", "@", "a", "--ties", "-o", "out"],
    ["calc", "0.5*x + a", "x=@", "a=a", "-o", "out"],
    ["fuse", "base", "@", "-o", "out"],
    ["compare", "@", "a"],
    ["push", "@", "me/x", "--dry-run"],
    ["convert", "@", "--to", "mlx", "-o", "out"],
    ["normalize", "@", "-o", "out"],
    ["check", "@"],
    ["check", "@", "--for", "lorax", "--base", "base"],
    ["report", "@", "a", "-o", "page.html"],
    ["compress", "@", "a", "-o", "out"],
    ["card", "@"],
    ["diagnose", "fused", "--base", "base", "--adapter", "@"],
    ["unfuse", "fused", "@", "-o", "out"],
]
MODEL_COMMANDS = [
    ["show", "@"],
    ["fuse", "@", "a", "-o", "out"],
    ["quantize", "@", "--to", "int8", "-o", "out"],
    ["dequantize", "@", "-o", "out"],
    ["extract", "@", "--base", "base", "--rank", "1", "-o", "out"],
    ["verify", "@", "--base", "base", "--adapter", "a"],
    ["push", "@", "me/x", "--dry-run"],
    ["diagnose", "@", "--base", "base", "--adapter", "a"],
    ["diagnose", "fused", "--base", "@"],
    ["unfuse", "@", "a", "-o", "out"],
    ["split", "@", "-o", "out"],
    ["card", "@"],
    ["gram", "@", "a/adapter_config.json", "-o", "grams.out"],
]
COLLECTION_COMMANDS = [
    ["show", "@"],
    ["show", "@#a"],
    ["fuse", "base", "@#a", "-o", "out"],
    ["convert", "@#b", "--to", "peft", "-o", "out"],
    ["merge", "@#a", "b", "-o", "out"],
    ["card", "@"],
    ["push", "@", "me/x", "--dry-run"],
]


GGUF_COMMANDS = [
    ["show", "@"],
    ["check", "@"],
    ["convert", "@", "--to", "peft", "--base", "llama", "-o", "out"],
    ["fuse", "llama", "@", "-o", "out"],
    ["truncate", "@", "--rank", "1", "-o", "out.gguf"],
]
GGUF_MODEL_COMMANDS = [
    ["show", "@"],
    ["fuse", "@", "of gguf", "-o", "out.gguf"],
    ["dequantize", "@", "-o", "out"],
    ["quantize", "@", "--to", "int8", "-o", "out"],
    ["verify", "fused.gguf", "--base", "@", "--adapter", "of gguf"],
    ["diagnose", "@", "--base", "base.gguf", "--adapter", "of gguf"],
    ["extract", "@", "--base", "fused.gguf", "--rank", "1", "-o", "out"],
]
PACKED_COMMANDS = [
    *([command, "@", "of packed", *more, "-o", "out"] for command, *more in (["fuse", "--accept-loss"], ["unfuse"])),
    ["fuse", "@", "of packed", "--dequantize", "-o", "out"],
    ["dequantize", "@", "-o", "out"],
    ["quantize", "@", "--to", "int8", "-o", "out"],
    ["verify", "@", "--base", "@", "--adapter", "of packed"],
    ["diagnose", "@", "--base", "@", "--adapter", "of packed"],
    ["show", "@"],
]
IMAGE_COMMANDS = [
    ["show", "@"],
    ["check", "@"],
    ["fuse", "image", "@", "-o", "out"],
    ["convert", "@", "--to", "peft", "-o", "out"],
    ["convert", "@", "--to", "kohya", "-o", "out"],
    ["normalize", "@", "-o", "out"],
    ["truncate", "@", "--rank", "1", "-o", "out"],
    ["merge", "@", "@", "-w", "1", "-w", "2", "-o", "out"],
    ["compare", "@", "@"],
    ["extract", "@", "--base", "image", "--rank", "1", "-o", "out"],
]
FUSE_CALIBRATED = ["fuse", "quantized", "a", "--rounding", "calibrated", "--grams", "@", "--accept-loss", "-o", "out"]
TUNED_COMMANDS = [
    ["fuse", "base", "--tuned", "@", "-o", "out"],
    ["fuse", "@", "--tuned", "fused", "-o", "out"],
    ["fuse", "base", "@", "-o", "out"],
    ["merge", "a", "a", "--base", "@", "-w", "1", "-w", "2", "-o", "out"],
]


@dataclass(frozen=True)
class Kind:
    """A kind of files.

    Attributes:
        places: where valid ones are, one of which is taken; a file or a folder.
        damaged: which files of it are changed, one of them.
        commands: those that read it.
    """

    places: Sequence[str]
    commands: Sequence[Command]
    damaged: str = "*"

    def taken(self, chance: Random) -> tuple[Path, Command]:
        """A copy of one of them in the current folder, of which the file that is returned is to be changed; and a command."""
        place = Path(chance.choice(self.places))
        copied = Path(f"x{place.suffix}")
        (shutil.copyfile if place.is_file() else shutil.copytree)(place, copied)
        files = [copied] if place.is_file() else sorted(path for path in copied.glob(self.damaged) if path.is_file())
        command = [each.replace("@", copied.name) for each in chance.choice(self.commands)]
        return chance.choice(files), command


KINDS = {
    "adapters": Kind(["a", "mlx", "dora"], ADAPTER_COMMANDS),
    "models": Kind(["base", "quantized", "unmerged"], [*MODEL_COMMANDS, *TUNED_COMMANDS]),
    "collections": Kind(["collection"], COLLECTION_COMMANDS),
    "grams": Kind(["grams.safetensors"], [FUSE_CALIBRATED]),
    "ggufs": Kind(["a.gguf"], GGUF_COMMANDS),
    "split ggufs": Kind(["split"], GGUF_COMMANDS),
    "gguf models": Kind(["gguf model", "base.gguf"], GGUF_MODEL_COMMANDS),
    "packed": Kind([f"packed {number}" for number in range(len(quantized_layouts.LAYOUTS))], PACKED_COMMANDS),
    "images": Kind([f"image {number}.safetensors" for number in range(len(LAYOUTS))], IMAGE_COMMANDS),
    "pickles": Kind(
        ["pickled"],
        [[*line, "--allow-pickle"] for line in MODEL_COMMANDS if line[0] not in ("show", "push", "card", "gram")],
    ),
    "tokenizers": Kind(["base", "a"], TUNED_COMMANDS, "tok*.json"),
    "mergekit": Kind(["mergekit.yaml"], [["run", "@", "-o", "out"], ["run", "@", "-o", "out", "--dry-run"]]),
    "plans": Kind(["plan.yaml"], [["run", "@", "-o", "out"], ["run", "@", "-o", "out", "--dry-run"]]),
}


def delta(chance: Random) -> tuple[Path, Command]:
    """A file of a delta in the Hub's cache, and what makes the model that it stands for."""
    shutil.rmtree("hub/models--me--delta")
    shutil.copytree("delta", "hub/models--me--delta")
    files = [path for path in sorted(Path("hub/models--me--delta/snapshots").rglob("*")) if path.suffix in READ]
    return chance.choice(files), ["pull", "me/delta", "-o", "out", *chance.choice(([], ["--dry-run"]))]


READ = (".json", ".safetensors")


def prepare() -> None:
    """The files that are changed, in the current folder."""
    write_base(Path("base"), layers=2)
    gguf_files.write(Path("a.gguf"))
    gguf_files.write_base(Path("llama"))
    write_tuned(Path("a"), layers=2)
    write_tuned(Path("b"), layers=2, seed=1)
    shutil.copyfile("base/tokenizer.json", "a/tokenizer.json")
    for line in (
        ["fuse", "base", "a", "-o", "fused"],
        ["merge", "a", "b", "--ties", "-o", "merged"],
        ["quantize", "base", "--to", "int8", "-o", "quantized"],
        ["compress", "a", "b", "-o", "collection"],
        ["convert", "a", "--to", "mlx", "-o", "mlx"],
        ["compare", "a", "b", "--plan", "plan.yaml"],
    ):
        assert run(line) == 0, line
    pickled()
    write_unmerged(Path("unmerged"), Path("base"), Path("a"))
    shutil.copyfile("a/adapter_config.json", "unmerged/adapter_config.json")
    names = [f"model.layers.{layer}.{name}" for layer in range(2) for name in ("q_proj", "v_proj")]
    Path("grams.safetensors").write_bytes(grams_file({name: np.eye(8) for name in names}, 8))
    with_magnitudes()
    of_llama_cpp()
    of_images()
    packed()
    of_mergekit()
    deltas()


def with_magnitudes() -> None:
    """DoRA."""
    write_tuned(Path("dora"), layers=2, use_dora=True)
    tensors = load_file("dora/adapter_model.safetensors")
    found = {
        name.replace("lora_B.weight", "lora_magnitude_vector"): torch.ones(len(each))
        for name, each in tensors.items()
        if "lora_B" in name
    }
    save_file(tensors | found, "dora/adapter_model.safetensors", {"format": "pt"})


def of_llama_cpp() -> None:
    """Adapters and models in several files."""
    for folder in ("split", "gguf model"):
        Path(folder).mkdir()
    gguf_files.write(Path("split/a.gguf"), split_max_tensors=5)
    gguf_models.write(Path("gguf model/base.gguf"), "llama", gguf_models.mixed, split_max_tensors=20)
    modules = ["model.layers.0.self_attn.v_proj"]
    write_adapter(Path("of gguf"), fields=config(2), modules=modules, rank=2, out=128, into=256)
    gguf_models.write(Path("base.gguf"), "llama", gguf_models.mixed)
    assert run(["fuse", "base.gguf", "of gguf", "-o", "fused.gguf"]) == 0


def of_images() -> None:
    """Files of every layout, and one model for them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, make in enumerate(LAYOUTS.values()):
        layout = make()
        save_file(
            {name: each.contiguous() for name, each in layout.tensors.items()},
            f"image {number}.safetensors",
            dict(layout.header) or None,
        )
        shapes |= layout.base
    Path("image").mkdir()
    save_file({name: torch.ones(shape) for name, shape in shapes.items()}, "image/model.safetensors", {"format": "pt"})


def packed() -> None:
    """Models in the schemes of other libraries."""
    write_adapter(Path("of packed"), fields=config(2), modules=[quantized_layouts.Q], rank=2, out=256, into=512)
    for number, make in enumerate(quantized_layouts.LAYOUTS.values()):
        quantized_layouts.write_layout(Path(f"packed {number}"), make())


def of_mergekit() -> None:
    for name in mergekit_models.NAMES:
        mergekit_models.write(Path(f"mk-{name}"), name)
    models = [
        {"model": "mk-chat", "parameters": {"weight": 0.6, "density": [0.3, 0.7]}},
        {"model": "mk-code", "parameters": {"weight": [{"filter": "mlp", "value": 0.5}, {"value": 0.2}], "density": 1}},
    ]
    recipe = {"merge_method": "ties", "base_model": "mk-base", "models": models, "dtype": "bfloat16"}
    Path("mergekit.yaml").write_text(yaml.safe_dump(recipe))


def deltas() -> None:
    """A delta and its base in the cache of a Hub, which is not asked any more, then."""
    with hub_server.running() as hub:
        for name, value in hub.settings(Path("hub").resolve()).items():
            setattr(constants, name, value)
        os.environ["HF_TOKEN"] = hub_server.SECRET
        hub.put("me/base", Path("base"))
        assert run(["fuse", "hf://me/base", "a", "--push", "me/delta", "--as-delta"]) == 0
        for repo in ("base", "delta"):
            revision = hub.repos[f"me/{repo}"].refs["main"]
            folder = Path(f"hub/models--me--{repo}")
            shutil.rmtree(folder, ignore_errors=True)
            for name, data in hub.files(f"me/{repo}").items():
                path = folder / "snapshots" / revision / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            (folder / "refs").mkdir()
            (folder / "refs/main").write_text(revision)
    constants.HF_HUB_OFFLINE = True
    shutil.copytree("hub/models--me--delta", "delta")


def pickled() -> None:
    Path("pickled").mkdir()
    tensors = {
        name: tensor for path in sorted(Path("base").glob("*.safetensors")) for name, tensor in load_file(path).items()
    }
    torch.save(tensors, "pickled/pytorch_model.bin")
