"""`adapterops check`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli import options, output, values
from adapterops.cli.looking import sarif
from adapterops.cli.sections import Sectioned
from adapterops.errors import OptionError, UnjudgedError, VerificationError, count
from adapterops.formats.registry import read_adapter
from adapterops.formats.runtimes.rules import BAD, FACTS, FINE, UNKNOWN
from adapterops.formats.runtimes.table import RUNTIMES
from adapterops.operations.comparing.shards import shares, shares_of
from adapterops.operations.output_files import Problem
from adapterops.operations.serving import Judgement, Verdict, check
from adapterops.storage.place import Place


@click.command("check", cls=Sectioned)
@click.argument("source", type=values.SOURCE, default=".")
@click.option(
    "--for",
    "runtime",
    type=click.Choice(list(RUNTIMES), case_sensitive=False),
    help="The program.  [default: a table of all]",
)
@click.option(
    "--max-rank", type=values.COUNT, metavar="R", help="The largest rank it takes.  [default: the program's own]"
)
@click.option("--base", type=values.SOURCE, metavar="BASE", help="The model that it will be served on: its headers.")
@options.alpha
@options.allow_pickle
@sarif
@options.verifying
@options.as_json
@options.strict
def command(
    source: Place,
    runtime: str | None,
    max_rank: int | None,
    base: Place | None,
    alpha: float | None,
    allow_pickle: bool,
    sarif: Path | None,
    as_json: bool,
) -> None:
    """Whether a program that serves or loads adapters applies one as it was trained: the adapter in the current folder,
    or at SOURCE.

    By rules that were read in the programs' source: no server is run. With --for, exit code 8 where something is refused
    or silently wrong, with the command that fixes it; 9 where what the program does with something is not established;
    0 otherwise, and for the table of all.

    \b
    adapterops check my-adapter
    adapterops check my-adapter --for vllm --max-rank 64
    adapterops check my-adapter --for ollama --base base --json
    adapterops check my-adapter --for vllm --sarif check.sarif
    """
    if sarif and not runtime:
        raise OptionError(
            "--sarif is for what one program does", hint=f"name it with --for: one of {', '.join(RUNTIMES)}"
        )
    model = None if base is None else open_checkpoint(base, allow_pickle=allow_pickle)
    names = [runtime] if runtime else list(RUNTIMES)
    source = replace(source, allow_pickle=allow_pickle).once()
    found = check(source, names, base=model, max_rank=max_rank, alpha=alpha, allow_pickle=allow_pickle)
    here = source.remote is None
    partial = shares(read_adapter(source, alpha)) if here else ()
    judged = {
        "path": str(source),
        "runtimes": {name: verdict.as_json() for name, verdict in found.items()},
        "shares": [each.as_json() for each in partial] if here else None,
    }
    verdict = found[runtime] if runtime else None
    failed = verdict if verdict and not (verdict.ok and verdict.judged) else None
    if sarif and verdict:
        _write(sarif, source.path, verdict)
    warned = [shares_of(partial)] if partial else []
    if as_json and not failed:
        output.check_strict(warned)
        output.print_json("check", judged)
    elif not as_json and verdict:
        _print(source, verdict)
    elif not as_json:
        _print_all(source, found)
    if not as_json:
        output.print_warnings(warned)
    if failed:
        worst = next(each for each in failed.findings if failed.judged or each.rule.severity == UNKNOWN)
        fact = f"{_named(worst)}: {worst.rule.severity}"
        error, says = (
            (VerificationError, f"{failed.runtime.title} does not apply it as it was trained: {fact}")
            if failed.judged
            else (
                UnjudgedError,
                f"whether {failed.runtime.title} applies it as it was trained cannot be judged: {fact}",
            )
        )
        raise error(says, path=source, hint=worst.remedy or None, code="E-RUNTIME", details=judged)
    output.check_strict(warned)


def _write(out: Path, folder: Path, verdict: Verdict) -> None:
    """What is refused or silently wrong, for code scanning."""
    from adapterops.reports.sarif import CHECKED, write_sarif

    title = verdict.runtime.title
    problems = [
        Problem(_named(each), f"{each.rule.severity} in {title}: {each.rule.says}; {each.remedy}".removesuffix("; "))
        for each in verdict.findings
        if each.rule.severity in BAD
    ]
    write_sarif(out, folder, problems, CHECKED)


def _print(source: Place, verdict: Verdict) -> None:
    output.line(f"{source} in {verdict.runtime.title}, as of {verdict.runtime.source}:")
    for finding in verdict.findings:
        output.line(f"  {finding.rule.severity}: {_named(finding)}: {finding.rule.says}{_factor(finding.factor)}")
        if finding.remedy and finding.rule.severity != FINE:
            output.line(f"      {finding.remedy}")
    if verdict.strength:
        worst = min(verdict.strength, key=verdict.strength.__getitem__)
        least, most = verdict.strength[worst], max(verdict.strength.values())
        where = "" if least == most else f", the least in {worst}"
        output.line(f"  {count(len(verdict.strength), 'module')} with another scale{_factor((least, most))}{where}")


def _print_all(source: Place, found: dict[str, Verdict]) -> None:
    output.line(f"{source}:")
    rows = []
    for name, verdict in found.items():
        worst = [each for each in verdict.findings if each.rule.severity == verdict.severity != FINE]
        rows.append([f"{name}: {verdict.severity}", "; ".join(_named(each) for each in worst)])
    width = max(len(first) for first, _ in rows)
    for first, second in rows:
        output.line(f"  {first.ljust(width)}  {second}".rstrip())
    output.line("adapterops check --for NAME says why, and how to fix it")


def _named(finding: Judgement) -> str:
    called, found = FACTS[finding.fact.name], finding.fact.found
    return f"{called} ({found})" if found not in ("", called) else called


def _factor(factor: tuple[float, float] | None) -> str:
    """
    >>> _factor((0.25, 0.25)), _factor((0.25, 2.0)), _factor(None)
    (' (0.25 of the trained scale)', ' (0.25 to 2 of the trained scale)', '')
    """
    if factor is None:
        return ""
    least, most = (f"{each:.3g}" for each in factor)
    return f" ({least if least == most else f'{least} to {most}'} of the trained scale)"
