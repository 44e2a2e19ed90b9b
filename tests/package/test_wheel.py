"""What is published: a wheel built from the sdist does the first merge where nothing is installed but what it declares.

Nothing is downloaded. The bare environment has a wheel and links to what that requires, in the versions of this one.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tarfile
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from bare import done, environment
from corpus import write_adapter
from example_folder import make

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, outside of the repository."""
    place = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", place, cwd=ROOT)
    (sdist,) = place.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(
            place, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
        )  # 3.11.4 is the first
    source = place / sdist.name.removesuffix(".tar.gz")
    done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place, cwd=source)
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment with the wheel and what it declares."""
    place = tmp_path_factory.mktemp("bare")
    declared = Parser().parsestr(metadata(wheel)).get_all("Requires-Dist") or []
    scripts = environment(place, declared)
    options = ["--no-compile", "--no-deps", "--no-index"]
    done(sys.executable, "-m", "pip", "--python", place, "install", *options, wheel, cwd=place)
    return scripts


def metadata(wheel: Path) -> str:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name).decode()


def test_the_wheel_has_the_package_and_its_licence(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    tracked = subprocess.run(["git", "ls-files", "adapterops"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in names if name.startswith("adapterops/")} >= set(tracked.stdout.split())
    assert {name.partition("/")[0].rpartition(".")[2] for name in names} == {"adapterops", "dist-info"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_first_merge_of_readme(bare: Path, wheel: Path, tmp_path: Path) -> None:
    make(tmp_path)
    assert wheel.name.split("-")[1] in done(bare / "adapterops", "--version", cwd=tmp_path)
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## A first merge")[2].partition("\n## ")[0]
    commands = re.findall(r"^\$ (adapterops .*)$", section, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["merge", "fuse", "verify"]
    for command in commands:
        program, *arguments = shlex.split(command)
        printed = done(bare / program, *arguments, cwd=tmp_path)
    assert "  verified" in printed


@pytest.fixture(scope="module")
def models(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the examples, with a model into which an adapter was fused."""
    place = tmp_path_factory.mktemp("models")
    make(place)
    done(bare / "adapterops", "fuse", "base", "style", "-o", "tuned", cwd=place)
    return place


@pytest.mark.parametrize(
    "command",
    [
        "show style --spectrum",
        "compare style domain",
        "report style domain --base base",
        "truncate style --rank 4",
        'calc "a + 0.5*b" a=style b=domain -o sum',
        "extract tuned base --rank 8 -o extracted",
        "unfuse tuned style -o restored",
    ],
)
def test_nothing_but_quantized_models_and_pickles_needs_torch(bare: Path, command: str, models: Path) -> None:
    done(bare / "adapterops", *shlex.split(command), cwd=models)


def test_without_torch_what_needs_it_says_so(bare: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "style")
    make(tmp_path / "models")
    done(bare / "python", "-c", "import torch", cwd=tmp_path, code=1)
    (tmp_path / "style/adapter_model.safetensors").unlink()
    (tmp_path / "style/adapter_model.bin").write_bytes(b"PK\x03\x04")
    printed = done(bare / "adapterops", "show", "style", "--allow-pickle", cwd=tmp_path, code=5)
    assert "pip install 'adapterops[torch]'" in printed
    printed = done(bare / "adapterops", "quantize", "models/base", "--to", "nf4", "-o", "four", cwd=tmp_path, code=5)
    assert "pip install 'adapterops[torch]'" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"style", "models"}
