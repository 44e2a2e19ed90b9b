"""`adapterops verify`"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterops.arrays.dtypes import BITS, FLOATS
from adapterops.cli import options, output, values
from adapterops.cli.looking import Looking, looking, sarif
from adapterops.cli.making import divided, inputs, of_each
from adapterops.cli.making import named as unnamed
from adapterops.cli.merging import DEFAULT, Merge, merging
from adapterops.cli.modelling import View, viewing
from adapterops.cli.recognising import recognise
from adapterops.cli.sections import Sectioned
from adapterops.cli.spreading import Spread, spreading
from adapterops.cli.terminal import painted, quiet, verbose
from adapterops.cli.writing import print_part
from adapterops.engine.registry import ENGINES
from adapterops.errors import OptionError, VerificationError, count, printable
from adapterops.hub.references import SCHEME
from adapterops.operations import verifying
from adapterops.provenance.reader import read_manifest
from adapterops.quant.scheme import CALIBRATED, STOCHASTIC
from adapterops.requests.fields import Model, Output
from adapterops.requests.parts import spread as spread_over
from adapterops.requests.parts import write_part
from adapterops.requests.places import HERE, open_inputs
from adapterops.requests.places import found as place
from adapterops.requests.request import FUSE, UNFUSE, Request
from adapterops.requests.verifying import as_fused, changed_adapters, check_there, contradiction, proof, recorded
from adapterops.storage.measured import Measured
from adapterops.storage.place import Place
from adapterops.verification.diagnosis.tools import TOOLS

if TYPE_CHECKING:
    from adapterops.adapters.adapter import Adapter
    from adapterops.checkpoints.checkpoint import Checkpoint
    from adapterops.operations.verifying import Verification

SHOWN = 5


@click.command("verify", cls=Sectioned)
@click.argument("model", type=values.SOURCE, default=".")
@click.option("--base", type=values.TEXT, help="The model it was made from.  [default: what the manifest names]")
@click.option(
    "--adapter",
    "sources",
    multiple=True,
    metavar="[NAME=]SOURCE",
    help="An adapter that it was made from, once for each; or, with a name of the manifest, the new place of that one.  "
    "[default: what the manifest names]",
)
@merging
@viewing
@click.option("--logits", is_flag=True, help="Also compare the logits of the whole model, with transformers and PEFT.")
@click.option("--dtype", type=values.DType(), help="The --dtype that it was fused with.")
@click.option(
    "--made-by",
    type=click.Choice(TOOLS),
    help="The program that merged it, whose rounding is accepted; then no manifest is read.",
)
@sarif
@options.component
@spreading
@looking
def command(
    model: Place,
    base: str | None,
    sources: tuple[str, ...],
    merge: Merge,
    view: View,
    logits: bool,
    dtype: str | None,
    made_by: str | None,
    sarif: Path | None,
    components: tuple[str, ...],
    spread: Spread,
    looking: Looking,
) -> None:
    """Whether a model is its base plus an adapter, and nothing else: the one in the current folder, or at MODEL. Exit code
    0, or 8 and what is wrong.

    How it was made is read from its manifest; options replace what that says. Every adapted weight is compared
    bit for bit with W + ΔW rounded once, and tried on random vectors: (W + sBA) x = W x + s B (A x). Every other tensor
    is compared with the base's bytes, every file with the checksum in the manifest, which has to name all that a loader
    of models could take for its own.

    \b
    adapterops verify fused
    adapterops verify fused --base base --adapter my-adapter
    adapterops verify fused --base base --adapter a --adapter b --ties --density 0.2 --json
    adapterops verify fused --sarif verify.sarif
    adapterops verify merged --base base --adapter my-adapter --made-by peft
    adapterops verify fused --part 1/8
    """
    if (spread.part or spread.engine) and (made_by or logits or sarif or model.remote):
        raise OptionError(
            "--part and --engine compare a folder here, file by file, and print what all of that comes to",
            hint="leave --made-by, --logits and --sarif to one process; pull what is on the Hub first",
        )
    if made_by:
        if base is None or not sources:
            raise OptionError(
                "--made-by compares with --base and every --adapter, and does not read the manifest", hint="name both"
            )
        _check_plain(merge, view, dtype, logits)
        recognise(model, base, sources, made_by, sarif, looking)
        return
    folder = model.local()
    checkpoint = verifying.opened(folder, looking.model)
    record = recorded(folder)
    fused = _fused(record, model, base is not None and bool(sources))
    request = _request(fused, base, sources, merge, view, dtype, components, looking)
    check_there(request, record, folder)
    opened = open_inputs(request, verify=values.verified())
    with output.progress("verifying") as report:
        how = looking.how(report)
        if spread.part or spread.engine:
            how = replace(how, once=Measured(folder, how.sync))
        asked = proof(checkpoint, request, opened, how=how)
        if spread.part:
            print_part(write_part(asked, folder, spread.part, how=how), spread.part, looking.as_json, "verified")
            return
        if logits:
            from adapterops.live.logits import check_comparable

            check_comparable(checkpoint, asked.adapter)
        if spread.engine:
            found: Any = spread_over(asked, folder, ENGINES[spread.engine], address=spread.address, how=how)
        else:
            found = asked.verification(how)
    if sarif:
        from adapterops.reports.sarif import write_sarif

        write_sarif(sarif, folder, found.problems)
    distances = _compared(checkpoint, request, asked.adapter) if logits and found.ok else None
    tell(model, request, found, record, looking.as_json, distances)


def _check_plain(merge: Merge, view: View, dtype: str | None, logits: bool) -> None:
    """Raise OptionError for what another program's merge has no place for."""
    if merge.given or logits or dtype or view != View():
        raise OptionError(
            "--made-by takes every adapter at weight 1, and the rounding of that program",
            hint="leave options of the merge, the rounding, the dtype and --logits out; adapterops diagnose finds weights",
        )


