"""The help of a command, with its options in sections; and no value of an argument or option is empty."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import click


@cache
def sections() -> dict[str, tuple[str, ...]]:
    """Heading → the options under it, by the names of their parameters; all others come first. Asked for by help alone: the
    methods are read for it.
    """
    from adapterops.methods import METHODS
    from adapterops.methods.registry import parameters

    return {
        "Methods": ("method", *METHODS),
        "How a method works": ("weights", "scale", "space", "full", "inputs_of", "allow_base_mismatch", *parameters()),
        "Rounding, and weights in 4 or 8 bits": (
            *("precision", "rounding", "grams", "base_view", "original"),
            *("quantize", "double_quant", "block_size", "accept_loss"),
        ),
        "Size and form of the output": (
            *("rank", "energy", "budget", "exact", "written_as", "dtype", "max_shard_size"),
            *("out", "force", "dry_run"),
        ),
        "Where and how it runs": (
            *("workers", "memory", "device", "resume", "no_sync"),
            *("part", "engine", "address", "push", "as_delta", "private"),
        ),
        "How inputs are read": ("alpha", "components", "allow_nonfinite", "allow_pickle", "verify_inputs"),
        "Messages": ("quiet", "verbose", "as_json", "strict"),
    }


MANY = 20
"""With fewer options, one list is read faster than sections."""


class Sectioned(click.Command):
    """A command whose help has many options in sections, and few in one list. An empty value is refused, of whatever
    argument or option: as a path it would be the current folder.
    """

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if not context.resilient_parsing and any(not each or each.endswith("=") for each in args):
            given = self.make_parser(context).parse_args(list(args))[0]
            for parameter in self.get_params(context):
                if "" in _flat(given.get(parameter.name or "")):
                    raise click.BadParameter("the value is empty", context, parameter)
        return super().parse_args(context, args)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        options = [each for each in self.get_params(context) if isinstance(each, click.Option)]
        there = [(each.name, record) for each in options if (record := each.get_help_record(context))]
        if len(there) < MANY:
            return super().format_options(context, formatter)
        listed = {name for names in sections().values() for name in names}
        first = {"Options": [record for name, record in there if name not in listed]}
        others = {title: [record for name, record in there if name in names] for title, names in sections().items()}
        for title, records in (first | others).items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        return None


def _flat(value: Any) -> Iterator[Any]:
    """The values of an argument or option that may have one, several, or several of several."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _flat(each)
    else:
        yield value
