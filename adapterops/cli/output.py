"""What commands print: results to stdout, progress to stderr."""

from __future__ import annotations

import json
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from adapterops.adapter import Adapter
from adapterops.adapter_saving import save_adapter
from adapterops.checkpoint import Checkpoint, cast, sharded
from adapterops.cli.options import size
from adapterops.engine import Progress
from adapterops.errors import AdapterWarning, ResourceError, printable
from adapterops.history import Source, Step, sources
from adapterops.manifest import plain
from adapterops.saving import SavedCheckpoint, check_device, save_checkpoint
from adapterops.storage.staging import check_output

if TYPE_CHECKING:
    from adapterops.adapter_saving import Saved
    from adapterops.reports.findings import Finding

Then: TypeAlias = Callable[[], Mapping[str, Any]]
"""What is to be done once the output is there, before it is told; what it returns is told, too."""

LOSSY_GAIN = 0.9
"""Below this much of an update left, a person should know."""

CHANCE = 0.01
"""Above this, a person should know how far chance may have moved what survived."""

QUIET_SECONDS = 0.5
"""Work that is done sooner shows no progress bar."""


def write(adapter: Adapter, out: Path, *, dry_run: bool, as_json: bool, then: Then = dict, **options: Any) -> None:
    """Save an adapter, or say what would be saved, and print it, with what is done `then`."""
    dtype = options["dtype"]
    if dry_run:
        check(out, options["force"], adapter.history)
        _print_plan(adapter, out, dtype, as_json)
        return
    with progress("writing") as report:
        saved = save_adapter(adapter, out, progress=report, **options)
    with telling(out):
        _tell_saved(saved, as_json, then())


def check(out: Path, force: bool, *histories: Step | Source) -> None:
    """Raise what writing to `out` would, before the work on these inputs."""
    check_output(out, [path for history in histories for source in sources(history) for path in source.paths], force)


def _tell_saved(saved: Saved, as_json: bool, more: Mapping[str, Any]) -> None:
    if as_json:
        print_json({"path": str(saved.path), "bytes": saved.bytes, "energy_kept": saved.energy, "dropped": list(saved.dropped),
                    "modules": {module: kept.__dict__ for module, kept in saved.modules.items()}, **more})  # fmt: skip
    else:
        _print_saved(saved)
        _print_more(more)


def _print_more(more: Mapping[str, Any]) -> None:
    for verb, what in more.items():
        print(f"{verb} it to {what}")


def _print_plan(adapter: Adapter, out: Path, dtype: str | None, as_json: bool) -> None:
    from dataclasses import replace

    layouts = {module: replace(layout, dtype=dtype or layout.dtype) for module, layout in adapter.layout.items()}
    size = sum(layout.bytes for layout in layouts.values())
    _check_room(adapter.history)
    if as_json:
        print_json({"dry_run": True, "path": str(out), "bytes_at_most": size, "download": _missing(adapter.history),
                    "modules": {module: {"shape": layout.shape, "rank_at_most": layout.rank, "dtype": layout.dtype}
                                for module, layout in layouts.items()}})  # fmt: skip
        return
    ranks = sorted({layout.rank for layout in layouts.values()})
    print(f"would write {out}: {len(layouts)} modules, rank {span(ranks)}, at most {amount(size, 'B')}")
    print(f"  of {', '.join(source.name for source in sources(adapter.history))}")
    _print_missing(adapter.history)


def _missing(history: Step | Source) -> dict[str, int]:
    """What has to be downloaded: files, and the bytes of all of them."""
    sizes = {path: size for source in sources(history) for path, size in source.missing().items()}
    return {"files": len(sizes), "bytes": sum(sizes.values())}


def _print_missing(history: Step | Source) -> None:
    missing = _missing(history)
    if missing["files"]:
        print(f"  to download: {amount(missing['bytes'], 'B')} in {missing['files']} files")