def tell(
    model: Place | Path,
    request: Request,
    found: Verification,
    record: Request | None,
    as_json: bool,
    logits: dict[str, float] | None = None,
) -> None:
    """Print what was found of a model that a request should make; a failure is told as JSON with its error, and shown
    even where nothing else is. `record`: the request in its manifest.

    Raises:
        VerificationError: it is not what it should be.
    """
    certificate = found.as_json() | ({"logits": logits} if logits else {})
    if as_json and found.ok:
        output.print_json("verification", certificate)
    elif not as_json and not (quiet() and found.ok):
        _print(found, logits)
    if not found.ok:
        worst = found.problems[0]
        raise VerificationError(
            f"{worst.what} ({count(len(found.problems), 'problem')})",
            path=model,
            tensor=worst.place if worst.place != str(model) else None,
            hint=contradiction(record, request) or changed_adapters(Path(model), request) or _next(model, request),
            details=certificate,
        )


def _next(model: Place | Path, request: Request) -> str:
    """How to go on with a model that is not what it should be: `diagnose` finds sums of LoRAs."""
    if request.kind != FUSE or request.base is None:
        return "make it again, or look for what changed it"
    named = [part for each in request.inputs.values() for part in ("--adapter", _here(each.path))]
    command = shlex.join(["adapterops", "diagnose", str(model), "--base", _here(request.base.path), *named])
    return f"fuse again, or look for what is in it: {command}"


def _here(path: str) -> str:
    """A path as a person would write it here."""
    return path if path.startswith(SCHEME) else os.path.relpath(path)


def _request(
    record: Request | None,
    base: str | None,
    sources: tuple[str, ...],
    merge: Merge,
    view: View,
    dtype: str | None,
    components: tuple[str, ...],
    looking: Looking,
) -> Request:
    """What the model was made by: what its manifest says, and in the place of that what the options say."""
    named, others = _named(sources, record)
    if record is None or others:
        adapters = inputs(unnamed(others), looking.alpha, components=components)
    else:
        adapters = {
            name: replace(
                each,
                path=named.get(name, each.path),
                alpha=looking.alpha or each.alpha,
                component=component or each.component,
            )
            for (name, each), component in zip(
                record.inputs.items(), of_each(components, len(record.inputs)), strict=True
            )
        }
    rounding = view.rounding or (record.rounding if record else None)
    again = record is not None and not others and not merge.given
    asked = any(each.grams for each in record.inputs.values()) if record and again else merge.from_inputs
    adapters, grams = divided(adapters, view.grams, asked=asked, calibrated=rounding == CALIBRATED)
    known = None if merge.given else record.result if record and again else as_fused(record, adapters)
    result = known or merge.expression(adapters, rounding, usually=DEFAULT)
    stated = record or Request(adapters, result, base=Model(str(base)))
    stochastic = rounding == STOCHASTIC
    return replace(
        stated,
        inputs=adapters,
        result=result,
        allow_base_mismatch=stated.allow_base_mismatch or merge.allow_base_mismatch,
        base=stated.base if base is None else Model(base),
        original=view.original or stated.original,
        base_view=view.base_view or stated.base_view,
        rounding=rounding,
        seed=merge.parameters.get("seed", stated.seed) if stochastic else None,
        grams=grams or stated.grams,
        precision=view.precision or stated.precision,
        allow_pickle=looking.allow_pickle or stated.allow_pickle,
        output=replace(stated.output if again else Output(), dtype=dtype or stated.output.dtype),
    )


