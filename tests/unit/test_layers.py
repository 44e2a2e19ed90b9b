"""Arrows point down: what each part of the package may import, and what torch-free commands may."""

from __future__ import annotations

import ast
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from commands import Command
from safetensors.torch import save_file

import adapterops

PACKAGE = Path(adapterops.__file__).parent
LAYERS = [
    {"errors", "installed", "regex"},
    {"arrays", "version"},
    {"registry", "tables", "templates"},
    {"quant"},
    {"updates", "storage"},
    {"linalg", "formats"},
    {"methods"},
    {"provenance"},
    {"engine"},
    {"checkpoints"},
    {"adapters"},
    {"live", "verification"},
    {"operations"},
    {"expressions"},
    {"hub", "testing"},
    {"requests"},
    {"recipes", "reports"},
    {"cli"},
    {"__main__"},
]
MATHEMATICS, STORAGE = {"updates", "linalg", "methods"}, {"storage", "formats"}
DECLARED = {f"adapterops.updates.{name}" for name in ("layout", "protocol", "kinds")}
"""What names may know of mathematics."""

EDGE_ONLY = {
    "click": "cli",
    "huggingface_hub": "hub",
    "jinja2": "templates",
    "ray": "engine",
    "bitsandbytes": "quant",
    "transformers": "live",
    "peft": "live",
    "yaml": "storage",
    "safetensors": "storage",
    "blake3": "storage",
    "threadpoolctl": "engine",
    "gc": "engine",
}
NEVER = {"diffusers", "matplotlib", "rich", "scipy"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "adapterops"
                else {str(node.module)}
            )
    return found


def rank(name: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if name in layer)


def test_imports_point_down() -> None:
    found = {str(path.relative_to(PACKAGE)): [name for name in imports(path) if strays(name, path)] for path in MODULES}
    assert not {path: names for path, names in found.items() if names}


def strays(name: str, path: Path) -> bool:
    """Whether a module imports what is not below it."""
    here, top = room(path), name.partition(".")[0]
    there = name.split(".")[1] if top == "adapterops" else here
    return (
        top in NEVER
        or EDGE_ONLY.get(top, here) != here
        or (there not in (here, "__version__") and rank(there) >= rank(here))
        or (here in MATHEMATICS and there in STORAGE)
        or (here in STORAGE and there in MATHEMATICS and name not in DECLARED)
    )


FORBIDDEN = {"operations", "updates", "linalg", "methods", "quant", "expressions"}
"""What a witness of `fuse` may not take its formulas, its names and its codes from."""


def test_the_witness_shares_only_readers() -> None:
    paths = sorted(PACKAGE.glob("verification/**/*.py"))
    named = {name for path in paths for name in imports(path) if name.startswith("adapterops.")}
    assert not {name for name in named if name.split(".")[1] in {*FORBIDDEN, "formats"}}


