"""What the options of commands that write a checkpoint become."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from adapterops.cli.modelling import Modelling, modelling, scheme
from adapterops.errors import OptionError
from adapterops.requests.fields import Quantize


def given(*arguments: str) -> tuple[Modelling, Quantize | None]:
    got = []

    @click.command()
    @scheme("--quantize")
    @modelling
    def command(modelling: Modelling, quantize: Quantize | None) -> None:
        got.append((modelling, quantize))

    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    return got[0]


def test_options_of_models_are_in_how_it_runs() -> None:
    found, quantize = given("--max-shard-size", "2GB", "--no-sync", "--resume", "--workers", "3", "--part", "1/2")
    assert (found.max_shard_size, found.running.resume, found.running.how.sync) == (2 * 10**9, True, False)
    assert found.running.how.workers == 3
    assert str(found.running.spread.part) == "1/2"
    assert quantize is None


def test_details_of_a_scheme_need_one() -> None:
    with pytest.raises(OptionError, match="go with --quantize"):
        given("--double-quant")
    assert given("--quantize", "nf4", "--double-quant")[1] == Quantize("nf4", True)
