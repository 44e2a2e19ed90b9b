"""Options that several commands have."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click

from adapterops.checkpoints.checkpoint import ROUNDINGS
from adapterops.cli.spreading import ONE_PROCESS, SENDING, SPREADING, Spread, sent, spread
from adapterops.cli.terminal import QUIET, VERBOSE, set_loudness
from adapterops.cli.usage import NUMBER
from adapterops.cli.values import FORMAT, SCHEME, TEXT, DType, verify_inputs
from adapterops.engine.execution import DEVICES, Execution
from adapterops.errors import OptionError, count
from adapterops.hub.references import Reference
from adapterops.operations.fusion import PRECISIONS
from adapterops.requests.reading import size
from adapterops.requests.request import VIEWS, Input, Model, Output, Quantize, spelled

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator: TypeAlias = Callable[[Command], Command]


def group(name: str, build: Callable[..., Any], *options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Options that a command gets as one value, under `name`: what `build` makes of theirs."""

    def decorate(command: Any) -> Any:
        @wraps(command)
        def grouped(**given: Any) -> Any:
            own = {each: given.pop(each) for each in names}
            return command(**given, **{name: build(**own)})

        before = len(getattr(grouped, "__click_params__", ()))
        for option in reversed(options):
            option(grouped)
        added = getattr(grouped, "__click_params__", [])[before:]
        names = [str(parameter.name) for parameter in added if parameter.expose_value]
        return grouped

    return decorate


verifying = click.option(
    "--verify-inputs",
    is_flag=True,
    is_eager=True,  # before the sources are looked for
    expose_value=False,
    callback=verify_inputs,
    help="Download all inputs from the Hub first and compare them with its hashes; files that are used are always compared.",
)
quieted = click.option(
    "-q",
    f"--{QUIET}",
    is_flag=True,
    expose_value=False,
    callback=set_loudness,
    help="Print errors and warnings only, and results that are asked for.",
)
detailed = click.option(
    "-v",
    f"--{VERBOSE}",
    is_flag=True,
    expose_value=False,
    callback=set_loudness,
    help="List every module, tensor or file.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print results and errors as JSON.")
strict = click.option("--strict", is_flag=True, expose_value=False, help="Treat warnings as errors.")
alpha = click.option("--alpha", type=float, metavar="ALPHA", help="lora_alpha, for files that do not state it.")
component = click.option(
    "--component",
    metavar="NAME",
    help="Of a base that is a pipeline the model that the adapters are for, where their names do not say it.",
)
workers = click.option(
    "--workers", type=click.IntRange(1), help="Modules worked on at a time.  [default: processors, at most 8]"
)
memory = click.option(
    "--memory",
    metavar="SIZE",
    callback=lambda context, parameter, value: None if value is None else size(value, "--memory"),
    help="Memory to work in, such as 4GB: fewer workers, the same bytes.  [default: no limit]",
)
nonfinite = click.option("--allow-nonfinite", is_flag=True, help="Accept NaN and infinite numbers as they are.")


def text_argument(**attributes: Any) -> Callable[[Command], Command]:
    return click.argument("source", type=TEXT, **attributes)


def output(default: str | None = None, help: str = "Folder to write.") -> Callable[[Command], Command]:
    """-o, which is handed over as `out`."""
    place: dict[str, Any] = {} if default is None else {"default": Path(default), "show_default": True}
    return click.option("-o", "--output", "out", type=click.Path(path_type=Path, readable=False), help=help, **place)


def _cut(rank: int | None, energy: float | None, budget: str | None, exact: bool, written_as: str | None) -> Output:
    return Output(format=written_as, rank=rank, energy=energy, budget=spelled(budget), exact=exact)