TORCH_FREE = """
import sys
from adapterops.cli import main

done = main.run

def run(arguments):
    code = done(arguments)
    assert "torch" not in sys.modules, "torch was imported"
    return code

main.run = run
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import gguf_files
    from corpus import MODULES, write_adapter
    from gptq_models import GPTQWeight, write_gptq

    folder = tmp_path_factory.mktemp("inputs")
    write_gptq(folder / "packed", {"fc": GPTQWeight.random(32, 64, 3, 32, ordered=True)}, 32)
    write_adapter(folder / "a")
    gguf_files.write(folder / "a.gguf")
    gguf_files.write_base(folder / "llama")
    updates = adapterops.open_adapter(folder / "a").updates
    ones = torch.ones(12, 8)
    models = {
        "base": {module: ones.clone() for module in MODULES},
        "half": {module: ones.half() for module in MODULES},
        "tuned": {module: ones + torch.randn(12, 8) for module in MODULES},
        "made": {module: ones + torch.from_numpy(updates[module].dense()) for module in MODULES},
    }
    for name, weights in models.items():
        (folder / name).mkdir()
        stored = {f"{module}.weight": weight for module, weight in weights.items()}
        save_file(stored, folder / name / "model.safetensors", {"format": "pt"})
    (folder / "recipe.yaml").write_text(
        "adapterops: 1\ninputs: {a: a}\nresult: 0.5*a\nbase: base\noutput: {path: out}\n"
    )
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["merge", "--help"],
        ["methods"],
        ["show", "a"],
        ["merge", "a", "a", "--ties", "--dry-run"],
        ["truncate", "a", "--rank", "1", "--dry-run"],
        ["fuse", "base", "a", "--dry-run"],
        ["fuse", "base", "a", "a", "--ties", "--dtype", "float32", "--max-shard-size", "1kB", "--dry-run"],
        ["unfuse", "base", "a", "--dry-run"],
        ["fuse", "base", "a", "-o", "out"],
        ["fuse", "base", "a", "a", "--ties", "-o", "out"],
        ["fuse", "half", "a", "-o", "out"],
        ["fuse", "half", "a", "-o", "out", "--part", "1/1"],
        ["merge", "a", "a", "-o", "out"],
        ["merge", "a", "a", "--ties", "-o", "out", "--part", "1/1"],
        ["convert", "a", "--to", "mlx", "-o", "out"],
        ["convert", "a.gguf", "--to", "peft", "--base", "llama", "-o", "out"],
        ["normalize", "a", "-o", "out"],
        ["compress", "a", "b=a", "-o", "out"],
        ["check", "a", "--base", "base"],
        ["check", "--help"],
        ["merge", "a", "a", "--ties", "--rank", "1", "-o", "out"],
        ["merge", "a", "a", "--dare-ties", "--space", "core", "-o", "out"],
        ["truncate", "a", "--rank", "1", "-o", "out"],
        ["truncate", "a", "--budget", "100", "--dtype", "float16", "-o", "out"],
        ["calc", "a - truncate(a, rank=1)", "a=a", "-o", "out"],
        ["show", "a", "--spectrum"],
        ["compare", "a", "a"],
        ["report", "a", "a", "--base", "base", "-o", "out.html"],
        ["report", "a", "--base", "base", "--figures", "figures", "-o", "out.html"],
        ["extract", "tuned", "--base", "base", "--rank", "2", "-o", "out"],
        ["verify", "made", "--base", "base", "--adapter", "a"],
        ["verify", "made", "--base", "base", "--adapter", "a", "--made-by", "peft"],
        ["diagnose", "made", "--base", "base", "--adapter", "a"],
        ["diagnose", "tuned", "--base", "base"],
        ["diagnose", "--help"],
        ["fuse", "base", "a", "a", "-w", "0.7", "-w", "-0.2", "--dtype", "bfloat16", "-o", "out"],
        ["unfuse", "base", "a", "--dtype", "float64", "--json", "-o", "out"],
        ["merge", "a", "a", "--budget", "200", "--memory", "1GB", "--dry-run"],
        ["truncate", "a", "--budget", "100", "--dry-run", "--json"],
        ["calc", "truncate(a, budget=100) + ties(a, a)", "a=a", "--budget", "1kB", "--dry-run"],
        ["calc", "0.5*truncate(a, rank=1) + ties(a, a)", "a=a", "--rank", "1", "--dry-run"],
        ["run", "recipe.yaml", "--dry-run"],
        ["show", "packed"],
        ["dequantize", "packed", "--dry-run"],
        ["quantize", "base", "--dry-run"],
        ["quantize", "--help"],
        ["fuse", "--help"],
        ["extract", "--help"],
        ["verify", "--help"],
        ["push", "--help"],
        ["pull", "--help"],
        ["compare", "--help"],
        ["report", "--help"],
        ["report", "a", "--base", "base", "--figures", "figures", "--dry-run"],
    ],
    ids=" ".join,
)
def test_no_torch(arguments: list[str], inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    done = Command(arguments, setup=TORCH_FREE).end()
    assert done.code == 0, done.err


def test_a_command_that_imports_torch_is_found() -> None:
    done = Command(["--version"], setup=f"{TORCH_FREE}\nimport torch").end()
    assert "torch was imported" in done.err


def test_public_names_exist() -> None:
    for name in adapterops.__all__:
        assert getattr(adapterops, name) is not None
    assert set(adapterops.__all__) == set(dir(adapterops))
    with pytest.raises(AttributeError):
        adapterops.no_such_name  # noqa: B018  # the access itself must fail
