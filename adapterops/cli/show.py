"""`adapterops show`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli import options, output, values
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import verbose
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError, count, printable
from adapterops.formats.models.model_files import holds_model
from adapterops.formats.models.vocabulary import TOKEN_ROWS
from adapterops.formats.registry import DEFAULT
from adapterops.operations.comparing import analysis
from adapterops.operations.models import inspect_model, stored
from adapterops.reports.figures import three
from adapterops.storage.place import Place

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Checkpoint
    from adapterops.operations.comparing.analysis import Inspection, Spectra
    from adapterops.operations.models import ModelInspection

SHOWN = 4
BLOCKS, ASCII = " ▁▂▃▄▅▆▇█", " .:-=+*#@"


@click.command("show", cls=Sectioned, short_help="What is inside an adapter, or a model.")
@click.argument("source", type=values.SOURCE, default=".")
@click.option(
    "--spectrum", is_flag=True, help="Norms, singular values, effective ranks, and the ranks that keep 80 % and 99 %."
)
@options.reading
@options.workers
@options.verifying
@options.quieted
@options.detailed
@options.as_json
@options.strict
def command(
    source: Place,
    spectrum: bool,
    alpha: float | None,
    allow_nonfinite: bool,
    allow_pickle: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """What is inside an adapter, or a model: in the current folder, or at SOURCE.

    \b
    adapterops show my-adapter
    adapterops show my-adapter --spectrum
    adapterops show hf://owner/adapter@v2
    adapterops show model-nf4
    """
    if holds_model(source):
        if spectrum:
            raise OptionError("is a model, and --spectrum is for adapters", path=source, hint="leave it out")
        checkpoint = open_checkpoint(source, allow_pickle=allow_pickle)
        model = inspect_model(checkpoint)
        if as_json:
            output.print_json("checkpoint", model.as_json())
            return
        _print_model(model)
        if verbose():
            _print_tensors(checkpoint)
        return
    found = analysis.inspect(source, alpha=alpha, allow_pickle=allow_pickle)
    spectra = None
    if spectrum:
        with output.progress("measuring") as report:
            adapter = open_adapter(source, alpha=alpha, allow_nonfinite=allow_nonfinite, allow_pickle=allow_pickle)
            spectra = analysis.spectra(adapter, how=Execution(workers=workers, progress=report))
    if as_json:
        output.print_json("adapter", {**found.as_json(), **({"spectrum": spectra.as_json()} if spectra else {})})
        return
    _print(found, spectra)


def _print(found: Inspection, spectra: Spectra | None) -> None:
    revision = f" at {found.revision}" if found.revision else ""
    kinds = " and ".join(found.kinds) or "full tensors"
    kinds += f" in the format {found.format}" if found.format != DEFAULT else ""
    output.line(printable(f"{found.path}: {kinds} on {found.base_model or 'an unknown base'}{revision}"))
    header = ["modules", "count", "shape", "rank", "alpha", "scale", "dtype", "parameters"]
    if spectra:
        header += ["norm", "effective rank", "spectrum"]
    rows = []
    for group in sorted(found.groups, key=lambda group: (group.kind, group.rank, group.alpha)):
        row = [
            group.kind,
            str(len(group.modules)),
            f"{group.shape[0]} x {group.shape[1]}",
            str(group.rank),
            f"{group.alpha:g}" + (" rs" if group.rslora else ""),
            f"{group.scale:.4g}",
            group.dtype,
            output.amount(group.parameters),
        ]
        if spectra:
            row += _spectrum(group.modules, spectra)
        rows.append(row)
    output.print_table(header, rows)
    if verbose():
        _print_modules(found, spectra)
    share = f", {found.parameters / found.dense:.2%} of what they adapt" if found.dense else ""
    output.line(f"{count(found.modules, 'module')}, {output.amount(found.parameters)} parameters{share}")
    if found.full:
        names = [name.replace(TOKEN_ROWS, " (rows of some tokens)") for name in found.full[:SHOWN]]
        shown = ", ".join(names) + (" ..." if len(found.full) > SHOWN else "")
        output.line(f"{count(len(found.full), 'full tensor')}, which replace the base's: {shown}")
    if found.further:
        output.remark("warning", f"files that may hold trained weights, and are not read: {', '.join(found.further)}")
    if found.zero:
        every = (
            "every B is zero: " + ("its updates were never trained" if found.full else "this adapter was never trained")
            if len(found.zero) == found.modules
            else f"B is zero in {', '.join(found.zero)}"
        )
        output.remark("warning", every)
    if spectra:
        few, most = spectra.bracket
        least = (
            f"at least {analysis.LITTLE:.0%} of the energy over all modules, rank {most} at least {analysis.ENERGY:.0%}"
        )
        output.line(f"rank {few} keeps {least}")


def _print_modules(found: Inspection, spectra: Spectra | None) -> None:
    header, rows = ["module", "shape", "rank", "scale", "dtype", *(["norm", "effective rank"] if spectra else [])], []
    for group in found.groups:
        shared = [f"{group.shape[0]} x {group.shape[1]}", str(group.rank), f"{group.scale:.4g}", group.dtype]
        for module in group.modules:
            each = spectra.modules[module] if spectra else None
            rows.append([module, *shared, *([three(each.norm), f"{each.effective_rank:.1f}"] if each else [])])
    output.print_table(header, sorted(rows))


def _print_model(found: ModelInspection) -> None:
    kind = found.model_type or "a model of unknown type"
    if found.components:
        kind = f"a pipeline of {', '.join(f'{name} ({type_})' for name, type_ in found.components.items())}"
    output.line(printable(f"{found.path}: {kind}, {count(found.tensors, 'tensor')} in {count(found.files, 'file')}"))
    header = ["tensors", "count", "shape", "stored as", "parameters", "bytes"]
    rows = [
        [
            kind.kind,
            str(kind.count),
            " x ".join(map(str, kind.shape)) or "1",
            kind.stored,
            output.amount(kind.parameters),
            output.amount(kind.bytes, "B"),
        ]
        for kind in sorted(found.kinds, key=lambda kind: (-kind.bytes, kind.kind))
    ]
    output.print_table(header, rows)
    output.line(
        f"{output.amount(found.parameters)} parameters, {output.amount(found.bytes, 'B')}; quantized tensors: {found.quantized}"
    )


def _print_tensors(checkpoint: Checkpoint) -> None:
    rows = [
        [name, " x ".join(map(str, spec.shape)) or "1", stored(checkpoint, name)]
        for name, spec in checkpoint.layout.items()
    ]
    output.print_table(["tensor", "shape", "stored as"], rows)


def _spectrum(modules: tuple[str, ...], spectra: Spectra) -> list[str]:
    """Norm and effective rank over the modules of a group, and their mean spectrum as a line of blocks."""
    each = [spectra.modules[module] for module in modules]
    norm = sum(one.norm**2 for one in each) ** 0.5
    effective = sum(one.effective_rank for one in each) / len(each)
    count = min(len(each[0].values), 16)
    means = [sum(one.values[index] for one in each) / len(each) for index in range(count)]
    top = max(means) or 1.0
    heights = BLOCKS if _writes(BLOCKS) else ASCII
    return [three(norm), f"{effective:.1f}", "".join(heights[round(8 * mean / top)] for mean in means).ljust(16)]


def _writes(text: str) -> bool:
    """Whether stdout has these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
