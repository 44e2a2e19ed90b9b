"""`adapterops calc`"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from adapterops.cli import options, values
from adapterops.cli.making import Making, cutting, making
from adapterops.cli.run import follow
from adapterops.cli.sections import Sectioned
from adapterops.errors import OptionError, count
from adapterops.expressions.expression import names_in, parse
from adapterops.operations.collections import holds_collection, member_names
from adapterops.recipes.schema import Recipe
from adapterops.requests.fields import Output
from adapterops.storage.place import SEPARATOR, Place

SHOWN = 8


@click.command("calc", cls=Sectioned)
@click.argument("expression")
@click.argument("inputs", nargs=-1, metavar="NAME=SOURCE... | COLLECTION")
@click.option("--allow-base-mismatch", is_flag=True, help="Combine adapters of different base models.")
@cutting
@options.output("calculated")
@making
def command(
    expression: str, inputs: tuple[str, ...], allow_base_mismatch: bool, cut: Output, out: Path, making: Making
) -> None:
    """An expression of adapters: names, numbers, + - * / and parentheses, every method of `adapterops methods`,
    truncate, select and drop by pattern, and scale with a factor for each pattern; what none matches stays as it is.

    \b
    adapterops calc "0.7*a - 0.3*b" a=runs/a b=runs/b -o out
    adapterops calc "ties(a, b, density=0.2, weights=[0.7, 0.3])" a=runs/a b=runs/b
    adapterops calc 'select(a, "*.mlp.*") + scale(b, {"layers.0-11": 0.3})' a=runs/a b=runs/b
    adapterops calc "a + truncate(b - a, rank=8)" a=runs/a b=owner/b@v2 --dry-run
    adapterops calc "0.7*x + 0.5*y" my-collection

    Names that a collection has need no source: all names of the expression that are in it are its adapters.

    One that begins with a minus goes in parentheses: "(-a + b)". `adapterops run out/recipe.yaml` makes the output
        again.
    """
    adapters = making.inputs(_named(inputs, expression))
    others = [name for each in inputs for name in _members(each)]
    result = parse(expression, adapters, others)
    request = making.request(adapters, result, cut, allow_base_mismatch=allow_base_mismatch)
    follow(Recipe(request), out, making.running)


def _named(inputs: tuple[str, ...], expression: str) -> dict[str, str]:
    if not inputs:
        sources = " ".join(f"{name}={name if Path(name).exists() else 'PATH'}" for name in sorted(names_in(expression)))
        raise OptionError(
            "no adapter is named: NAME=SOURCE is missing",
            hint=f"say where each is: adapterops calc {shlex.quote(expression)} {sources or 'a=PATH'}",
        )
    found: dict[str, str] = {}
    for each in inputs:
        for name, path in _of_collection(each, expression) or [_pair(each)]:
            if name in found:
                raise OptionError(f"{name} is given twice", hint="give each adapter a name of its own")
            found[name] = values.text(path)
    return found


def _pair(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if separator and path and not name.endswith(" "):
        return name, path
    hint = f"write name=path, such as {f'{name.strip()}=runs/a' if separator else f'a={text}'}, or name a collection that is here"
    if not separator and not re.match(r"[\w./~\\]", text):
        hint = 'put the whole expression in quotes: adapterops calc "0.7*a + 0.3*b" a=runs/a b=runs/b'
    elif separator:
        hint += "; there is no space before or after ="
    raise OptionError(f"{text!r} gives no name to an adapter", hint=hint)


def _members(path: str) -> list[str]:
    """The names of the adapters of the collection at a path; none where it is no collection."""
    place = Place.of(path)
    return list(member_names(place)) if holds_collection(place) else []


def _of_collection(path: str, expression: str) -> list[tuple[str, str]]:
    """The adapters of the collection at a path that an expression names; none where it is no collection.

    Raises:
        OptionError: it has none of them.
    """
    known, asked = _members(path), sorted(names_in(expression))
    if not known:
        return []
    found = [(name, f"{path}{SEPARATOR}{name}") for name in asked if name in known]
    if not found:
        raise OptionError(
            f"none of the names in the expression ({', '.join(asked)}) is that of one of its {count(len(known), 'adapter')}",
            path=path,
            hint=f"it has {', '.join(known[:SHOWN])}{' ...' if len(known) > SHOWN else ''}; for a name with characters other "
            f"than letters, digits and _ write x={path}{SEPARATOR}NAME",
        )
    return found
