"""Options of every command that writes a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from adapterops.cli.options import allow_pickle, device, group, resume
from adapterops.cli.running import RUNNING, Running, run_with
from adapterops.cli.spreading import SENDING, sent
from adapterops.cli.values import COUNT, SCHEME, TEXT
from adapterops.errors import OptionError
from adapterops.hub.references import Reference
from adapterops.operations.fusion import PRECISIONS
from adapterops.quant.scheme import ROUNDINGS
from adapterops.requests.amounts import size
from adapterops.requests.fields import VIEWS, Model, Output, Quantize
from adapterops.requests.request import Request


@dataclass(frozen=True)
class Modelling:
    """What a checkpoint is read and written with."""

    max_shard_size: int | None
    allow_pickle: bool
    running: Running

    def output(self, dtype: str | None) -> Output:
        return Output(dtype=dtype, max_shard_size=self.max_shard_size)

    def changed(self, source: str, dtype: str | None, **change: Any) -> Request:
        """To write the model at `source` in another form."""
        return Request(base=Model(source), allow_pickle=self.allow_pickle, output=self.output(dtype), **change)


def _modelling(
    max_shard_size: str | None,
    resume: bool,
    allow_pickle: bool,
    push: Reference | None,
    private: bool | None,
    as_delta: bool,
    **running: Any,
) -> Modelling:
    most = None if max_shard_size is None else size(max_shard_size)
    run = run_with(**running)
    spreading = sent(run.spread, push, private, as_delta)
    return Modelling(most, allow_pickle, replace(run, resume=resume, spread=spreading))


_MODELLING = (
    click.option(
        "--max-shard-size",
        metavar="SIZE",
        help="Size of the files of the output, such as 2GB.  [default: the files of the base]",
    ),
    resume,
    *SENDING,
    allow_pickle,
    *RUNNING,
)
modelling = group("modelling", _modelling, *_MODELLING)
"""What a checkpoint is read and written with, as `modelling`."""

quantizing = group("modelling", _modelling, device, *_MODELLING)
"""The same, where weights may be quantized."""

_DETAILS = (
    click.option("--double-quant", is_flag=True, help="Store the scales of 4-bit blocks in 8 bits."),
    click.option("--block-size", type=COUNT, help="Entries that share a scale, in 4 bits.  [default: 64]"),
)


def _quantize(quantize: str | None, double_quant: bool, block_size: int | None) -> Quantize | None:
    if quantize is not None:
        return Quantize(quantize, double_quant, block_size)
    if double_quant or block_size is not None:
        raise OptionError(
            "--double-quant and --block-size go with --quantize", hint="add --quantize nf4, or leave them out"
        )
    return None


def scheme(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    """The scheme to write, with its details: a `Quantize` or None, as `quantize`."""
    option = click.option(*names, "quantize", type=SCHEME, **attributes)
    return group("quantize", _quantize, option, *_DETAILS)


@dataclass(frozen=True)
class View:
    """What an update is added to, and how the sum is rounded."""

    precision: str | None = None
    rounding: str | None = None
    base_view: str | None = None
    original: Model | None = None
    grams: tuple[str, ...] = ()


def _view(
    precision: str | None, rounding: str | None, base_view: str | None, original: str | None, grams: tuple[str, ...]
) -> View:
    return View(precision, rounding, base_view, None if original is None else Model(original), grams)


viewing = group(
    "view",
    _view,
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        help=f"Precision of ΔW and of the sum.  [default: {PRECISIONS[0]}]",
    ),
    click.option(
        "--rounding",
        type=click.Choice(ROUNDINGS),
        help="How changed weights are rounded to the base's codes or 16 bits: stochastic, with --seed; calibrated, with --grams; or "
        "nearest, which loses small changes.",
    ),
    click.option(
        "--grams",
        type=TEXT,
        multiple=True,
        metavar="FILE",
        help="Gram matrices of the modules' inputs, as adapterops gram writes them: for regmean one file for each adapter, in "
        "their order; for calibrated rounding one file, the last.",
    ),
    click.option(
        "--base-view",
        type=click.Choice(VIEWS),
        help="What an update is added to, for a quantized base.  [default: original, if --original names it]",
    ),
    click.option(
        "--original",
        type=TEXT,
        help="The 16-bit model that a quantized base was made from; its numbers are what the update is added to.",
    ),
)
"""How an update is added to a base, as `view`."""
