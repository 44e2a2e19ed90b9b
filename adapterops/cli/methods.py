"""`adapterops methods`"""

from __future__ import annotations

import inspect

import click

from adapterops.cli import options, output
from adapterops.cli.merging import flag
from adapterops.cli.sections import Sectioned
from adapterops.methods import METHODS
from adapterops.methods.registry import Method, find


@click.command("methods", cls=Sectioned)
@click.argument("names", nargs=-1, metavar="[METHOD]...")
@options.as_json
def command(names: tuple[str, ...], as_json: bool) -> None:
    """The methods of merge, with their parameters and sources; of those that are named all that there is to know: formula,
    cost, where they act, what they need, and how they differ from what was published.

    \b
    adapterops methods
    adapterops methods ctm regmean
    """
    chosen = {method.name: method for method in map(find, names)} or METHODS
    if as_json:
        output.print_json("methods", {"methods": {name: _fields(method) for name, method in chosen.items()}})
        return
    for name, method in chosen.items():
        lines = [method.summary, method.source] if not names else [*_page(method).splitlines(), "", *_facts(method)]
        print(flag(name))
        print("\n".join(f"    {line}".rstrip() for line in lines))
        for parameter, default in method.defaults.items():
            shown = "" if default is None else f" [{default}]"
            print(f"      {flag(parameter)}{shown}  {method.parameters[parameter].help}")


NEEDS = {
    "updates": "updates of any kind that can be added",
    "products": "inner products of the updates, which any kind has that can be added",
    "matrices": "in core space factors of low rank, of which it computes small matrices; in delta space whole matrices in float64",
    "inputs": "factors of low rank, and the Gram matrices of every adapter's inputs: --grams FILE for each, which gram makes",
    "entries": "the entries of every update, which it computes tile by tile, in as many passes as its cost says",
}
"""What a method needs, by what it acts on."""


def _page(method: Method) -> str:
    """The docstring of the kernel."""
    return inspect.cleandoc(method.kernel.__doc__ or "")


def _facts(method: Method) -> list[str]:
    return [
        f"Source: {method.source}",
        f"Needs: {NEEDS[method.acts]}",
        f"--space: {', '.join(method.spaces)}{'; the first is the default' * (len(method.spaces) > 1)}",
        f"--scale: {'its own size' if method.sized else 'auto'} by default",
    ]


def _fields(method: Method) -> dict[str, object]:
    return {
        "summary": method.summary,
        "source": method.source,
        "page": _page(method),
        "needs": NEEDS[method.acts],
        "spaces": method.spaces,
        "parameters": method.defaults,
    }