_CUT = (
    click.option("--rank", type=click.IntRange(1), metavar="R", help="Rank of every module."),
    click.option(
        "--energy", type=float, metavar="E", help="Per module the smallest rank that keeps this fraction of ‖ΔW‖²."
    ),
    click.option(
        "--budget", metavar="N", help="Parameters over all modules, spent where they keep most: 2M, or bytes: 8MB."
    ),
    click.option(
        "--exact", is_flag=True, help="Full SVD of dense updates; the default is randomized, its error measured."
    ),
)
_FORMAT = "Format of the output.  [default: that of the inputs; peft for mlx and gguf]"
cutting = group("cut", _cut, *_CUT, click.option("--format", "written_as", type=FORMAT, help=_FORMAT))
"""How much of an adapter is kept, and in which format it is written: an `Output`, as `cut`."""

converting = group(
    "cut", _cut, click.option("--to", "written_as", type=FORMAT, required=True, help="Format of the output."), *_CUT
)
"""The same, where the format is what is asked for."""


NAMES = "The model that the adapters are for: modules get its names. Only its headers are read."
naming = click.option("--base", type=TEXT, metavar="BASE", help=NAMES)


def based(cut: Output, base: str | None, dtype: str | None) -> dict[str, Any]:
    """The fields of a request for an adapter, with the model that names its modules."""
    model = None if base is None else Model(base)
    return {"base": model, "output": replace(cut, dtype=dtype, adapter=model is not None)}


def reading(command: Command) -> Command:
    """Options of every command that reads adapters."""
    return alpha(nonfinite(allow_pickle(command)))


@dataclass(frozen=True)
class Running:
    """How a command that writes something goes about it."""

    force: bool
    dry_run: bool
    as_json: bool
    how: Execution
    resume: bool = False
    spread: Spread = ONE_PROCESS


def _running(
    force: bool, dry_run: bool, workers: int | None, memory: int | None, as_json: bool, **spreading: str | None
) -> Running:
    return Running(force, dry_run, as_json, Execution(workers=workers, memory=memory), spread=spread(**spreading))


_RUNNING = (
    click.option("--force", is_flag=True, help="Replace an output of adapterops, after the new one is complete."),
    click.option("--dry-run", is_flag=True, help="Print what would be written, and write nothing."),
    workers,
    memory,
    verifying,
    strict,
    quieted,
    detailed,
    as_json,
)
here = group("running", _running, *_RUNNING)
"""Options of every command that writes something, as `running`."""

running = group("running", _running, *SPREADING, *_RUNNING)
"""The same, where several processes may make it."""

dtype = click.option(
    "--dtype", type=DType(), help="Dtype of the output.  [default: that of the input, the widest of several]"
)


@dataclass(frozen=True)
class Modelling:
    """What a checkpoint is read and written with."""

    max_shard_size: int | None
    allow_pickle: bool
    resume: bool
    sync: bool
    push: Reference | None
    private: bool | None
    as_delta: bool
    device: str = "cpu"

    def run(self, running: Running) -> Running:
        """The way to work, with what is chosen for models only."""
        how = replace(running.how, device=self.device, sync=self.sync)
        return replace(
            running, resume=self.resume, how=how, spread=sent(running.spread, self.push, self.private, self.as_delta)
        )

    def output(self, dtype: str | None) -> Output:
        return Output(dtype=dtype, max_shard_size=self.max_shard_size)


def _modelling(
    max_shard_size: str | None,
    resume: bool,
    no_sync: bool,
    allow_pickle: bool,
    push: Reference | None,
    private: bool | None,
    as_delta: bool,
    device: str = "cpu",
) -> Modelling:
    most = None if max_shard_size is None else size(max_shard_size)
    return Modelling(most, allow_pickle, resume, not no_sync, push, private, as_delta, device)


allow_pickle = click.option(
    "--allow-pickle",
    is_flag=True,
    help="Read .bin files where there are no safetensors, with torch's restricted loader.",
)
resume = click.option("--resume", is_flag=True, help="Go on where an interrupted run of the same command stopped.")
no_sync = click.option(
    "--no-sync", is_flag=True, help="Do not wait for the disk; a power failure can then damage the output."
)
device = click.option(
    "--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="Device that quantizes."
)
spreading = group("spread", spread, *SPREADING)
"""The options of that alone, as `spread`."""

