"""Fuzzing: valid files and arguments, each with a few changes, given to commands until the time is up.

    python tests/fuzz/run.py                                     # a minute, over all targets
    python tests/fuzz/run.py --seconds 600 --seed 7
    python tests/fuzz/run.py --only recipes --seed 7 --at 1234    # one input again

A failure is exit code 1, a traceback, more than `PATIENCE` seconds, or an output that our own readers refuse.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import kinds
from damage import Random, damaged, several, text_of
from kinds import KINDS, Command

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli.main import run
from adapterops.errors import InputError
from adapterops.formats.models.model_files import holds_model
from adapterops.provenance.manifest import seal
from adapterops.provenance.reader import read_manifest
from adapterops.storage import journal
from adapterops.storage.checksums import digest
from adapterops.storage.outputs import MANIFEST
from adapterops.storage.strict import parse_json

PATIENCE = 30
CODES = {0, 2, 3, 4, 5, 6, 7, 8, 9}


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
    source = chance.choice(list(PARTED))
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


def deltas(chance: Random) -> Command:
    """Of a model that is not stored on the Hub."""
    path, command = kinds.delta(chance)
    damaged(path, chance)
    return command


def of_kind(name: str, chance: Random) -> Command:
    path, command = KINDS[name].taken(chance)
    damaged(path, chance)
    return command


TARGETS: dict[str, Callable[[Random], Command]] = {
    **{name: partial(of_kind, name) for name in KINDS},
    **{each.__name__: each for each in (deltas, manifests, journals, parts, recipes, arguments)},
}


def prepare() -> None:
    """The files that are changed, in the current folder."""
    kinds.prepare()
    stopped()
    parted()
    KEPT.update(os.listdir())


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
    chance = Random(f"{seed} {target} {number}")
    line = TARGETS[target](chance)
    if target != "arguments" and line[0] != "card" and chance.random() < 0.3:
        line = [*line, "--json"]
    out, err = io.StringIO(), io.StringIO()
    signal.alarm(PATIENCE)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            code = run(line)
        if "--json" in line and not is_json(out.getvalue()):
            return f"{line}: exit code {code}, and what is printed is not JSON: {out.getvalue()[:500]!r}\n{err.getvalue()[-3000:]}"
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


def is_json(text: str) -> bool:
    try:
        parse_json(text.encode())
    except InputError:
        return False
    return True


KEPT: set[str] = set()
"""What stays in the current folder."""


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