def _check_room(history: Step | Source) -> None:
    for source in sources(history):
        source.check_room()


def _print_saved(saved: Saved) -> None:
    kept = [each for each in saved.modules.values() if each.rank]
    print(f"wrote {saved.path}: {len(kept)} modules, rank {span(sorted({each.rank for each in kept}))}, {amount(saved.bytes, 'B')}")
    worst = min(saved.modules, key=lambda module: saved.modules[module].energy)
    lowest = saved.modules[worst].energy
    print(f"  energy kept: {percent(saved.energy)} in total" + (f", least {percent(lowest)} in {worst}" if lowest < 1 else " (exact)"))
    if saved.dropped:
        print(f"  dropped, not worth the budget: {', '.join(saved.dropped)}")
    zero = [module for module, each in saved.modules.items() if each.norm == 0 and each.energy == 1]
    if zero:
        which = "every module is" if len(zero) == len(saved.modules) else f"{len(zero)} modules are"
        print(f"  {which} zero: B was never trained, or nothing was kept")


def write_model(
    model: Checkpoint,
    out: Path,
    *,
    dtype: str | None,
    max_shard_size: str | None,
    no_sync: bool,
    dry_run: bool,
    as_json: bool,
    force: bool,
    then: Then = dict,
    **options: Any,
) -> None:
    """Save a checkpoint in the dtype and the files that are asked for, or say what would be saved, and print it; see `write`."""
    most = size(max_shard_size)
    model.check_rounding()
    check_device(options.get("device", "cpu"))
    model = cast(model, dtype) if dtype else model
    model = sharded(model, most) if most else model
    if dry_run:
        check(out, force, model.history)
        _print_model_plan(model, out, options["workers"], as_json)
        return
    with progress("writing") as report:
        saved = save_checkpoint(model, out, progress=report, force=force, sync=not no_sync, **options)
    with telling(out):
        _tell_saved_model(saved, as_json, then())


