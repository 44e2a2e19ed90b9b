"""The commands, by their names."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

import click

from adapterops.errors import OptionError

COMMANDS = {
    "show": "What is inside an adapter, or a model.",
    "compare": "How adapters relate, and what to do about it.",
    "report": "A page about adapters: figures, tables, and what they mean.",
    "merge": "One adapter of several.",
    "truncate": "A smaller adapter, the best of its size.",
    "calc": "An expression of adapters.",
    "run": "What a recipe asks for.",
    "fuse": "Adapters into a base model.",
    "unfuse": "An adapter out of a model again.",
    "split": "A model with an adapter in it, as its base and the adapter.",
    "extract": "The difference of two models, as an adapter.",
    "quantize": "A model in 4 or 8 bits.",
    "dequantize": "A quantized model in 16 or 32 bits.",
    "verify": "Whether a model is its base plus an adapter, and nothing else.",
    "pull": "An adapter or a model from the Hub.",
    "card": "The card of an adapter or a model, as push writes it.",
    "push": "An adapter or a model to the Hub.",
    "methods": "The methods of merge.",
}


MEANT = {
    "apply": "fuse",
    "bake": "fuse",
    "diff": "compare",
    "divide": "split",
    "download": "pull",
    "info": "show",
    "inspect": "show",
    "list": "show",
    "ls": "show",
    "readme": "card",
    "requantize": "quantize",
    "resize": "truncate",
    "separate": "split",
    "subtract": "unfuse",
    "svd": "truncate",
    "ties": "merge",
    "unmerge": "unfuse",
    "upload": "push",
    "view": "show",
}
"""What other tools, and people, call our commands."""


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
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if name not in COMMANDS and not name.startswith("-"):
            meant = MEANT.get(name) or next(iter(get_close_matches(name, COMMANDS, n=1)), None)
            hint = f"did you mean adapterops {meant}?" if meant else f"one of {', '.join(COMMANDS)}"
            raise OptionError(f"there is no command {name!r}", hint=hint)
        return super().resolve_command(context, arguments)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="adapterops", prog_name="adapterops")  # which is looked up when asked for
def cli() -> None:
    """Algebra and merging of LoRA adapters, on their files.

    \b
    adapterops show my-adapter
    adapterops merge a b --ties -o merged
    adapterops truncate my-adapter --rank 8

    Shell completion: eval "$(_ADAPTEROPS_COMPLETE=bash_source adapterops)", or zsh_source, fish_source.
    """
