"""The help of a command, with its options in sections."""

from __future__ import annotations

from functools import cache

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
            *("quantize", "double_quant", "block_size", "accept_loss", "device"),
        ),
        "Size and form of the output": (
            *("rank", "energy", "budget", "exact", "written_as", "dtype", "max_shard_size"),
            *("out", "force", "dry_run"),
        ),
        "Where and how it runs": (
            *("workers", "memory", "resume", "no_sync"),
            *("part", "engine", "address", "push", "as_delta", "private"),
        ),
        "How inputs are read": ("alpha", "component", "allow_nonfinite", "allow_pickle", "verify_inputs"),
        "Messages": ("quiet", "verbose", "as_json", "strict"),
    }


MANY = 20
"""With fewer options, one list is read faster than sections."""


class Sectioned(click.Command):
    """A command whose help has many options in sections, and few in one list."""

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
