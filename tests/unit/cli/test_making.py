"""What the options of commands that make an adapter become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from adapterops.cli.making import Making, cutting, making, named
from adapterops.errors import OptionError
from adapterops.requests.fields import Model, Output
from adapterops.requests.request import Request


def made(*arguments: str) -> Request:
    got: list[Request] = []

    @click.command()
    @cutting
    @making
    def command(cut: Output, making: Making) -> None:
        got.append(making.changed("a", cut))

    done: Any = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return got[0]


def test_every_option_is_in_the_request() -> None:
    request = made("--rank", "8", "--dtype", "bf16", "--alpha", "16", "--allow-nonfinite", "--base", "m")
    (read,) = request.inputs.values()
    assert (read.path, read.alpha, read.allow_nonfinite) == ("a", 16, True)
    assert request.base == Model("m")
    assert request.output == Output(rank=8, dtype="BF16", adapter=True)


def test_without_a_base_nothing_is_named_after_one() -> None:
    assert made("--rank", "8").output == Output(rank=8)


def test_a_number_among_adapters_is_a_weight_that_came_here() -> None:
    with pytest.raises(OptionError, match="is a number"):
        named(["a", "0.7"])


def test_a_list_with_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(name).touch()
    with pytest.raises(OptionError, match="commas"):
        named(["a,b"])
