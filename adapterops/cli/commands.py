"""The commands, by their names."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

import click

from adapterops.cli import completion
from adapterops.cli.usage import listed
from adapterops.errors import OptionError

COMMANDS = {
    "show": "What is inside an adapter, a collection, or a model.",
    "compare": "How adapters relate, and what to do about it.",
    "report": "A page about adapters: figures, tables, and what they mean.",
    "merge": "One adapter of several.",
    "truncate": "A smaller adapter: a lower rank, with the smallest possible error.",
    "convert": "An adapter in the format of another program.",
    "normalize": "An adapter in the form that every program applies alike.",
    "check": "Whether a program that serves adapters applies one as it was trained.",
    "calc": "An adapter from an expression, such as 0.7*a + 0.3*b.",
    "compress": "Many adapters in one collection, which stores what they share once.",
    "run": "The output that a recipe describes.",
    "fuse": "Adapters into a base model.",
    "unfuse": "A model with a fused adapter subtracted again.",
    "split": "The base and the adapter of a model with unmerged LoRA layers.",
    "extract": "The difference of two models, as an adapter.",
    "quantize": "A model in 4 or 8 bits.",
    "dequantize": "A quantized model in 16 or 32 bits.",
    "gram": "Gram matrices of the inputs of a model's modules, for calibrated rounding.",
    "finalize": "A model or an adapter, from its parts.",
    "verify": "Whether a model is its base plus an adapter, and nothing else.",
    "diagnose": "What a merged model is, and whether the adapter is in it.",
    "pull": "An adapter or a model from the Hub.",
    "card": "The card of an adapter or a model, as push writes it.",
    "push": "An adapter or a model to the Hub.",
    "methods": "The methods of merge.",
    "formats": "The formats that are read and written.",
}


WORDS = {
    "show": "info inspect list ls stats view",
    "compare": "diff",
    "report": "plot",
    "merge": "add average blend cat combine dare join linear mix sum ties",
    "truncate": "prune resize shrink svd",
    "convert": "export to",
    "normalize": "fold",
    "check": "lint validate",
    "compress": "collect pack",
    "calc": "eval evaluate expr",
    "run": "mergekit mergekit-yaml",
    "fuse": "apply bake merge-and-unload merge_and_unload",
    "unfuse": "subtract unapply unmerge",
    "split": "divide separate",
    "quantize": "requantize",
    "finalize": "finish",
    "diagnose": "detect explain",
    "pull": "download",
    "card": "readme",
    "push": "publish upload",
    "--help": "help",
    "--version": "version",
    "--install-completion": "completion completions",
    "quantize --help": "schemes",
}
"""What other tools, and people, call our commands."""

ELSEWHERE = {
    "login": "push uses HF_TOKEN, or the token that hf auth login keeps",
    "train": "adapters are trained with PEFT or another trainer; adapterops works on what they saved",
    "serve": "adapterops check SOURCE --for PROGRAM says whether a program that serves adapters takes this one",
}
"""What adapterops does not do, and who does."""

MEANT = {word: command for command, words in WORDS.items() for word in words.split()}


class Commands(click.Group):
    """Commands are modules of this package, imported when named."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"adapterops.cli.{name}").command
        command.short_help = COMMANDS[name]  # what a shell shows, too
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        given = arguments[0]
        if given not in COMMANDS and not given.startswith("-"):
            meant = MEANT.get(given) or next(iter(get_close_matches(given, COMMANDS, n=1)), None)
            known = f"did you mean adapterops {meant}?" if meant else f"one of {', '.join(COMMANDS)}"
            hint = ELSEWHERE.get(given, known)
            raise OptionError(f"there is no command {given!r}", hint=hint)
        name, command, rest = super().resolve_command(context, arguments)
        return name, command, list(listed(rest))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="adapterops", prog_name="adapterops")  # which is looked up when asked for
@click.option(
    "--install-completion",
    is_flag=False,
    flag_value=completion.THIS,
    metavar=f"[{'|'.join(completion.SHELLS)}]",
    is_eager=True,
    expose_value=False,
    callback=completion.install,
    help="Let the shell complete commands, options and paths, and exit.  [default: the shell of $SHELL]",
)
def cli() -> None:
    """Algebra and merging of LoRA adapters, on their files.

    \b
    adapterops show my-adapter
    adapterops merge a b --ties -o merged
    adapterops truncate my-adapter --rank 8
    """
