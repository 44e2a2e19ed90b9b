"""`report`: a comparison, written as a page, as numbers, and as figures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import OptionError
from adapterops.operations.comparing.comparison import Comparison, compare, plan
from adapterops.provenance.history import Source, Step, sources
from adapterops.provenance.manifest import Origin, described, plain, write_bytes, write_manifest
from adapterops.provenance.reader import read_manifest
from adapterops.reports import drawings
from adapterops.reports.diagnosis import diagnose
from adapterops.reports.findings import Finding
from adapterops.reports.numbers import numbers
from adapterops.reports.page import MARK, page
from adapterops.reports.summary import Summary, summary
from adapterops.reports.svg import svg
from adapterops.storage.documents import check_documents, write_documents
from adapterops.storage.outputs import check_output
from adapterops.storage.staging import staged
from adapterops.storage.strict import json_text, parse_json
from adapterops.storage.writer import read_back
from adapterops.version import __version__

GENERATOR = '"generator": "adapterops '


@dataclass(frozen=True)
class Reported:
    """What `report` wrote. `drawn` are the files of figures."""

    path: Path
    numbers: Path
    figures: Path | None
    drawn: tuple[str, ...]
    bytes: int
    comparison: Comparison
    summary: Summary
    findings: Sequence[Finding]


def report(
    adapters: Sequence[Adapter],
    out: str | os.PathLike[str],
    *,
    base: Checkpoint | None = None,
    figures: str | os.PathLike[str] | None = None,
    force: bool = False,
    command: Sequence[str] = (),
    how: Execution = DEFAULT,
) -> Reported:
    """One HTML page about adapters, that needs nothing else, and its numbers as JSON, under the same name.

    The same adapters give the same bytes.

    Args:
        out: the page to write; a name that ends in .html.
        base: the model they belong to, for norms relative to its weights.
        figures: a folder to write every figure into as SVG.
        force: replace a report, and figures, that adapterops wrote.
        command: the command line to note in the manifest of the figures.

    Raises:
        OptionError, OutputExistsError, NotFoundError, ResourceError: as `check_documents` and `check_output` do.
        ShapeError, IncompatibleError: as `compare` does.
    """
    out = Path(out)
    json_path = check_report(adapters, out, base, figures, force)
    comparison = compare(adapters, base=base, how=how)
    findings = diagnose(comparison)
    short = summary(comparison, findings)
    histories = [adapter.history for adapter in adapters]
    read = [source.as_json() for history in histories for source in sources(history)]
    model = base.files.path.resolve().name if base and base.files else None
    content = {
        "schema": 1,
        "inputs": read,
        "base": model,
        **numbers(comparison, short, findings),
    }
    document = page(comparison, short, findings, [_described(each) for each in read], model).encode()
    drawn: tuple[str, ...] = ()
    if figures is not None:
        torch = base is not None and any(each.scheme for each in base.stored.values())
        drawn = _draw(comparison, Path(figures), Step("report", {}, tuple(histories)), read, command, force, torch)
    write_documents({json_path: _json(content), out: document}, force)
    return Reported(
        out,
        json_path,
        Path(figures) if figures is not None else None,
        drawn,
        len(document),
        comparison,
        short,
        findings,
    )


def check_report(
    adapters: Sequence[Adapter], out: Path, base: Checkpoint | None, figures: str | os.PathLike[str] | None, force: bool
) -> Path:
    """Raise what writing would, before any work; the path of the JSON."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise OptionError("the page needs a name that ends in .html", path=out, hint="-o report.html")
    json_path = out.with_suffix(".json")
    plan(adapters, base)
    if figures is not None and Path(figures).resolve() in (out.resolve(), json_path.resolve()):
        raise OptionError("the figures need a folder of their own", path=figures, hint="--figures figures")
    read = [adapter.history for adapter in adapters] + ([base.history] if base else [])
    inputs = [path for history in read for source in sources(history) for path in source.paths]
    marks = {json_path: GENERATOR.encode(), out: MARK.partition(__version__)[0].encode()}
    check_documents(marks, inputs, force)
    if figures is not None:
        check_output(Path(figures), inputs, force)
    return json_path


def _draw(
    comparison: Comparison,
    folder: Path,
    history: Step | Source,
    read: Sequence[Mapping[str, Any]],
    command: Sequence[str],
    force: bool,
    torch: bool,
) -> tuple[str, ...]:
    """The names of the figures written."""
    every = drawings.of_all(comparison)
    for index in range(len(comparison.profiles)):
        every += drawings.of_one(comparison, index)
    with staged(folder, force=force) as place:
        for figure in every:
            write_bytes(place / f"{figure.name}.svg", svg(figure, standalone=True).encode())
        names = sorted(path.name for path in place.iterdir())
        outputs = {name: described(place / name) for name in names}
        write_manifest(place, history, read, Origin(command), {}, outputs, torch=torch)
        with read_back():
            read_manifest(place)
    return tuple(names)


def _json(content: Mapping[str, Any]) -> bytes:
    text = json_text({"generator": f"adapterops {__version__}", **plain(content)}, indent=1) + b"\n"
    with read_back():
        parse_json(text)
    return text


def _described(source: Mapping[str, Any]) -> str:
    files = ", ".join(f"{name} (BLAKE3 {each['blake3'][:16]})" for name, each in source["files"].items())
    return f"{source['path']}: {files}"
