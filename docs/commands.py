"""The text of commands.md, from the commands themselves; `python docs/pages.py` writes it, with what the examples print."""

from __future__ import annotations

import click

from adapterops.cli.commands import COMMANDS, Commands, cli

WIDTH = 90
HEAD = """# Commands

Of each command one example with what it prints, and what `adapterops COMMAND --help` says. The examples follow one
another, in a folder with a model `base` and two adapters of it, `style` and `domain`.
"""
EXAMPLES = {
    "show": "show style",
    "compare": "compare style domain --advise",
    "report": "report style domain --base base -o report.html",
    "merge": "merge style domain --ties -o merged",
    "truncate": "truncate style --rank 4 -o small",
    "convert": "convert style --to mlx -o for-mlx",
    "normalize": "normalize style -o served",
    "check": "check served --for vllm",
    "calc": 'calc "0.7*a - 0.2*b" a=style b=domain -o mix',
    "compress": "compress style domain -o both",
    "run": "run mix/recipe.yaml -o again",
    "fuse": "fuse base style -o model",
    "unfuse": "unfuse model style -o restored",
    "extract": "extract model --base base --rank 8 -o extracted",
    "quantize": "quantize base --to nf4 -o base-nf4",
    "dequantize": "dequantize base-nf4 -o base-16",
    "verify": "verify model",
    "diagnose": "diagnose model --base base --adapter style",
    "methods": "methods",
    "formats": "formats",
}
NOT_RUN = {
    "gram": "gram base-nf4 lines.txt --adapter my-adapter -o grams.safetensors",
    "finalize": "finalize model",
    "card": "card merged -o merged/README.md",
    "split": "split unmerged-model --alpha 16 -o parts",
    "pull": "pull owner/adapter -o my-adapter",
    "push": "push merged owner/merged --private",
}
"""Examples that are not run here: they need the Hub, or what is not in the folder, or write a page."""


def commands() -> str:
    """The page, with outputs to fill in."""
    return "\n".join([HEAD, *(f"## {name}\n\n{example(name)}\n```\n{help_of(name)}\n```\n" for name in COMMANDS)])


def example(name: str) -> str:
    if name in NOT_RUN:
        return f"```sh\nadapterops {NOT_RUN[name]}\n```\n"
    return f"```console\n$ adapterops {EXAMPLES[name]}\n?\n```\n"


def help_of(name: str) -> str:
    assert isinstance(cli, Commands)
    context = click.Context(cli, info_name="adapterops", help_option_names=["-h", "--help"])
    command = cli.get_command(context, name)
    assert command is not None
    return command.get_help(
        click.Context(command, info_name=name, parent=context, max_content_width=WIDTH, terminal_width=WIDTH)
    )