_MODELLING = (
    click.option(
        "--max-shard-size",
        metavar="SIZE",
        help="Size of the files of the output, such as 2GB.  [default: the files of the base]",
    ),
    resume,
    no_sync,
    *SENDING,
    allow_pickle,
)
modelling = group("modelling", _modelling, *_MODELLING)
"""Options of every command that writes a checkpoint, as `modelling`."""

quantizing = group("modelling", _modelling, device, *_MODELLING)
"""The same, where weights may be quantized."""

_DETAILS = (
    click.option("--double-quant", is_flag=True, help="Store the scales of 4-bit blocks in 8 bits."),
    click.option("--block-size", type=int, help="Entries that share a scale, in 4 bits.  [default: 64]"),
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

    precision: str | None
    rounding: str | None
    base_view: str | None
    original: Model | None


def _view(precision: str | None, rounding: str | None, base_view: str | None, original: str | None) -> View:
    return View(precision, rounding, base_view, None if original is None else Model(original))


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
        help="How changed weights are rounded onto the base's own grid: stochastic, with --seed, or nearest, which erases small updates.",
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


def named(sources: Sequence[str]) -> dict[str, str]:
    """Names for adapters that have none: a, b, c, ..., z, a26, a27, ...

    >>> named(["runs/x", "runs/y"])
    {'a': 'runs/x', 'b': 'runs/y'}
    """
    return {chr(ord("a") + index) if index < 26 else f"a{index}": source for index, source in enumerate(sources)}


def inputs(
    sources: Sequence[str], alpha: float | None = None, allow_nonfinite: bool = False, component: str | None = None
) -> dict[str, Input]:
    """Adapters to read, by the names that an expression has for them.

    Raises:
        OptionError: one is a number, which has come here from an option, or a list with commas.
    """
    for source in sources:
        listed = source.split(",")
        if len(listed) > 1 and not Path(source).exists() and all(Path(each).exists() for each in listed):
            hint = f"put spaces between them: {' '.join(listed)}"
            raise OptionError(f"{source} is {count(len(listed), 'adapter')} with commas between them", hint=hint)
        if NUMBER.fullmatch(source) and not Path(source).exists():
            hint = "weights are -w 0.7 -w 0.3, or -w 0.7,0.3"
            raise OptionError(f"{source} stands where an adapter is expected, and is a number", hint=hint)
    return {name: Input(path, {}, alpha, allow_nonfinite, component) for name, path in named(sources).items()}


HIDDEN = {
    "-o": 1,
    "--output": 1,
    "--workers": 1,
    "--memory": 1,
    "--part": 1,
    "--engine": 1,
    "--address": 1,
    "--force": 0,
    "--json": 0,
    "--dry-run": 0,
    "--resume": 0,
    "--no-sync": 0,
    "--strict": 0,
    "--quiet": 0,
    "-q": 0,
    "--verbose": 0,
    "-v": 0,
    "--verify-inputs": 0,
}
"""Options that do not change what is made, with the number of their values."""


def command_line() -> list[str]:
    """The command as the manifest notes it:
    without what does not change the result, and of absolute paths the name only.
    """
    shown, arguments = ["adapterops"], iter(sys.argv[1:])
    for argument in arguments:
        option, is_, value = argument.partition("=")
        if option in HIDDEN:
            for _ in range(0 if "=" in argument else HIDDEN[option]):
                next(arguments, None)
        elif not (argument.startswith("-o") and not argument.startswith("--")):
            shown.append(option + is_ + _place(value) if is_ and not argument.startswith("/") else _place(argument))
    return shown


def again(option: str, value: str) -> str:
    """The command that was typed, to be done, and with another value of an option."""
    typed, arguments = ["adapterops"], iter(sys.argv[1:])
    for argument in arguments:
        if argument == option:
            next(arguments, None)
        elif argument not in ("--dry-run", "--json") and not argument.startswith(f"{option}="):
            typed.append(argument)
    return shlex.join([*typed, option, value])


def _place(text: str) -> str:
    """A text of which, if it is a path from the root, or one that climbs up to it, the name is left."""
    climbs = text.split("/").count("..") >= len(Path.cwd().parts) - 1 if ".." in text else False
    return Path(os.path.abspath(text)).name if text.startswith("/") or climbs else text