def _fused(record: Request | None, model: Place, complete: bool) -> Request | None:
    """The request in the manifest, if it is one to fuse or unfuse; otherwise the options have to be `complete`."""
    if record is not None and record.kind in (FUSE, UNFUSE):
        return record
    if not complete:
        manifest = read_manifest(model.local())  # one that is damaged is not one that says nothing
        fact = (
            "has no manifest that says how it was made"
            if manifest is None
            else "its manifest does not say how it was made"
        )
        hint = "name what it was fused from: --base BASE --adapter SOURCE"
        if record is not None:
            fact, hint = (
                f"was made by {record.kind}, and not fused",
                f"adapterops diagnose {shlex.quote(str(model))} --base BASE says what it is",
            )
        raise OptionError(fact, path=model, hint=hint)
    return None


def _named(sources: tuple[str, ...], record: Request | None) -> tuple[dict[str, str], list[str]]:
    """The adapters given in the place of one that the manifest has a name for, and all others."""
    named: dict[str, str] = {}
    others = []
    for source in sources:
        name, _, path = source.partition("=")
        if record is not None and name in record.inputs and path:
            named[name] = values.text(path)
        else:
            others.append(values.text(source))
    if named and others:
        raise OptionError(
            "some adapters are given with a name and some without",
            hint=f"name all: {', '.join(record.inputs if record else ())}",
        )
    return named, others


def _compared(model: Checkpoint, request: Request, adapter: Adapter) -> dict[str, float] | None:
    """How far the logits are from those of the base with the adapter."""
    from adapterops.live.logits import compare

    if request.base is None:
        return None
    stored = {spec.dtype for spec in model.layout.values() if spec.dtype in FLOATS}
    before = place(HERE, request.base.path).local()
    return compare(model, before, adapter, min(stored, key=BITS.__getitem__))


def _print(found: Verification, logits: dict[str, float] | None) -> None:
    entries = sum(check.entries for check in found.modules.values())
    exact, near = (sum(getattr(check, name) for check in found.modules.values()) for name in ("exact", "near"))
    shown = len(found.problems) if verbose() else SHOWN
    for problem in found.problems[:shown]:
        wrong = painted("WRONG", "error", sys.stdout)
        print(f"{wrong}  {printable(f'{problem.place}: {problem.what}')}")
    if len(found.problems) > shown:
        output.line(f"       and {len(found.problems) - shown} more")
    parts = {"adapted weight": len(found.modules), "other tensor": found.others, "file": found.files}
    output.line(f"{found.path}: {', '.join(count(number, noun) for noun, number in parts.items())}")
    survivals = [check.survival for check in found.modules.values() if check.survival]
    if survivals:
        total = sum(survivals[1:], survivals[0])
        output.line(
            f"  {exact} of {entries} entries have the code of W + ΔW"
            + (f", {near} another one that is as near" if near else "")
        )
        output.line(
            f"  survived: {output.percent(total.gain)} of the update; rounding error: {output.percent(total.noise)} of the weights"
        )
    elif found.modules:
        worst = max(found.modules, key=lambda module: found.modules[module].identity)
        output.line(
            f"  {exact} of {entries} entries are W + ΔW bit for bit"
            + (f", {near} within the rounding of float32" if near else "")
        )
        error = found.modules[worst].identity
        times = f"{error:.2g}" if error < 100 else f"{error:.0f}"
        output.line(
            f"  (W + sBA) x and W x + s B (A x) differ by at most {times} times what rounding allows, in {worst}"
        )
    if logits:
        output.line(f"  logits: relative error {logits['relative']:.2g}, bound {logits['bound']:.2g}")
    print(
        "  " + (painted("verified", "good", sys.stdout) if found.ok else painted("NOT VERIFIED", "error", sys.stdout))
    )
