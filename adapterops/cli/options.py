"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from adapterops.dtypes import FLOATS
from adapterops.errors import OptionError
from adapterops.history import sources
from adapterops.hub.references import Reference, choose, parse
from adapterops.operations.algebra import budget as budget
from adapterops.quant.registry import written
from adapterops.storage.place import Place

if TYPE_CHECKING:
    from adapterops.adapter import Adapter

Command = TypeVar("Command", bound=Callable[..., Any])


class DType(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """A dtype, as safetensors or as torch spells it."""

    name = "dtype"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """
        >>> DType().convert("float32", None, None), DType().convert("bf16", None, None)
        ('F32', 'BF16')
        """
        found = [short for short, long in FLOATS.items() if value.lower() in (short.lower(), long)]
        return found[0] if found else self.fail(f"{value!r} is not one of {', '.join(FLOATS.values())}", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(FLOATS.values())}]"


class SchemeName(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """A scheme that is written; which ones are there is not asked before someone wants to know."""

    name = "scheme"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        names = ", ".join(written())
        return value if value in written() else self.fail(f"{value!r} is not one of {names}", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(written())}]"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in written() if name.startswith(incomplete)]


SCHEME = SchemeName()


def chosen(text: str) -> Path | Reference:
    """What a text stands for; where it could stand for two things, a note says which was taken."""
    choice = choose(text)
    if choice.note:
        print(f"note: {choice.note}", file=sys.stderr)
    return choice.target