@contextmanager
def telling(out: Path) -> Iterator[None]:
    """Whatever ends the telling of a result, the result is there."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{out} is written")
        raise


def _tell_saved_model(saved: SavedCheckpoint, as_json: bool, more: Mapping[str, Any]) -> None:
    if as_json:
        print_json({"path": str(saved.path), "bytes": saved.bytes, "tensors": saved.tensors, "total": saved.total.as_json(),
                    "modules": {module: each.as_json() for module, each in saved.modules.items()},
                    "quantized": {tensor: each.noise for tensor, each in saved.coded.items()}, **more})  # fmt: skip
    else:
        _print_saved_model(saved)
        _print_more(more)


def _print_model_plan(model: Checkpoint, out: Path, workers: int | None, as_json: bool) -> None:
    needed, changed = sum(map(model.bytes, model.layout)), model.changed
    free = shutil.disk_usage(out.resolve().parent).free
    memory = model.working_memory(workers)
    _check_room(model.history)
    if free < needed:
        raise ResourceError(
            f"needs {needed} bytes, {free} bytes are free", path=out, hint="free some space, or write to another disk with -o"
        )
    if as_json:
        print_json({"dry_run": True, "path": str(out), "bytes": needed, "free": free, "memory": memory, "changed": changed,
                    "download": _missing(model.history),
                    "shards": {name: len(tensors) for name, tensors in model.shards.items()}})  # fmt: skip
        return
    print(
        f"would write {out}: {len(model.layout)} tensors in {len(model.shards)} files, {amount(needed, 'B')}; {amount(free, 'B')} are free"
    )
    print(f"  {len(changed)} tensors change, {len(model.layout) - len(changed)} are copied byte for byte")
    print(f"  memory: about {amount(memory, 'B')} beyond what libraries take")
    print(f"  of {', '.join(source.name for source in sources(model.history))}")
    _print_missing(model.history)


def _print_saved_model(saved: SavedCheckpoint) -> None:
    changed = f"; {len(saved.modules)} modules changed" if saved.modules else ""
    print(f"wrote {saved.path}: {saved.tensors} tensors, {amount(saved.bytes, 'B')}{changed}")
    if saved.coded:
        noise = sum(saved.coded.values(), type(saved.total)()).noise
        worst = max(saved.coded, key=lambda tensor: saved.coded[tensor].noise)
        print(f"  {len(saved.coded)} weights are quantized: {percent(noise)} of them is error of rounding", end="")
        print(f", most {percent(saved.coded[worst].noise)} in {worst}")
    if not saved.modules:
        return
    total, worst = saved.total, min(saved.modules, key=lambda module: saved.modules[module].gain)
    print(f"  the update is {percent(total.relative)} of the weights; {percent(total.changed / total.entries)} of their entries changed")
    chance = f" ± {percent(total.uncertainty)}" if total.codes and total.uncertainty > CHANCE else ""
    print(f"  survived rounding: {percent(total.gain)}{chance} in total, least {percent(saved.modules[worst].gain)} in {worst}")
    if total.codes:
        print(f"  in codes: {percent(total.noise)} of the weights is error of rounding; cosine {total.cosine:.4f} within the update's rows")
    if total.gain < LOSSY_GAIN and total.codes:
        warnings.warn(f"codes keep {total.gain:.0%} of the update, by --accept-loss or by chance", AdapterWarning, stacklevel=2)
    elif total.gain < LOSSY_GAIN:
        warnings.warn(
            f"rounding erased {1 - total.gain:.0%} of the update: entries of it are smaller than half a step of the stored numbers; "
            "--dtype float32 keeps them",
            AdapterWarning,
            stacklevel=2,
        )


def percent(fraction: float) -> str:
    """
    >>> percent(1.0), percent(0.99999999), percent(0.8259), percent(0.0)
    ('100%', '99.9999%', '82.59%', '0.00%')
    """
    if fraction >= 1:
        return f"{fraction:.0%}"
    return min(f"{100 * fraction:.2f}%", "99.9999%") if fraction < 0.99995 else f"{min(100 * fraction, 99.9999):.4f}%"


def span(values: Sequence[int]) -> str:
    """
    >>> span([8]), span([4, 6, 8])
    ('8', '4-8')
    """
    return str(values[0]) if values[0] == values[-1] else f"{values[0]}-{values[-1]}"


def amount(number: float, unit: str = "") -> str:
    """
    >>> amount(2_500_000), amount(512, "B"), amount(8_000, "B")
    ('2.5 M', '512 B', '8.0 kB')
    """
    for factor, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= factor:
            return f"{number / factor:.1f} {letter}{unit}"
    return f"{number:.0f} {unit}".strip()


def print_json(result: Mapping[str, Any]) -> None:
    print(json.dumps(plain({"ok": True, **result}), indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns of text, alike on a terminal and in a file; the first is aligned left, the others right."""
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def print_findings(findings: Sequence[Finding]) -> None:
    """What a diagnosis says, a sentence or two each."""
    for finding in findings:
        print(f"{finding.level}: {printable(finding.text)}")


@contextmanager
def progress(label: str) -> Iterator[Progress | None]:
    """A bar on stderr, for work that takes a while and a person who watches."""
    if not sys.stderr.isatty():
        yield None
        return
    begin, bar = time.monotonic(), None

    def report(done: int, total: int) -> None:
        nonlocal bar
        if bar is not None and (done == 1 or total != bar.length):  # another part of the work
            bar.render_finish()
            bar = None
        if bar is None and done < total and time.monotonic() - begin > QUIET_SECONDS:
            bar = click.progressbar(length=total, label=label, file=sys.stderr)
            bar.update(done - 1)
        if bar is not None:
            bar.update(1)

    try:
        yield report
    finally:
        if bar is not None:
            bar.render_finish()
