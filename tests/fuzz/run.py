"""Fuzzing: valid files and arguments, each with a few changes, given to commands until the time is up.

    python tests/fuzz/run.py                                     # a minute, over all targets
    python tests/fuzz/run.py --seconds 600 --seed 7
    python tests/fuzz/run.py --only recipes --seed 7 --at 1234    # one input again

A failure is exit code 1, a traceback, more than `PATIENCE` seconds, or an output that our own readers refuse.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import gguf_files
import numpy as np
import torch
from safetensors.torch import load_file
from tiny_models import write_base, write_tuned, write_unmerged

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli.main import run
from adapterops.formats.models.model_files import holds_model
from adapterops.provenance.manifest import seal
from adapterops.provenance.reader import read_manifest
from adapterops.storage import journal
from adapterops.storage.checksums import digest
from adapterops.storage.grams import grams_file
from adapterops.storage.outputs import MANIFEST

PATIENCE = 30
CODES = {0, 2, 3, 4, 5, 6, 7, 8, 9}
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 8, 10**9, 2**63, 10**30, 10**300, 10**400, 0.5, -0.0, 1e-320, 1e308,
    float("inf"), float("nan"), "", "a", ".", "..", "../a", "/etc/passwd", "a\0b", "\x1b[31m", "\ud800", "n" * 5000,
    "float32", "F8_E4M3", "LORA", "(.*)*X", "hf://a/b", [], [[]], [1], ["a"], {}, {"a": 1}, {"": None}, "int8",
    "nf4", "all", "lm_head",
]  # fmt: skip
"""What is put in the place of anything."""

Random = random.Random
Command = list[str]


def places(value: Any) -> list[tuple[Any, ...]]:
    """The place of every value, to a depth that nothing of ours has."""
    level: list[tuple[tuple[Any, ...], Any]] = [((), value)]
    found: list[tuple[Any, ...]] = []
    for _ in range(20):
        found += (place for place, _ in level)
        level = [((*place, key), inner) for place, each in level for key, inner in _items(each)]
    return found


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())


def changed(value: Any, chance: Random) -> Any:
    """A value with one place replaced, removed, renamed, or nested deeper."""
    place = chance.choice(places(value))
    if not place:
        return copy.deepcopy(chance.choice(VALUES))
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    kind, key = chance.randrange(5), place[-1]
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[str(chance.choice(VALUES))] = holder.pop(key)
    elif kind == 2:
        for _ in range(chance.choice((1, 50, 300, 900))):
            holder[key] = [holder[key]]
    else:
        holder[key] = copy.deepcopy(chance.choice(VALUES))
    return value


def text_of(value: Any, chance: Random) -> bytes:
    """JSON, sometimes with bytes of it changed."""
    try:
        data = bytearray(json.dumps(value).encode())
    except RecursionError:
        data = bytearray(b"[" * 900 + b"]" * 900)
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.05 else data)


def several(value: Any, chance: Random) -> Any:
    for _ in range(chance.choice((1, 1, 2, 4))):
        value = changed(value, chance)
    return value


ADAPTER_COMMANDS = [
    ["show", "x"],
    ["truncate", "x", "--rank", "1", "-o", "out"],
    ["merge", "x", "a", "--ties", "-o", "out"],
    ["calc", "0.5*x + a", "x=x", "a=a", "-o", "out"],
    ["fuse", "base", "x", "-o", "out"],
    ["compare", "x", "a"],
    ["push", "x", "me/x", "--dry-run"],
    ["convert", "x", "--to", "mlx", "-o", "out"],
    ["normalize", "x", "-o", "out"],
    ["check", "x"],
    ["check", "x", "--for", "lorax", "--base", "base"],
    ["report", "x", "a", "-o", "page.html"],
    ["compress", "x", "a", "-o", "out"],
    ["card", "x"],
    ["diagnose", "fused", "--base", "base", "--adapter", "x"],
    ["unfuse", "fused", "x", "-o", "out"],
]
MODEL_COMMANDS = [
    ["show", "x"],
    ["fuse", "x", "a", "-o", "out"],
    ["quantize", "x", "--to", "int8", "-o", "out"],
    ["dequantize", "x", "-o", "out"],
    ["extract", "x", "--base", "base", "--rank", "1", "-o", "out"],
    ["verify", "x", "--base", "base", "--adapter", "a"],
    ["push", "x", "me/x", "--dry-run"],
    ["diagnose", "x", "--base", "base", "--adapter", "a"],
    ["diagnose", "fused", "--base", "x"],
    ["unfuse", "x", "a", "-o", "out"],
    ["split", "x", "-o", "out"],
    ["card", "x"],
    ["gram", "x", "a/adapter_config.json", "-o", "grams.out"],
]
COLLECTION_COMMANDS = [
    ["show", "x"],
    ["show", "x#a"],
    ["fuse", "base", "x#a", "-o", "out"],
    ["convert", "x#b", "--to", "peft", "-o", "out"],
    ["merge", "x#a", "b", "-o", "out"],
    ["card", "x"],
    ["push", "x", "me/x", "--dry-run"],
]


def headers(chance: Random) -> Command:
    """Of the safetensors files of adapters, models and models with LoRA layers in them."""
    model = chance.random() < 0.5
    shutil.copytree(chance.choice(("base", "unmerged")) if model else "a", "x")
    damage(chance.choice(sorted(Path("x").glob("*.safetensors"))), chance)
    return chance.choice(MODEL_COMMANDS if model else ADAPTER_COMMANDS)


def collections(chance: Random) -> Command:
    """Headers and bytes of a collection."""
    shutil.copytree("collection", "x")
    damage(Path("x/collection.safetensors"), chance)
    return chance.choice(COLLECTION_COMMANDS)


def grams(chance: Random) -> Command:
    """Of the inputs of the modules, for calibrated rounding."""
    shutil.copyfile("grams.safetensors", "x.safetensors")
    damage(Path("x.safetensors"), chance)
    return [
        "fuse",
        "quantized",
        "a",
        "--rounding",
        "calibrated",
        "--grams",
        "x.safetensors",
        "--accept-loss",
        "-o",
        "out",
    ]


def damage(path: Path, chance: Random) -> None:
    """Changes in the header of a safetensors file, and bytes that are missing."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = text_of(several(json.loads(data[8 : 8 + length]), chance), chance)
    stated = len(header) if chance.random() < 0.9 else chance.choice((0, 1, 2**32, 2**64 - 1, len(header) + 1))
    rest = data[8 + length :]
    path.write_bytes(struct.pack("<Q", stated) + header + rest[: chance.choice((len(rest), len(rest) // 2))])


def ggufs(chance: Random) -> Command:
    """Adapters of llama.cpp: bytes of their headers changed, cut off, doubled."""
    data = bytearray(Path("a.gguf").read_bytes())
    for _ in range(chance.choice((1, 2, 8))):
        place, kind = chance.randrange(1000), chance.randrange(5)
        if kind == 0:
            del data[place : place + chance.choice((1, 8, 500, 50_000))]
        elif kind == 1:
            data[place:place] = data[place : place + chance.choice((8, 64))]
        elif kind == 2:
            data[place : place + 8] = struct.pack("<Q", chance.choice((0, 1, 2**31, 2**40, 2**63, 2**64 - 1)))
        else:
            data[place : place + 1] = bytes([chance.randrange(256)])
    Path("x.gguf").write_bytes(data)
    return chance.choice(
        [
            ["show", "x.gguf"],
            ["check", "x.gguf"],
            ["convert", "x.gguf", "--to", "peft", "--base", "llama", "-o", "out"],
            ["fuse", "llama", "x.gguf", "-o", "out"],
        ]
    )


def configs(chance: Random) -> Command:
    """adapter_config.json, config.json and indexes."""
    model = chance.random() < 0.4
    shutil.copytree(chance.choice(("base", "quantized")) if model else "a", "x")
    path = chance.choice(sorted(Path("x").glob("*.json")))
    path.write_bytes(text_of(several(json.loads(path.read_bytes()), chance), chance))
    return chance.choice(MODEL_COMMANDS if model else ADAPTER_COMMANDS)


def manifests(chance: Random) -> Command:
    """With seals that fit."""
    shutil.copytree(chance.choice(("fused", "merged", "quantized")), "x")
    content = several(json.loads(Path("x", MANIFEST).read_bytes()), chance)
    if isinstance(content, dict):
        with contextlib.suppress(ValueError, RecursionError, UnicodeEncodeError):
            content["seal"] = seal(content)
    Path("x", MANIFEST).write_bytes(text_of(content, chance) if chance.random() < 0.2 else text_of(content, Random(0)))
    return chance.choice(
        [
            ["verify", "x"],
            ["verify", "x", "--base", "base", "--adapter", "a"],
            ["push", "x", "me/x", "--dry-run"],
            ["show", "x"],
            ["truncate", "a", "--rank", "1", "-o", "x", "--force"],
        ]
    )


def journals(chance: Random) -> Command:
    """Of a run that was stopped."""
    shutil.copytree("stopped", ".out.adapterops-0123456789ab")
    path = Path(".out.adapterops-0123456789ab/.journal")
    lines = path.read_bytes().splitlines()
    index = chance.randrange(len(lines))
    lines[index] = noted(lines[index], chance)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return ["fuse", "base", "a", "-o", "out", "--resume"]


def noted(text: bytes, chance: Random) -> bytes:
    """A line of ours with changes, mostly of what it says, whose checksum fits, then."""
    content = json.loads(text)
    if chance.random() < 0.3:
        return text_of(several(content, chance), chance)
    with contextlib.suppress(ValueError, RecursionError):
        return journal.line(several(content["entry"], chance)).strip()
    return text


def parts(chance: Random) -> Command:
    """Of an output in parts: its plan, the records of what is finished, and what was measured for all."""
    source = chance.choice(("parted", "parted adapter"))
    shutil.copytree(source, ".", dirs_exist_ok=True)
    if source == "parted proof":
        shutil.copytree("fused", "out")
    path = chance.choice(
        [each for each in sorted(Path(source).rglob("*.json")) if source == "parted proof" or "files" not in each.parts]
    )
    place = Path(*path.parts[1:])
    of_ours = "files" not in path.parts
    place.write_bytes(noted(path.read_bytes(), chance) if of_ours else found(place, path.read_bytes(), chance))
    return chance.choice([["finalize", "out"], [*PARTED[source], "--part", "1/1"]])


def pickles(chance: Random) -> Command:
    """Read with --allow-pickle: bytes changed, cut off, doubled."""
    shutil.copytree("pickled", "x")
    data = bytearray(Path("x/pytorch_model.bin").read_bytes())
    for _ in range(chance.choice((1, 2, 8))):
        at = chance.randrange(len(data) or 1)
        kind = chance.randrange(4)
        if kind == 0:
            del data[at : at + chance.choice((1, 64, 5000))]
        elif kind == 1:
            data[at:at] = data[at : at + 64]
        else:
            data[at : at + 1] = bytes([chance.randrange(256)])
    Path("x/pytorch_model.bin").write_bytes(data)
    return [*chance.choice([line for line in MODEL_COMMANDS if line[0] not in ("show", "push")]), "--allow-pickle"]


def found(place: Path, text: bytes, chance: Random) -> bytes:
    """What a part found, with changes, and a record that fits."""
    changed_ = text_of(several(json.loads(text), chance), Random(0))
    record = place.parents[1] / "records" / f"{place.name}.json"
    entry = json.loads(record.read_bytes())["entry"]
    record.write_bytes(journal.line({**entry, "blake3": digest(changed_)}))
    return changed_


PARTED = {
    "parted": ["fuse", "base", "a", "-o", "out"],
    "parted adapter": ["truncate", "a", "--budget", "100", "-o", "out"],
    "parted proof": ["verify", "out", "--base", "base", "--adapter", "a"],
}
"""How what is in these folders is made."""

RECIPE = {
    "adapterops": 1,
    "inputs": {"a": "a", "x": {"path": "b", "alpha": 4, "sha256": {"adapter_config.json": "0" * 64}}},
    "result": "0.5*a + ties(a, x, density=0.5)",
    "base": "base",
    "rounding": "nearest",
    "seed": 1,
    "precision": "float32",
    "quantize": {"scheme": "int8", "double_quant": False, "block_size": 64},
    "output": {"path": "out", "dtype": "float32", "rank": 2, "energy": 0.5, "budget": "100", "max_shard_size": "1kB"},
}


def recipes(chance: Random) -> Command:
    kept = {
        name: value
        for name, value in RECIPE.items()
        if name in ("adapterops", "inputs", "result") or chance.random() < 0.4
    }
    recipe = json.loads(json.dumps(kept))
    if chance.random() < 0.7:
        recipe["inputs"]["x"] = "b"
    name = chance.choice(("recipe.json", "recipe.yaml"))
    Path(name).write_bytes(text_of(several(recipe, chance) if chance.random() < 0.9 else recipe, chance))
    return ["run", name, *chance.choice(([], ["-o", "out"], ["-o", "out", "--dry-run"]))]


WORDS = [
    "merge", "truncate", "calc", "fuse", "unfuse", "extract", "quantize", "dequantize", "compare", "show", "verify",
    "report", "run", "methods",
    "convert", "normalize", "check", "a", "b", "base", "quantized", "fused", "merged", "x=a", "a=a", "b=b", "a+b",
    "ties(a,b)", "2*a", "truncate(a,rank=1)", "a/0", "-a", "1e999*a", "--ties", "--linear", "--dare", "--method",
    "--rank", "--energy", "--budget", "--density", "-w", "--alpha", "--to", "--dtype", "--json", "--dry-run",
    "--force", "--strict", "--base", "--adapter", "--rounding", "stochastic", "--seed", "--workers", "--memory",
    "--max-shard-size", "--figures", "--original", "--precision", "float64", "--block-size", "--double-quant",
    "--resume", "--exact", "--for", "vllm", "--max-rank",
    "--format", "mlx", "peft", "1", "0", "-1", "0.5", "nan", "inf", "1e-320", "1e400", "9" *
    400, "2GB", "9" * 400 + "MB", "nf4", "int8", "bfloat16", "n" * 300, "../..", "\x1b[31m", "page.html", "out",
    "\udcff", "hf://", "hf://x", "~", "",
]  # fmt: skip
LINES = [
    ["merge", "a", "b", "--ties"],
    ["truncate", "a", "--rank", "1"],
    ["calc", "0.5*a + b", "a=a", "b=b"],
    ["fuse", "base", "a"],
    ["fuse", "quantized", "a", "--rounding", "stochastic"],
    ["unfuse", "fused", "a"],
    ["extract", "fused", "--base", "base", "--rank", "1"],
    ["quantize", "base", "--to", "int8"],
    ["dequantize", "quantized"],
    ["verify", "fused"],
    ["compare", "a", "b"],
    ["report", "a", "-o", "page.html"],
    ["show", "a"],
]


def arguments(chance: Random) -> Command:
    line = [*chance.choice(LINES), *chance.choice(([], ["-o", "out"]))]
    for _ in range(chance.choice((1, 2, 3, 5))):
        at = chance.randrange(len(line) + 1)
        line[at : at + chance.choice((0, 0, 1))] = [chance.choice(WORDS)]
    return [each for each in line if each not in ("--logits", "--verify-inputs", "pull", "push")]


TARGETS: dict[str, Callable[[Random], Command]] = {
    each.__name__: each
    for each in (headers, collections, grams, ggufs, configs, manifests, journals, parts, pickles, recipes, arguments)
}


def prepare() -> None:
    """The files that are changed, in the current folder."""
    write_base(Path("base"), layers=2)
    gguf_files.write(Path("a.gguf"))
    gguf_files.write_base(Path("llama"))
    write_tuned(Path("a"), layers=2)
    write_tuned(Path("b"), layers=2, seed=1)
    for line in (
        ["fuse", "base", "a", "-o", "fused"],
        ["merge", "a", "b", "--ties", "-o", "merged"],
        ["quantize", "base", "--to", "int8", "-o", "quantized"],
        ["compress", "a", "b", "-o", "collection"],
    ):
        assert run(line) == 0
    stopped()
    parted()
    pickled()
    write_unmerged(Path("unmerged"), Path("base"), Path("a"))
    names = [f"model.layers.{layer}.{name}" for layer in range(2) for name in ("q_proj", "v_proj")]
    Path("grams.safetensors").write_bytes(grams_file({name: np.eye(8) for name in names}, 8))


def pickled() -> None:
    Path("pickled").mkdir()
    tensors = {
        name: tensor for path in sorted(Path("base").glob("*.safetensors")) for name, tensor in load_file(path).items()
    }
    torch.save(tensors, "pickled/pytorch_model.bin")


def stopped() -> None:
    """What a run leaves that was interrupted at its last file."""
    from adapterops.cli.main import Terminated
    from adapterops.storage import staging

    real = staging.publish

    def stop(*arguments: Any) -> None:
        raise Terminated(signal.SIGINT)

    staging.publish = stop
    try:
        assert run(["fuse", "base", "a", "-o", "out"]) == 128 + signal.SIGINT
    finally:
        staging.publish = real
    (left,) = Path().glob(".out.adapterops-*")
    left.rename("stopped")


def parted() -> None:
    """What two parts leave, next to which an output appears."""
    for folder, command in PARTED.items():
        Path(folder).mkdir()
        if folder == "parted proof":
            shutil.copytree("fused", "out")
        for part in ("1/2", "2/2"):
            assert run([*command, "--part", part]) == 0
        for left in sorted(Path().glob(".out.*")):
            left.rename(Path(folder, left.name))
        shutil.rmtree("out", ignore_errors=True)


def readable(folder: Path) -> None:
    """Raise what our readers raise about an output."""
    read_manifest(folder)
    if (folder / "adapter_config.json").exists() or (folder / "adapters.safetensors").exists():
        open_adapter(folder)
    elif holds_model(folder):
        open_checkpoint(folder)


def tried(target: str, seed: int, number: int) -> str | None:
    """What is wrong with what a command makes of one input."""
    for path in Path().iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    line = TARGETS[target](Random(f"{seed} {target} {number}"))
    out, err = io.StringIO(), io.StringIO()
    signal.alarm(PATIENCE)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            code = run(line)
        if code not in CODES or "Traceback" in err.getvalue():
            return f"{line}: exit code {code}\n{err.getvalue()[-3000:]}"
        for folder in Path().iterdir():
            if code == 0 and folder.name not in {*KEPT, "x"} and folder.is_dir():
                try:
                    readable(folder)
                except Exception as error:  # any refusal is a failure
                    return f"{line}: {folder} was written, and is refused: {error!r}"
        hidden = [path.name for path in Path().iterdir() if path.name.startswith(".")]
        return (
            f"{line}: exit code {code}, and left {hidden}" if hidden and target not in ("journals", "parts") else None
        )
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{line}: {error!r} came out of it"
    finally:
        signal.alarm(0)


KEPT = {
    "base", "a", "b", "a.gguf", "llama", "pickled", "fused", "merged", "quantized", "stopped", "collection", "unmerged",
    "grams.safetensors", *PARTED,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("--at", type=int, help="one input")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    targets = [given.only] if given.only else list(TARGETS)
    failures, number, end = 0, given.at or 0, time.monotonic() + given.seconds
    os.environ["HF_HUB_OFFLINE"] = "1"

    def late(signum: int, frame: object) -> None:
        raise TimeoutError(f"takes more than {PATIENCE} seconds")

    signal.signal(signal.SIGALRM, late)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with contextlib.redirect_stdout(io.StringIO()):
            prepare()
        while time.monotonic() < end:
            for target in targets:
                if wrong := tried(target, given.seed, number):
                    failures += 1
                    print(f"FAILED  --only {target} --seed {given.seed} --at {number}\n{wrong}\n", flush=True)
            number += 1
            if given.at is not None or failures > 20:
                break
        os.chdir("/")
    print(f"{number} inputs for each of {', '.join(targets)}; {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