class Source(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """An adapter or a model: a path, or a reference to the Hub, which is asked what it stands for."""

    name = "source"

    def convert(self, value: str | Place, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        if isinstance(value, Place) or (ctx is not None and ctx.resilient_parsing):
            return Place.of(value)
        target = chosen(value)
        if not isinstance(target, Reference):
            return Place(target)
        from adapterops.hub.snapshot import locate

        return locate(target, verify=verified(ctx))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


class Repository(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """A reference to the Hub, whatever lies here."""

    name = "reference"

    def convert(self, value: str | Reference, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        found = value if isinstance(value, Reference) else parse(value)
        return found or self.fail(f"{value!r} is no repository: write owner/name, or owner/name@revision", param, ctx)


SOURCE, REPO = Source(), Repository()
VERIFY = f"{__name__}.verify"
"""Under this key a context knows of `--verify-inputs`."""


def _verify(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[VERIFY] = value


def verified(context: click.Context | None = None) -> bool:
    """Whether `--verify-inputs` was given."""
    context = context or click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(VERIFY))


verifying = click.option(
    "--verify-inputs",
    is_flag=True,
    is_eager=True,  # before the sources are looked for
    expose_value=False,
    callback=_verify,
    help="Download all inputs from the Hub first, and compare them with its hashes; those that are used are compared in any case.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print results and errors as JSON.")
strict = click.option("--strict", is_flag=True, expose_value=False, help="Take warnings for errors.")
alpha = click.option("--alpha", type=float, metavar="ALPHA", help="lora_alpha of files that do not say it.")
workers = click.option("--workers", type=click.IntRange(1), help="Modules worked on at a time.  [default: processors, at most 8]")
nonfinite = click.option("--allow-nonfinite", is_flag=True, help="Take NaN and infinite weights as they are.")


def source_argument(**attributes: Any) -> Callable[[Command], Command]:
    return click.argument("source", type=SOURCE, **attributes)


def output(default: str | None = None, help: str = "Folder to write.") -> Callable[[Command], Command]:
    """-o, which is handed over as `out`."""
    place: dict[str, Any] = {} if default is None else {"default": Path(default), "show_default": True}
    return click.option("-o", "--output", "out", type=click.Path(path_type=Path, readable=False), help=help, **place)


def cutting(command: Command) -> Command:
    """--rank, --energy, --budget and --exact."""
    for option in (
        click.option("--exact", is_flag=True, help="Full SVD of dense updates; the default is randomized, its error measured."),
        click.option("--budget", metavar="N", help="Parameters over all modules, spent where they keep most: 2M, or bytes: 8MB."),
        click.option("--energy", type=float, metavar="E", help="Per module the smallest rank that keeps this fraction of ‖ΔW‖²."),
        click.option("--rank", type=click.IntRange(1), metavar="R", help="Rank of every module."),
    ):
        command = option(command)
    return command


def reading(command: Command) -> Command:
    """Options of every command that reads adapters."""
    return alpha(nonfinite(command))


def running(command: Command) -> Command:
    """Options of every command that writes something."""
    for option in (
        as_json,
        strict,
        verifying,
        workers,
        click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing."),
        click.option("--force", is_flag=True, help="Replace an output of adapterops, after the new one is complete."),
    ):
        command = option(command)
    return command


def writing(command: Command) -> Command:
    """Options of every command that writes something, and is told what."""
    dtype = click.option("--dtype", type=DType(), help="Dtype of the output.  [default: that of the input, the widest of several]")
    return dtype(running(command))


def modelling(command: Command) -> Command:
    """Options of every command that writes a checkpoint, beyond those of `writing`."""
    for option in (
        click.option("--allow-pickle", is_flag=True, help="Read pytorch_model.bin, with torch's restricted loader."),
        click.option("--no-sync", is_flag=True, help="Do not wait for the disk; a power failure can then damage the output."),
        click.option("--resume", is_flag=True, help="Go on where an interrupted run of the same command stopped."),
        click.option("--max-shard-size", metavar="SIZE", help="Divide the output anew, such as 2GB.  [default: as the base is]"),
    ):
        command = option(command)
    return command


def coding(command: Command) -> Command:
    """Options of every command that quantizes, beyond the scheme."""
    for option in (
        click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where weights are quantized."),
        click.option("--block-size", type=int, help="Entries that share a scale, in 4 bits.  [default: 64]"),
        click.option("--double-quant", is_flag=True, help="Store the scales of 4-bit blocks in 8 bits."),
    ):
        command = option(command)
    return command


def fusing(command: Command) -> Command:
    """Options of the commands that add an update to a checkpoint."""
    for option in (
        click.option("--accept-loss", is_flag=True, help="Write the model even if codes keep less than 90 % of an update."),
        click.option(
            "--original",
            type=SOURCE,
            help="The 16-bit model that a quantized base was made from; its numbers are what the update is added to.",
        ),
        click.option(
            "--base-view",
            type=click.Choice(["dequantized", "original"]),
            help="What an update is added to, for a quantized base.  [default: original, if --original names it]",
        ),
        click.option(
            "--rounding",
            type=click.Choice(["nearest", "stochastic"]),
            help="Of a changed weight to the grid that it lies on; by chance with --seed, or to nearest, which erases small updates.",
        ),
        click.option("--quantize", type=SCHEME, help="Write the result in 4 or 8 bits."),
        click.option(
            "--precision", type=click.Choice(["float32", "float64"]), default="float32", show_default=True, help="Of ΔW and the sum."
        ),
    ):
        command = option(command)
    return modelling(coding(command))


def check_alpha(alpha: float | None, adapters: Sequence[Adapter]) -> None:
    """Raise OptionError for an `--alpha` that no file needs: it would change nothing."""
    if alpha is not None and all(source.alpha is None for adapter in adapters for source in sources(adapter.history)):
        raise OptionError("--alpha is for files that do not say their lora_alpha, and all of these do", hint="leave it out")


def size(text: str | None) -> int | None:
    """Bytes.

    >>> size("2GB"), size("300MB")
    (2000000000, 300000000)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG])B", (text or "").strip())
    if text is not None and (match is None or float(match[1]) == 0):
        raise OptionError(f"--max-shard-size is {text!r}, expected a size such as 500MB or 2GB")
    return round(float(match[1]) * {"k": 10**3, "M": 10**6, "G": 10**9}[match[2]]) if match else None


HIDDEN = {
    "-o": 1,
    "--output": 1,
    "--workers": 1,
    "--force": 0,
    "--json": 0,
    "--dry-run": 0,
    "--resume": 0,
    "--no-sync": 0,
    "--strict": 0,
    "--verify-inputs": 0,
}
"""Options that do not change what is made, with the number of their values."""


def command_line() -> list[str]:
    """The command as the manifest notes it: without what does not change the result, and of absolute paths the name only."""
    shown, arguments = ["adapterops"], iter(sys.argv[1:])
    for argument in arguments:
        option, is_, value = argument.partition("=")
        if option in HIDDEN:
            for _ in range(0 if "=" in argument else HIDDEN[option]):
                next(arguments, None)
        elif not (argument.startswith("-o") and not argument.startswith("--")):
            shown.append(
                Path(argument).name if argument.startswith("/") else option + is_ + (Path(value).name if value.startswith("/") else value)
            )
    return shown
