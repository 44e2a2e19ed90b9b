"""Numbers that are none, or beyond all that is computed with, in every option of every command: a usage error that names
the option."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from tiny_models import write_base, write_tuned

from adapterops.cli.commands import cli
from adapterops.cli.main import run
from adapterops.cli.values import Number, Weights

OUT = ["-o", "out"]
LINES = {
    "show": ["show", "a"],
    "compare": ["compare", "a", "a"],
    "report": ["report", "a", "a", "-o", "out.html"],
    "merge": ["merge", "a", "a", *OUT],
    "truncate": ["truncate", "a", *OUT],
    "convert": ["convert", "a", "--to", "peft", *OUT],
    "normalize": ["normalize", "a", *OUT],
    "check": ["check", "a"],
    "calc": ["calc", "2*x", "x=a", *OUT],
    "compress": ["compress", "a", *OUT],
    "run": ["run", "recipe.yaml", *OUT],
    "fuse": ["fuse", "base", "a", *OUT],
    "unfuse": ["unfuse", "base", "a", *OUT],
    "split": ["split", "base", *OUT],
    "extract": ["extract", "base", "--base", "base", *OUT],
    "quantize": ["quantize", "base", "--to", "nf4", *OUT],
    "dequantize": ["dequantize", "base", *OUT],
    "gram": ["gram", "base", "recipe.yaml", *OUT],
    "finalize": ["finalize", "out"],
    "verify": ["verify", "base", "--base", "base", "--adapter", "a"],
    "diagnose": ["diagnose", "base", "--base", "base"],
    "pull": ["pull", "me/x", *OUT],
}
NUMBERS = ["9" * 400, "-" + "9" * 400, "9" * 5000, "inf", "-inf", "nan", "1e400", "x", ""]
SIZES = ["9" * 400 + "MB", "9" * 5000 + "MB", "1e-320GB", "-1GB", "nanGB", "0." + "0" * 400 + "1kB"]
TEXTS = {
    "--part": ["9" * 400 + "/8", "1/" + "9" * 400, "0/8", "9/8", "-1/8", "nan/inf", "1e-320/8", "1/0", "3/8/9"],
    "--memory": SIZES,
    "--max-shard-size": SIZES,
    "--budget": ["9" * 400 + "k", "9" * 5000, "-5M", "nan", "1e-320", "0", "0.1"],
    "--scale": ["0"],
}
SMALL = ["1e-320", "-1e-320"]


def commands() -> list[tuple[str, click.Command]]:
    found = [(name, cli.get_command(click.Context(cli), name)) for name in cli.list_commands(click.Context(cli))]
    return [(name, command) for name, command in found if command]


def options() -> list[tuple[str, str, tuple[str, ...]]]:
    """Command, option, and what is no value of it."""
    found = []
    for name, command in commands():
        for option in command.params:
            if not isinstance(option, click.Option) or option.is_flag:
                continue
            longest = max(option.opts, key=len)
            real = isinstance(option.type, Weights) or (isinstance(option.type, Number) and option.type.name == "float")
            if isinstance(option.type, Number | Weights) or longest in TEXTS:
                wrong = (*NUMBERS, *(SMALL if real or longest == "--scale" else ()), *TEXTS.get(longest, ()))
                found.append((name, longest, wrong))
    return found


def test_no_option_has_numbers_of_another_kind() -> None:
    """Those of click know no end, and nothing of what float64 has."""
    for _, command in commands():
        for option in command.params:
            assert not isinstance(option.type, click.types.IntParamType | click.types.FloatParamType), option.name


@pytest.mark.parametrize(("command", "option", "values"), options(), ids=lambda each: each if type(each) is str else "")
def test_what_is_no_number(
    command: str,
    option: str,
    values: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_base(Path("base"), layers=1)
    write_tuned(Path("a"), layers=1)
    Path("recipe.yaml").write_text("adapterops: 1\ninputs: {a: a}\nresult: a\n")
    name = option.strip("-")
    for value in values:
        given = [*LINES[command], f"{option}={value}"]
        if command in ("truncate", "extract") and option not in ("--rank", "--energy", "--budget"):
            given += ["--rank", "1"]
        assert run(given) == 2, (option, value[:20])
        shown = capsys.readouterr().err
        assert name in shown.replace("block size", "block-size"), (option, value[:20], shown)
        assert len(shown) < 1000
        assert not Path("out").exists()
