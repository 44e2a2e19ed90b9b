"""`adapterops compress`"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from adapterops.adapters.compressed import Compressed
from adapterops.adapters.compressing import ERROR
from adapterops.adapters.compressing import compress as save
from adapterops.adapters.opening import open_adapter
from adapterops.cli import options, values
from adapterops.cli.collections import at_most
from adapterops.cli.output import (
    amount,
    check_strict,
    line,
    percent,
    print_json,
    print_warnings,
    progress,
    remark,
    written,
)
from adapterops.cli.running import Running, running
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import quiet
from adapterops.cli.typed import command_line
from adapterops.errors import OptionError, count
from adapterops.provenance.manifest import Origin
from adapterops.requests.places import HERE, found
from adapterops.storage.outputs import check_output
from adapterops.storage.place import SEPARATOR

GAIN = 0.05
"""What sharing must save, of what codes take without it, to be called a gain."""


@click.command("compress", cls=Sectioned)
@click.argument("sources", nargs=-1, required=True, metavar="[NAME=]SOURCE...")
@click.option(
    "--error",
    type=values.REAL,
    default=ERROR,
    show_default=True,
    help="How far an update may be from its own, in every module: ‖ΔW - ΔW'‖ / ‖ΔW‖.",
)
@click.option(
    "--rank",
    type=values.COUNT,
    metavar="R",
    help="Dimensions of its own that an update keeps at most, whatever the error.",
)
@options.output("collection")
@options.alpha
@options.allow_pickle
@running
def command(
    sources: tuple[str, ...],
    error: float,
    rank: int | None,
    out: Path,
    alpha: float | None,
    allow_pickle: bool,
    running: Running,
) -> None:
    """Adapters of one base as a collection: what they share is stored once, and of each what is its own, in as many bits as
    the error asks for. Equal adapters, in whatever factors, are stored once. The error of each is measured.

    An adapter of it is COLLECTION#NAME, wherever an adapter is expected. The name is that of its folder, or NAME.

    \b
    adapterops compress runs/* -o my-collection --dry-run
    adapterops compress runs/* -o my-collection
    adapterops show my-collection
    adapterops convert my-collection#style --to peft -o style
    adapterops calc "0.7*style + 0.5*domain" my-collection
    """
    places = {name: found(HERE, values.text(path), verify=values.verified()) for name, path in _named(sources).items()}
    if not running.dry_run:
        check_output(out, [place.path for place in places.values()], running.force)
    adapters = {name: open_adapter(each, alpha=alpha, allow_pickle=allow_pickle) for name, each in places.items()}
    with progress("compressing") as report:
        how = replace(running.how, progress=report)
        into, origin = None if running.dry_run else out, Origin(command_line())
        done = save(adapters, into, error=error, rank=rank, force=running.force, origin=origin, how=how)
    if running.dry_run:
        _print(done, out, running.as_json)
        return
    with written(out):
        _print(done, out, running.as_json)


def _named(sources: Sequence[str]) -> dict[str, str]:
    """Path of each adapter by its name: the one that is given, or the last part of the path that tells it from others."""
    pairs = [_pair(each) for each in sources]
    again = Counter(name for name, _ in pairs)
    found: dict[str, str] = {}
    for name, path in pairs:
        own = name
        if again[name] > 1:
            own = "-".join(filter(None, (Path(path).parent.name, name)))
        if own in found:
            raise OptionError(f"{own} is the name of two adapters", hint=f"give one another: NAME={path}")
        found[own] = path
    return found


def _pair(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if separator and name and path and not Path(text).exists():
        return name, path
    end = text.rstrip("/").rpartition(SEPARATOR)[2] if SEPARATOR in text else Path(text).name
    return Path(end).name.removesuffix(".safetensors") or Path(text).resolve().name, text


def _print(done: Compressed, out: Path, as_json: bool) -> None:
    warned = list(_warnings(done))
    if as_json:
        check_strict(warned)
        fields = {**done.as_json(), "path": str(out)}
        print_json(
            "plan" if done.path is None else "saved-collection", {**fields, **({} if done.path else {"dry_run": True})}
        )
        return
    if not (quiet() and done.path):
        _print_sizes(done, out)
    print_warnings(warned)
    if done.path and not quiet():
        line(f"  one of them: {out}{SEPARATOR}{_largest(done)}")
    check_strict(warned)


def _warnings(done: Compressed) -> Iterator[str]:
    if done.bytes >= done.in_16_bits:
        yield "the collection is no smaller than the adapters in 16 bits: give a larger --error, or keep them"
    if done.worst[0] > done.asked:
        yield f"the error is larger than the {done.asked:g} that was asked for{' because of --rank' if done.cut else ''}"


def _largest(done: Compressed) -> str:
    """The adapter with the largest error."""
    return max(done.errors, key=done.errors.__getitem__)


def _print_sizes(done: Compressed, out: Path) -> None:
    error, member, module = done.worst
    most = _largest(done)
    did = "would write" if done.path is None else "wrote"
    adapters, modules = count(len(done.errors), "adapter"), count(len(done.modules), "module")
    size, whole = amount(done.bytes, "B"), amount(done.in_16_bits, "B")
    line(f"{did} {out}: {adapters}, {modules}, {size}")
    line(f"  size: {percent(done.bytes / done.in_16_bits)} of the {whole} that B and A take in 16 bits")
    line(f"  error: at most {at_most(done.errors[most])} of an adapter, in {most}")
    line(f"  and at most {at_most(error)} of a module, in {module} of {member}")
    saved = 1 - done.codes / done.separate if done.separate else 0.0
    if saved >= GAIN:
        by_themselves = amount(done.separate, "B")
        line(f"  sharing saves about {saved:.0%} of the {by_themselves} that codes without it take for the same error")
    elif len(done.errors) > 1:
        remark("note", "the adapters share nothing that makes them smaller: only fewer bits do")
