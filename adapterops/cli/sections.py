"""The help of a command, with its options in sections; and no value of an argument or option is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import click

from adapterops.errors import UnsupportedError


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

    Raises:
        UnsupportedError: two options have one name, one of a method of another package.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        _check_distinct(str(self.name), self.params)

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


def _check_distinct(command: str, options: Sequence[click.Parameter]) -> None:
    names = Counter(name for each in options for name in {str(each.name), *each.opts, *each.secondary_opts})
    taken = {str(each.name) for each in options for name in (each.name, *each.opts) if names[str(name)] > 1}
    if taken:
        from adapterops.methods import METHODS

        outside = [each for each in METHODS.values() if not each.kernel.__module__.startswith("adapterops.")]
        named = [each for each in outside if taken & {each.name, *each.parameters}]
        if not named:
            raise ValueError(f"adapterops {command} has two options for each of {', '.join(sorted(taken))}")
        both = " and ".join(sorted(taken & {each for method in named for each in (method.name, *method.parameters)}))
        whose = " and ".join(f"{each.name} in {each.kernel.__module__}" for each in named)
        raise UnsupportedError(
            f"{both} is the name of an option of adapterops {command}, and one of the method {whose}",
            hint="update the package of that method, or uninstall it",
            code="E-PLUGIN",
        )


def _flat(value: Any) -> Iterator[Any]:
    """The values of an argument or option that may have one, several, or several of several."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _flat(each)
    else:
        yield value
