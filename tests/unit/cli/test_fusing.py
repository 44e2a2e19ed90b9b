"""What `fuse` and `unfuse` are asked to do, from their options."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from adapterops.cli.fusing import fusing
from adapterops.cli.modelling import Modelling
from adapterops.errors import OptionError
from adapterops.requests.fields import Model, Quantize
from adapterops.requests.request import FUSE, UNFUSE, Request


def asked(*arguments: str, unfuse: bool = False) -> Any:
    got: list[Request] = []

    @click.command()
    @click.argument("sources", nargs=-1)
    @click.option("--base")
    @click.option("--tuned", multiple=True)
    @fusing(unfuse=unfuse)
    def command(request: Request, modelling: Modelling) -> None:
        got.append(request)

    done = CliRunner().invoke(command, arguments)
    if isinstance(done.exception, OptionError):
        raise done.exception
    return got[0] if got else done


def test_the_first_source_is_the_base_unless_it_is_named() -> None:
    for arguments in (["m", "a", "b"], ["a", "b", "--base", "m"]):
        request = asked(*arguments)
        assert (request.kind, request.base) == (FUSE, Model("m"))
        assert [each.path for each in request.inputs.values()] == ["a", "b"]
    assert asked("m", "a", unfuse=True).kind == UNFUSE


def test_every_option_is_in_the_request() -> None:
    request = asked(
        *("m", "a", "--ties", "--density", "0.5", "--quantize", "nf4", "--double-quant", "--accept-loss"),
        *("--precision", "float64", "--max-shard-size", "2GB", "--dtype", "bf16", "--alpha", "8"),
    )
    assert "density=0.5" in str(request.result)
    assert (request.quantize, request.accept_loss) == (Quantize("nf4", True), True)
    assert (request.precision, request.output.dtype) == ("float64", "BF16")
    assert request.output.max_shard_size == 2 * 10**9
    assert request.inputs["a"].alpha == 8


def test_the_seed_of_rounding_is_not_one_of_the_method() -> None:
    request = asked("m", "a", "--rounding", "stochastic", "--seed", "7")
    assert (request.rounding, request.seed) == ("stochastic", 7)


@pytest.mark.parametrize(
    ("arguments", "message"), [([], "the model is missing"), (["m"], "m stands where the model is expected")]
)
def test_what_is_missing(arguments: list[str], message: str) -> None:
    done = asked(*arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_adapters_or_models_and_not_both() -> None:
    with pytest.raises(OptionError, match="one merge takes models or adapters"):
        asked("m", "a", "--tuned", "t")
