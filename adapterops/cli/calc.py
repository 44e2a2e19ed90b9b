"""`adapterops calc`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options, values
from adapterops.cli.making import Making, cutting, making
from adapterops.cli.run import follow
from adapterops.cli.sections import Sectioned
from adapterops.errors import OptionError
from adapterops.expressions.expression import parse
from adapterops.recipes.schema import Recipe
from adapterops.requests.request import Output


@click.command("calc", cls=Sectioned, short_help="An expression of adapters.")
@click.argument("expression")
@click.argument("inputs", nargs=-1, required=True, metavar="NAME=SOURCE...")
@click.option("--allow-base-mismatch", is_flag=True, help="Combine adapters of different base models.")
@cutting
@options.output("calculated")
@making
def command(
    expression: str, inputs: tuple[str, ...], allow_base_mismatch: bool, cut: Output, out: Path, making: Making
) -> None:
    """An expression of adapters: names, numbers, + - * / and parentheses, every method of `adapterops methods`,
    truncate, select by pattern, and scale with a factor for each pattern; what none matches stays as it is.

    \b
    adapterops calc "0.7*a - 0.3*b" a=runs/a b=runs/b -o out
    adapterops calc "ties(a, b, density=0.2, weights=[0.7, 0.3])" a=runs/a b=runs/b
    adapterops calc 'select(a, "*.mlp.*") + scale(b, {"layers.0-11": 0.3})' a=runs/a b=runs/b
    adapterops calc "a + truncate(b - a, rank=8)" a=runs/a b=owner/b@v2 --dry-run

    One that begins with a minus goes in parentheses: "(-a + b)". `adapterops run out/recipe.yaml` makes the output
        again.
    """
    adapters = making.inputs(_named(inputs))
    request = making.request(adapters, parse(expression, adapters), cut, allow_base_mismatch=allow_base_mismatch)
    follow(Recipe(request), out, making.running)


def _named(inputs: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in inputs:
        name, separator, path = each.partition("=")
        if not separator or not path:
            raise OptionError(f"{each!r} gives no name to an adapter", hint="write name=path, such as a=runs/a")
        if name in found:
            raise OptionError(f"{name} is given twice", hint="give each adapter a name of its own")
        found[name] = values.text(path)
    return found
