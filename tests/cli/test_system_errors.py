"""Errors of the system, by whose file it was: an input's are 3, the machine's 7."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from corpus import digest, tree, write_adapter
from tiny_models import write_base, write_tuned
from turns import in_turn

from adapterops.cli.main import run

LONG = "n" * 300
READING = {
    "show": ["show", "IN"],
    "compare": ["compare", "IN", "a"],
    "report": ["report", "IN", "-o", "page.html"],
    "merge": ["merge", "IN", "a", "-w", "1", "-w", "1", "-o", "out"],
    "truncate": ["truncate", "IN", "--rank", "1", "-o", "out"],
    "calc": ["calc", "2*x", "x=IN", "-o", "out"],
    "fuse": ["fuse", "IN", "a", "-o", "out"],
    "fuse an adapter": ["fuse", "base", "IN", "-o", "out"],
    "unfuse": ["unfuse", "IN", "a", "-o", "out"],
    "extract": ["extract", "IN", "--base", "base", "--rank", "1", "-o", "out"],
    "quantize": ["quantize", "IN", "--to", "nf4", "-o", "out"],
    "dequantize": ["dequantize", "IN", "-o", "out"],
    "verify": ["verify", "IN", "--base", "base", "--adapter", "a"],
    "push": ["push", "IN", "me/x", "--dry-run"],
    "run": ["run", "IN"],
}
MORE = {
    "convert": ["convert", "IN", "--to", "mlx", "-o", "out"],
    "normalize": ["normalize", "IN", "-o", "out"],
    "check": ["check", "IN"],
    "compress": ["compress", "IN", "a", "-o", "out"],
    "split": ["split", "IN", "-o", "out"],
    "diagnose": ["diagnose", "IN", "--base", "base"],
    "diagnose by a base": ["diagnose", "base", "--base", "IN"],
    "gram": ["gram", "IN", "a/adapter_config.json", "-o", "grams.safetensors"],
    "gram of a text": ["gram", "base", "IN", "-o", "grams.safetensors"],
    "card": ["card", "IN"],
    "merge by a base": ["merge", "a", "--base", "IN", "-o", "out"],
    "fuse by Gram matrices": ["fuse", "base", "a", "--rounding", "calibrated", "--grams", "IN", "-o", "out"],
}
READING |= MORE

NOT_READ = {name: {3, 5} | ({8} if name == "verify" else set()) for name in READING}
"""What a command says that cannot read its input: of a model to verify, that it is not what it should be."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", READING)
def test_a_name_that_is_too_long(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (LONG, f"a/{LONG}"):
        assert run([each.replace("IN", name) for each in READING[command]]) in NOT_READ[command]
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", READING)
def test_a_folder_that_may_not_be_looked_into(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(function: str) -> Any:
        real = getattr(os, function)

        def guarded(path: Any, *arguments: Any, **options: Any) -> Any:
            inner = isinstance(path, str | os.PathLike) and "locked" in os.fspath(path)
            if inner and (function == "scandir" or function == "listdir" or "locked/" in os.fspath(path)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, function, guarded)

    Path("locked").mkdir()
    for function in ("stat", "lstat", "open", "scandir", "listdir"):
        denied(function)
    assert run([each.replace("IN", "locked") for each in READING[command]]) in NOT_READ[command] - {5}
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", READING)
def test_a_file_that_may_not_be_read(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asks first, the system or a library that looks at the command line."""
    name, opened, allowed = "locked.safetensors", os.open, os.access

    def open_(path: Any, *arguments: Any, **options: Any) -> int:
        if os.fspath(path) == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return opened(path, *arguments, **options)

    Path(name).write_bytes(b"")
    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "access", lambda path, *more: path != name and allowed(path, *more))
    assert run([each.replace("IN", name) for each in READING[command]]) in NOT_READ[command] - {5}
    assert "may not be read" in capsys.readouterr().err


SPECIAL = {
    "a pipe": os.mkfifo,
    "a device": lambda path: os.symlink("/dev/zero", path),
    "a link to itself": lambda path: os.symlink(Path(path).name, path),
    "a folder": os.mkdir,
    "a file that the disk does not give": lambda path: os.symlink("/proc/self/mem", path),
}


def there(place: Path) -> dict[str, str]:
    """Every path, and what is in it where it is a file that can be read."""
    paths = sorted(place.rglob("*"))
    return {str(path): digest(path) if path.is_file() and not path.is_symlink() else "" for path in paths}


@pytest.mark.parametrize(("command", "kind"), in_turn(READING, SPECIAL))
def test_what_is_no_file_is_refused_and_not_waited_for(
    command: str, kind: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By itself, and in the place of each file of an adapter and of a model."""

    def late(*_: object) -> None:
        raise TimeoutError("waited for what never ends")

    for source in ("a", "base"):
        for inner in sorted(os.listdir(source)):
            copy = place / f"{source} {inner}"
            shutil.copytree(source, copy)
            (copy / inner).unlink()
            SPECIAL[kind](copy / inner)
    SPECIAL[kind](place / "x.safetensors")
    before = there(place)
    signal.signal(signal.SIGALRM, late)
    for name in sorted(os.listdir(place)):
        if name in ("a", "base"):
            continue
        signal.alarm(20)
        code = run([each.replace("IN", name) for each in READING[command]])
        signal.alarm(0)
        said = capsys.readouterr().err
        assert code in {0, 2, 3, 4, 5, 6, 8}, (name, said)
        assert "Traceback" not in said
        if code:
            assert there(place) == before, name
        for left in ("out", "page.html", "grams.safetensors"):
            shutil.rmtree(left, ignore_errors=True) if Path(left).is_dir() else Path(left).unlink(missing_ok=True)


WRITING = {name: line for name, line in READING.items() if "-o" in line and name not in MORE}


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("length", [240, 300])
def test_an_output_whose_name_is_too_long(
    place: Path, command: str, length: int, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "base" if command.split()[-1] in ("fuse", "unfuse", "extract", "quantize", "dequantize") else "a"
    out = "n" * length + (".html" if command == "report" else "")
    before = tree(place)
    line = [each.replace("IN", source) for each in WRITING[command]]
    line[line.index("-o") + 1] = out
    assert run(line) == 3
    assert "File name too long" in capsys.readouterr().err
    assert tree(place) == before


@pytest.mark.parametrize(
    "value", ["9" * 300, "9" * 400, "9" * 5000, "1e999", "-1e999", "1e-320", "NaN", "[" * 900 + "]" * 900]
)
@pytest.mark.parametrize("field", ["alpha", "energy", "budget", "rank", "max_shard_size", "seed", "block_size"])
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_numbers_of_recipes(field: str, value: str, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    of_output = f'"output": {{"{field}": {value}}}' if field in ("energy", "budget", "rank") else '"output": {}'
    of_input = f', "alpha": {value}' if field == "alpha" else ""
    model = field in ("max_shard_size", "seed", "block_size")
    rest = {
        "max_shard_size": f', "base": "base", "output": {{"max_shard_size": {value}}}',
        "seed": f', "base": "base", "rounding": "stochastic", "seed": {value}',
        "block_size": f', "base": "base", "quantize": {{"scheme": "nf4", "block_size": {value}}}',
    }.get(field, f", {of_output}")
    text = f'{{"adapterops": 1, "inputs": {{"a": {{"path": "a"{of_input}}}}}, "result": "a"{rest}}}'
    Path(f"recipe.{suffix}").write_text(text)
    assert run(["run", f"recipe.{suffix}", "-o", "out"]) in (0, 2, 3), model
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", ["sha256", "blake3"])
def test_a_recipe_that_pins_nothing(algorithm: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.yaml").write_text(f"adapterops: 1\ninputs:\n  a: {{path: a, {algorithm}: {{}}}}\nresult: a\n")
    assert run(["run", "recipe.yaml", "-o", "out"]) == 2
    assert "names no file" in capsys.readouterr().err


def test_names_from_the_file_system_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b[31m\nb"
    write_adapter(Path(name))
    for line in (
        ["show", name],
        ["truncate", name, "--rank", "1", "-o", name + "2"],
        ["merge", name, "a", "-w", "1", "-w", "1", "--dry-run", "-o", name + "3"],
        ["compare", name, name],
        ["report", name, "-o", name + ".html"],
        ["push", name, "me/x", "--dry-run"],
    ):
        run(line)
        shown = capsys.readouterr()
        assert "\x1b" not in shown.out + shown.err, line


def test_a_manifest_names_no_place_of_this_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "w/x").mkdir(parents=True)
    monkeypatch.chdir(place / "w/x")
    up = "../" * len(Path.cwd().parts)
    through = f"{up}{str(place)[1:]}/a"
    for source in (through, str(place / "a"), f"../..//{up}{str(place)[1:]}/a"):
        assert run(["truncate", source, "--rank", "1", "-o", "out", "--force"]) == 0
        assert place.parent.name not in Path("out/adapterops.json").read_text()
