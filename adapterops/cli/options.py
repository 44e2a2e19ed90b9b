"""Options that several commands have, and how some become one value."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from adapterops.arrays.dtypes import WIDE
from adapterops.cli.terminal import QUIET, VERBOSE, set_loudness
from adapterops.cli.values import COUNT, OUTPUT, REAL, TEXT, DType, verify_inputs
from adapterops.engine.execution import DEVICES
from adapterops.requests.amounts import size

Command = TypeVar("Command", bound=Callable[..., Any])


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
alpha = click.option("--alpha", type=REAL, metavar="ALPHA", help="lora_alpha, for files that do not state it.")
component = click.option(
    "--component",
    "components",
    multiple=True,
    metavar="NAME",
    help="For a base that is a pipeline of diffusers: the model in it that the adapters are for, if their names do not say it; "
    "or one for each adapter, in their order.",
)
workers = click.option("--workers", type=COUNT, help="Modules worked on at a time.  [default: processors, at most 8]")


def _bytes(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    return size(text, "--memory")


memory = click.option(
    "--memory",
    metavar="SIZE",
    callback=_bytes,
    help="Memory to work in, such as 4GB: fewer workers, the same bytes.  [default: no limit]",
)
nonfinite = click.option("--allow-nonfinite", is_flag=True, help="Accept NaN and infinite numbers as they are.")
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
    "--device",
    type=click.Choice(DEVICES),
    default="cpu",
    show_default=True,
    help="Device that quantizes, merges entries that are then cut to a rank, and decomposes large matrices.",
)
DTYPE = "Dtype of the output.  [default: that of the input, the widest of several]"
dtype = click.option("--dtype", type=DType(), help=DTYPE)
dtype_or_blocks = click.option(
    "--dtype",
    type=DType(WIDE),
    help=f"{DTYPE} q8_0 is for gguf; rows that are not whole blocks of 32 are written in float16.",
)


def text_argument(**attributes: Any) -> Callable[[Command], Command]:
    return click.argument("source", type=TEXT, **attributes)


def output(default: str | None = None, help: str = "Folder to write.") -> Callable[[Command], Command]:
    """-o, which is handed over as `out`."""
    place: dict[str, Any] = {} if default is None else {"default": Path(default), "show_default": True}
    return click.option("-o", "--output", "out", type=OUTPUT, help=help, **place)
