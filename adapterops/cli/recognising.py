"""`adapterops verify --made-by`: a model that another program merged, entry for entry as that program rounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import join

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.cli import output
from adapterops.cli.looking import Looking
from adapterops.cli.values import verified
from adapterops.errors import UnjudgedError, VerificationError, count
from adapterops.operations.output_files import Problem
from adapterops.operations.targets.based import fitted
from adapterops.requests.places import HERE, found
from adapterops.storage.place import Place
from adapterops.verification.diagnosis.conventions import CONVENTIONS
from adapterops.verification.diagnosis.suspects import CODES
from adapterops.verification.diagnosis.tools import TOOLS, recognised
from adapterops.verification.unloaded import unloaded_text


def recognise(
    model: Place,
    base: str,
    sources: Sequence[str],
    tool: str,
    sarif: Path | None,
    looking: Looking,
) -> None:
    """Print whether it is.

    Raises:
        VerificationError: it is not.
        UnjudgedError: it is in codes, which the program rounds to in a way that is not known here.
    """
    before = looking.model(found(HERE, base, verify=verified()))
    places = [found(HERE, source, verify=verified()) for source in sources]
    adapters = looking.adapters_for(before, places, _as_trained)
    with output.progress("verifying") as report:
        result = recognised(looking.model(model), before, adapters, tool, how=looking.how(report))
    problems = [Problem(each.place, each.what) for each in result.findings]
    if sarif:
        from adapterops.reports.sarif import write_sarif

        write_sarif(sarif, model.local(), problems)
    document = {"path": str(model), **result.as_json()}
    if problems:
        command = ["adapterops", "diagnose", str(model), "--base", base]
        command += [word for source in sources for word in ("--adapter", source)]
        unknown = all(each.kind == CODES for each in result.findings)
        raise (UnjudgedError if unknown else VerificationError)(
            f"{problems[0].what} ({count(len(problems), 'problem')})",
            path=model,
            tensor=problems[0].place,
            hint=f"see what it is: {join(command)}",
            details=document,
        )
    if looking.as_json:
        output.print_json("verification", document)
        return
    output.line(f"{model}: {count(result.modules, 'module')}, every entry as {TOOLS[tool].title} makes it")
    says = {each.name: each.says for each in CONVENTIONS}
    for name, number in result.roundings.items():
        output.line(f"  rounded {says[name]}: {count(number, 'module')}")
    if result.left:
        output.line(f"  {unloaded_text(result.left)}")
    output.line("  verified")


def _as_trained(adapters: Sequence[Adapter], base: Checkpoint) -> list[Adapter]:
    """Every adapter as the program sees it, which finds for itself what PiSSA, OLoRA and KaSA began with."""
    return [fitted(each, base) for each in adapters]
