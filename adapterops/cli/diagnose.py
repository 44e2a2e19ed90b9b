"""`adapterops diagnose`"""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapterops.arrays.dtypes import FLOATS
from adapterops.cli import output, values
from adapterops.cli.looking import Looking, looking, sarif
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import verbose
from adapterops.errors import OptionError, UnjudgedError, VerificationError, count
from adapterops.formats.further import inner_adapters
from adapterops.operations.output_files import Problem
from adapterops.quant.registry import written
from adapterops.storage.place import Place

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Checkpoint
    from adapterops.verification.diagnosis.diagnosing import Diagnosis

SHOWN = 5
EXTRACT = ("adapterops", "extract")


@click.command("diagnose", cls=Sectioned)
@click.argument("model", type=values.SOURCE)
@click.option("--base", type=values.SOURCE, required=True, help="The model that it was made from.")
@click.option(
    "--adapter",
    "sources",
    multiple=True,
    type=values.SOURCE,
    metavar="SOURCE",
    help="An adapter that it should hold, once for each.  [default: none, and the difference is measured]",
)
@click.option(
    "--original", type=values.SOURCE, help="The 16-bit model that a quantized base was made from, if there is one."
)
@sarif
@looking
def command(
    model: Place,
    base: Place,
    sources: tuple[Place, ...],
    original: Place | None,
    sarif: Path | None,
    looking: Looking,
) -> None:
    """What MODEL is, whichever program merged it: the base, the base plus adapters and with which weights, how it was
    rounded, and which modules are otherwise. Exit code 0 if it is the base plus all of the adapters, 8 if not, and 9
    if the files do not show it.

    Rows spread over every adapted weight are compared in float64; every other tensor by its bytes. Without an adapter the
    difference of the two models is measured: its rank, and whether a LoRA would hold it.

    \b
    adapterops diagnose merged --base base --adapter my-adapter
    adapterops diagnose merged --base base --adapter a --adapter b --json
    adapterops diagnose tuned --base base
    """
    if len(set(map(str, sources))) < len(sources):
        raise OptionError("an adapter is given twice", hint="give each once: its weight is found")
    merged, before = map(looking.model, (model, base))
    adapters = {str(each): looking.adapter(each) for each in sources}
    from adapterops.operations.diagnosing import diagnose
    from adapterops.verification.diagnosis.verdicts import UNJUDGED

    with output.progress("comparing") as report:
        found = diagnose(
            merged,
            before,
            adapters,
            original=None if original is None else looking.model(original),
            how=looking.how(report),
        )
    if sarif:
        from adapterops.reports.sarif import write_sarif

        write_sarif(sarif, model.local(), _problems(found))
    follows = _follows(found, model, base, original, sources, _storage(merged, before))
    result = {"path": str(model), **found.as_json(), "command": follows}
    if not looking.as_json:
        _print(model, found)
    if found.healthy and looking.as_json:
        output.print_json("diagnosis", result)
    elif found.healthy and follows:
        output.line(f"next: {shlex.join(follows)}")
    elif not found.healthy:
        error = UnjudgedError if found.code == UNJUDGED else VerificationError
        hint = f"next: {shlex.join(follows)}" if follows else _otherwise(found, model)
        raise error(found.sentence, path=model, hint=hint, details=result)


def _otherwise(found: Diagnosis, model: Place) -> str:
    """What may be done about a model where no command follows."""
    from adapterops.verification.diagnosis.verdicts import BASE

    inner = [] if model.remote or found.verdict != BASE else inner_adapters(model.path)
    if not inner:
        return "if another model is its base, name that one with --base"
    merged = shlex.join(["adapterops", "fuse", str(model), str(inner[0]), "-o", "fused"])
    return f"{inner[0]} is an adapter that is not merged into it: {merged}"


def _problems(found: Diagnosis) -> list[Problem]:
    """What code scanning shows: every finding, or the verdict where there is none."""
    if found.healthy:
        return []
    return [Problem(each.place, each.what) for each in found.findings] or [Problem("weights", found.sentence)]


def _storage(model: Checkpoint, base: Checkpoint) -> list[str]:
    """The option with which a base is fused into what the model is stored as: codes at random on the base's grid, or new ones;
    or the dtype of most of its tensors, where the base alone is in codes.
    """
    schemes = {scheme.name for scheme in model.schemes.values()}
    if base.schemes and schemes:
        return ["--rounding", "stochastic"]
    if base.schemes:
        dtypes = Counter(FLOATS[spec.dtype] for spec in model.layout.values() if spec.dtype in FLOATS)
        return ["--dtype", dtypes.most_common(1)[0][0]] if dtypes else []
    return ["--quantize", *schemes] if len(schemes) == 1 and schemes <= set(written()) else []


def _follows(
    found: Diagnosis, model: Place, base: Place, original: Place | None, sources: tuple[Place, ...], storage: list[str]
) -> list[str] | None:
    """The command that may come next: what makes the model again, takes the adapter out of it, or measures what is in it."""
    from adapterops.verification.diagnosis.verdicts import ELSE, ORIGINAL

    if not sources:
        return [*EXTRACT, str(model), "--base", str(base), "--rank", str(found.rank)] if found.rank else None
    if found.healthy:
        return None
    if found.verdict == ELSE:
        return ["adapterops", "diagnose", str(model), "--base", str(base)]
    if found.under == ORIGINAL and original is not None:
        base, storage = original, []
    return ["adapterops", "fuse", str(base), *map(str, sources), *storage, "-o", "fused"]


def _print(model: Place, found: Diagnosis) -> None:
    output.line(f"{model}: {found.sentence}")
    for name, (weight, error) in found.weights.items():
        output.line(f"  {name}: weight {weight:.4g} ± {2 * error:.1g}")
    if found.units:
        compared = f"{count(found.units, 'module')} compared in {output.percent(found.looked_at)} of the entries"
        output.line(f"  {compared}: {found.right} as expected, {found.seen} large enough to see")
    if found.roundings:
        first, *others = found.roundings
        more = f"; {', '.join(each.name for each in others)} cannot be told apart from that" if others else ""
        exact = "" if found.exact == found.right else f", exactly in {found.exact} of {found.right} modules"
        output.line(f"  rounded {first.says}{exact}{more}")
    elif found.kept is not None and not found.quantized:
        output.line("  rounded in an unknown way")
    if found.kept is not None:
        output.line(f"  {output.percent(found.kept)} of the update is left after rounding")
    if found.left:
        from adapterops.verification.unloaded import unloaded_text

        output.line(f"  {unloaded_text(found.left)}")
    if found.spectra:
        _print_spectra(found)
    shown = list(found.findings) if verbose() else list(found.findings[:SHOWN])
    for each in shown:
        output.line(f"  {each.kind}  {each.place}: {each.what}")
    if len(found.findings) > len(shown):
        kinds = Counter(each.kind for each in found.findings)
        output.line(f"  total: {', '.join(f'{number} {kind}' for kind, number in kinds.items())}; -v lists them")


def _print_spectra(found: Diagnosis) -> None:
    def rank(value: int | None) -> str:
        return "more" if value is None else str(value)

    rows = [
        [
            each.tensor,
            output.percent(each.relative),
            rank(each.rank(0.9)),
            rank(each.rank(0.99)),
            output.percent(each.noise),
        ]
        for each in sorted(found.spectra, key=lambda each: -each.relative)
    ]
    output.print_table(["weight", "change", "rank for 90%", "for 99%", "rounding"], rows if verbose() else rows[:SHOWN])
