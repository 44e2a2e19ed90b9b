"""`adapterops show`"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from adapterops.cli import options, output, values
from adapterops.cli.collections import show_collection
from adapterops.cli.looking import Looking, looking
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import verbose
from adapterops.errors import OptionError, count, listed, printable
from adapterops.formats.models.model_files import holds_model
from adapterops.formats.models.vocabulary import TOKEN_ROWS
from adapterops.formats.peft.loaded import left_out_of
from adapterops.formats.registry import DEFAULT
from adapterops.operations.collections import holds_collection
from adapterops.operations.comparing import analysis
from adapterops.operations.comparing.shards import shares_of
from adapterops.operations.models import inspect_model, stored
from adapterops.reports.figures import three
from adapterops.storage.place import Place
from adapterops.updates.layout import DORA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapterops.checkpoints.checkpoint import Checkpoint
    from adapterops.operations.comparing.analysis import Inspection, ModuleGroup, Spectra
    from adapterops.operations.comparing.bases import Bases
    from adapterops.operations.models import ModelInspection

SHOWN = 4
UNSCALED = "nothing states its scale: commands that compute with it need the lora_alpha it was trained with, such as --alpha 16"
BLOCKS, ASCII = " ▁▂▃▄▅▆▇█", " .:-=+*#@"


@click.command("show", cls=Sectioned)
@click.argument("source", type=values.SOURCE, default=".")
@click.option(
    "--spectrum", is_flag=True, help="Norms, singular values, effective ranks, and the ranks that keep 80 % and 99 %."
)
@click.option(
    "--base", type=values.SOURCE, metavar="BASE", help="A quantized model: how far it is from the --original."
)
@click.option("--original", type=values.SOURCE, metavar="MODEL", help="The model that --base was quantized from.")
@options.nonfinite
@looking
def command(
    source: Place, spectrum: bool, base: Place | None, original: Place | None, allow_nonfinite: bool, looking: Looking
) -> None:
    """What is inside an adapter, a collection, or a model: in the current folder, or at SOURCE.

    \b
    adapterops show my-adapter
    adapterops show my-adapter --spectrum
    adapterops show hf://owner/adapter@v2
    adapterops show my-adapter --base base-nf4 --original base
    adapterops show model-nf4
    adapterops show my-collection
    adapterops show my-collection#name
    """
    if (base is None) != (original is None):
        raise OptionError(
            "show compares --base with --original, and one of them is missing",
            hint="name both: a quantized model, and what it was made of",
        )
    source = source.once()
    if holds_collection(source):
        if spectrum or base:
            raise OptionError(
                "is a collection, and --spectrum and --base are for one adapter",
                path=source,
                hint=f"name one: {source}#NAME",
            )
        show_collection(source, looking.as_json)
        return
    if holds_model(replace(source, allow_pickle=looking.allow_pickle)):
        if spectrum or base:
            given = "--spectrum is" if spectrum else "--base and --original are"
            raise OptionError(f"is a model, and {given} for adapters", path=source, hint="leave it out")
        checkpoint = looking.model(source)
        model = inspect_model(checkpoint)
        warned = list(_warnings_of_model(model))
        if looking.as_json:
            output.check_strict(warned)
            output.print_json("checkpoint", model.as_json())
            return
        _print_model(model)
        if verbose():
            _print_tensors(checkpoint)
        output.check_strict(warned)
        return
    found = analysis.inspect(source, alpha=looking.alpha, allow_pickle=looking.allow_pickle)
    spectra = between = None
    if spectrum or base:
        adapter = looking.adapter(source, allow_nonfinite=allow_nonfinite)
        with output.progress("measuring") as report:
            spectra = analysis.spectra(adapter, how=looking.how(report)) if spectrum else None
            if base and original:
                from adapterops.operations.comparing.bases import bases  # here: it rounds, which takes long to import

                between = bases(adapter, looking.model(base), looking.model(original), how=looking.how(report))
    warned = list(_warnings(found))
    if looking.as_json:
        output.check_strict(warned)
        more = {"spectrum": spectra, "bases": between}
        output.print_json("adapter", found.as_json() | {name: each.as_json() for name, each in more.items() if each})
        return
    _print(found, spectra)
    if between:
        _print_bases(between)
    output.check_strict(warned)


def _print(found: Inspection, spectra: Spectra | None) -> None:
    revision = f" at {found.revision}" if found.revision else ""
    kinds = " and ".join(found.kinds) or "full tensors"
    kinds += f" in the format {found.format}" if found.format != DEFAULT else ""
    output.line(printable(f"{found.path}: {kinds} on {found.base_model or 'an unknown base'}{revision}"))
    header = ["modules", "count", "shape", "rank", "alpha", "scale", "dtype", "parameters"]
    if spectra:
        header += ["norm", "effective rank", "spectrum"]
    rows = []
    for group in sorted(found.groups, key=lambda group: (group.kind, group.rank, group.alpha or 0.0)):
        row = [
            group.kind,
            str(len(group.modules)),
            _sides(group.shape),
            str(group.rank),
            "?" if group.alpha is None else f"{group.alpha:g}" + (" rs" if group.rslora else ""),
            _scale(group),
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
    output.print_warnings(_warnings(found))
    if spectra and any(spectra.bracket):
        few, most = spectra.bracket
        least = (
            f"at least {analysis.LITTLE:.0%} of the energy over all modules, rank {most} at least {analysis.ENERGY:.0%}"
        )
        if few == most:
            least = f"at least {analysis.ENERGY:.0%} of the energy over all modules"
        output.line(f"rank {few} keeps {least}")
        if DORA in found.kinds:
            output.remark("note", "this is DoRA: norms and ranks are those of BA, without the magnitudes")


def _warnings(found: Inspection) -> Iterator[str]:
    if found.further:
        yield f"files that may hold trained weights, and are not read: {', '.join(found.further)}"
    if any(group.scale is None for group in found.groups):
        yield UNSCALED
    if found.missing:
        yield f"modules_to_save names {', '.join(found.missing)}, and no tensor belongs to that"
    if found.left_out:
        yield left_out_of(found.left_out, found.modules)
    if found.zero and len(found.zero) < found.modules:
        yield f"B is zero in {', '.join(found.zero)}"
    elif found.zero:
        yield "every B is zero: " + (
            "its updates were never trained" if found.full else "this adapter was never trained"
        )
    if found.shares:
        yield shares_of(found.shares)


def _scale(group: ModuleGroup) -> str:
    return "?" if group.scale is None else f"{group.scale:.4g}"


def _print_bases(between: Bases) -> None:
    total, worst = between.total, max(between.modules, key=lambda module: between.modules[module].of_update)
    output.line(
        f"--base differs from --original by {output.percent(total.of_weights)} of the adapted weights; in the directions that "
        f"the adapter reads, by {total.of_update:.2g} times the update, at most {between.modules[worst].of_update:.2g} times, "
        f"in {worst}"
    )
    output.line(
        "  if the adapter was trained on one of them and is fused into the other, the model is wrong by as much"
    )
    if verbose():
        rows = [
            [module, output.percent(each.of_weights), f"{each.of_update:.3g}"]
            for module, each in between.modules.items()
        ]
        output.print_table(["module", "difference, of the weights", "where the adapter reads, times the update"], rows)


def _sides(shape: tuple[int, int]) -> str:
    """
    >>> _sides((8, 4)), _sides((0, 4))
    ('8 x 4', '? x 4')
    """
    return " x ".join(str(each or "?") for each in shape)  # a kind may say nothing of one side


def _print_modules(found: Inspection, spectra: Spectra | None) -> None:
    header, rows = ["module", "shape", "rank", "scale", "dtype", *(["norm", "effective rank"] if spectra else [])], []
    for group in found.groups:
        shared = [_sides(group.shape), str(group.rank), _scale(group), group.dtype]
        for module in group.modules:
            each = spectra.modules[module] if spectra else None
            rows.append([module, *shared, *([three(each.norm), f"{each.effective_rank:.1f}"] if each else [])])
    output.print_table(header, sorted(rows))


def _print_model(found: ModelInspection) -> None:
    kind = found.model_type or found.what or "a model of unknown type"
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
    output.print_warnings(_warnings_of_model(found))


def _warnings_of_model(found: ModelInspection) -> Iterator[str]:
    if found.left:
        yield f"weights in its folder that no index names: {listed(found.left, SHOWN)}"
    if found.unstated:
        seen = f"{count(len(found.unstated), 'tensor')} of what sees or hears, such as {found.unstated[0]}"
        yield f"config.json is one for words alone, and there are {seen}"


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
