"""`adapterops methods`"""

from __future__ import annotations

import click

from adapterops.cli import options, output
from adapterops.cli.merging import flag
from adapterops.cli.sections import Sectioned
from adapterops.methods import METHODS


@click.command("methods", cls=Sectioned)
@options.as_json
def command(as_json: bool) -> None:
    """The methods of merge, with their parameters and sources.

    \b
    adapterops methods
    """
    if as_json:
        output.print_json(
            "methods",
            {
                "methods": {
                    name: {"summary": m.summary, "source": m.source, "spaces": m.spaces, "parameters": m.defaults}
                    for name, m in METHODS.items()
                }
            },
        )
        return
    for name, method in METHODS.items():
        print(f"{flag(name)}\n    {method.summary}\n    {method.source}")
        for parameter, default in method.defaults.items():
            shown = "" if default is None else f" [{default}]"
            print(f"      {flag(parameter)}{shown}  {method.parameters[parameter].help}")
