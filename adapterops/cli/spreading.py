"""Options of commands whose output several processes may make: parts, and engines that divide the work themselves."""

from __future__ import annotations

from dataclasses import dataclass

import click

from adapterops.engine.execution import DEVICES, Share
from adapterops.errors import OptionError


@dataclass(frozen=True)
class Spread:
    """What a process makes of an output that several make, and which engine has them do it."""

    part: Share | None = None
    ray: bool = False
    address: str | None = None


ONE_PROCESS = Spread()
"""One process makes it."""

SPREADING = (
    click.option(
        "--part",
        metavar="K/N",
        help="Make the K-th of N shares of the files; any machines may make the others. `finalize` comes last.",
    ),
    click.option("--engine", type=click.Choice(("ray",)), help="Make the files on a cluster of Ray, and finalize."),
    click.option("--address", metavar="ADDRESS", help="Of the cluster, or auto.  [default: one on this machine]"),
)


def spread(part: str | None, engine: str | None, address: str | None, device: str = DEVICES[0]) -> Spread:
    """What the options say.

    Raises:
        OptionError: they do not go together.
    """
    if part and engine:
        raise OptionError("--part and --engine exclude each other", hint="an engine divides the work itself")
    if engine and device != DEVICES[0]:
        raise OptionError(
            f"--engine {engine} computes on processors, and --device {device} is asked for",
            hint="leave one of them out; with --part each process has its own device",
        )
    if address and not engine:
        raise OptionError("--address is that of a cluster of Ray", hint="add --engine ray")
    return Spread(None if part is None else Share.read(part), engine is not None, address)
