"""Options of commands that say where the output is made: in parts, by an engine, or on its way to the Hub."""

from __future__ import annotations

from dataclasses import dataclass, replace

import click

from adapterops.cli.options import group
from adapterops.cli.values import REPO, RegisteredName
from adapterops.engine.execution import DEFAULT, Share
from adapterops.engine.registry import ENGINES
from adapterops.errors import OptionError
from adapterops.hub.references import Reference


@dataclass(frozen=True)
class Spread:
    """What a process makes of an output that several make; which engine has them do it; which repository it goes to."""

    part: Share | None = None
    engine: str | None = None
    address: str | None = None
    push: Reference | None = None
    private: bool | None = None
    as_delta: bool = False


ONE_PROCESS = Spread()
"""One process makes it."""

SPREADING = (
    click.option(
        "--part",
        metavar="K/N",
        help="Make the K-th of N shares of the files; any machines may make the others. `finalize` comes last.",
    ),
    click.option(
        "--engine",
        type=RegisteredName("engine", lambda: ENGINES),
        help="Make the files in processes of this machine (processes), or on many machines (ray: a cluster of Ray), and finalize.",
    ),
    click.option("--address", metavar="ADDRESS", help="Of the cluster, or auto.  [default: one on this machine]"),
)

SENDING = (
    click.option(
        "--push",
        metavar="REPO",
        type=REPO,
        help="Send every file to this repository once it is finished, and keep none: one commit at the end.",
    ),
    click.option(
        "--as-delta",
        is_flag=True,
        help="With --push: send what the model is made of, and its hashes; `pull` makes the same bytes of that.",
    ),
    click.option("--private/--public", default=None, help="With --push: visibility that the repository must have."),
)
"""For models, which have several files."""


def spread(part: str | None = None, engine: str | None = None, address: str | None = None) -> Spread:
    """What the options say.

    Raises:
        OptionError: they do not go together.
        NotFoundError: what the engine needs is not there.
    """
    if part and engine:
        raise OptionError("--part and --engine exclude each other", hint="an engine divides the work itself")
    if address and not engine:
        raise OptionError("--address is that of a cluster", hint="add --engine ray")
    if engine:
        for _ in ENGINES[engine](str, [], memory=0, address=address, how=DEFAULT):
            pass  # nothing is asked for, before any work, but whether the engine can be had
    return Spread(None if part is None else Share.read(part), engine, address)


def sent(spread: Spread, push: Reference | None, private: bool | None, as_delta: bool) -> Spread:
    """The same, on its way to a repository.

    Raises:
        OptionError: the options do not go together.
    """
    if push and (spread.part or spread.engine):
        raise OptionError(
            "--push makes the model here, file by file", hint="leave --part and --engine out, or push later"
        )
    if private is not None and not push:
        raise OptionError(
            "--private and --public go with --push",
            hint="add --push OWNER/NAME, or leave them out: folders have no visibility",
        )
    if as_delta and not push:
        raise OptionError("--as-delta goes with --push", hint="add --push OWNER/NAME")
    return replace(spread, push=push, private=private, as_delta=as_delta)


spreading = group("spread", spread, *SPREADING)
"""Whether several processes do it, as `spread`."""
