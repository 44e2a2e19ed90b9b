"""`adapterops compare`"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import click

from adapterops.adapters.adapter import Adapter
from adapterops.cli import output, values
from adapterops.cli.looking import Looking, looking
from adapterops.cli.making import NAMES, named
from adapterops.cli.making import inputs as adapters_of
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import verbose
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError
from adapterops.methods.scaling import AUTO
from adapterops.operations.comparing import comparison as comparing
from adapterops.operations.uniting import named_as
from adapterops.provenance.history import Step
from adapterops.storage.documents import check_documents, write_documents
from adapterops.storage.place import Place

Against: TypeAlias = dict[str, dict[int, float]]
"""Of each module that a merge opposes adapters in, what it has of these, by their places."""


@click.command("compare", cls=Sectioned)
@click.argument("sources", nargs=-1, required=True, type=values.SOURCE)
@click.option("--base", type=values.SOURCE, help=NAMES)
@click.option(
    "--advise", is_flag=True, help="What a merge would hold of each adapter, with --scale auto, sum and mean."
)
@click.option(
    "--plan",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Write the merge as a recipe to edit, with the factor of every module; adapterops run makes it.",
)
@click.option(
    "--drop-opposed",
    is_flag=True,
    help="Leave modules out of the plan in which the merge is against an adapter: ⟨M, ΔWᵢ⟩ < 0. Updates alone are looked at, "
    "and no task.",
)
@looking
def command(
    sources: tuple[Place, ...],
    base: Place | None,
    advise: bool,
    plan: Path | None,
    drop_opposed: bool,
    looking: Looking,
) -> None:
    """How adapters relate: cosine, sign conflict, overlap of their subspaces, shared initialisation; and what it means.

    Overlaps are ‖Q1ᵀQ2‖² / min(r1, r2) of the columns and rows of ΔW. The sign conflict is that of sampled rows, ± its
    standard error.

    \b
    adapterops compare a b c
    adapterops compare a b --json
    adapterops compare a b c --advise --plan plan.yaml
    adapterops compare a b c --plan plan.yaml --drop-opposed
    """
    if len(sources) < 2:
        raise OptionError(
            "there is one adapter, and nothing to compare it with",
            hint="name another, or use adapterops report for one",
        )
    if drop_opposed and plan is None:
        raise OptionError("--drop-opposed leaves modules out of a plan, and none is asked for", hint="add --plan FILE")
    if plan is not None:
        check_documents({plan: b""}, [source.path for source in sources], None, "--plan")
    if base is None:
        adapters = [looking.adapter(source) for source in sources]
    else:
        adapters = looking.adapters_for(looking.model(base), sources, named_as)
    with output.progress("measuring") as progress:
        found = comparing.compare(adapters, how=looking.how(progress))

    from adapterops.operations.comparing.outlook import outlooks
    from adapterops.reports.diagnosis import diagnose
    from adapterops.reports.numbers import numbers
    from adapterops.reports.outlook import opposed_sentences, outlook_numbers, outlook_rows, outlook_sentences
    from adapterops.reports.rows import module_rows, pair_rows, summary_rows
    from adapterops.reports.summary import summary

    findings = diagnose(found)
    short = summary(found, findings)
    merges = outlooks(found) if advise or plan else []

    def write() -> Against:
        if plan is None:
            return {}
        with output.progress("planning") as progress:
            return _write_plan(plan, sources, adapters, base, looking.alpha, drop_opposed, looking.how(progress))

    def planned(against: Against) -> dict[str, Any]:
        opposing = {module: [kept.get(place) for place in range(len(adapters))] for module, kept in against.items()}
        dropped = list(against) if drop_opposed else []
        return {} if plan is None else {"plan": str(plan), "opposed": opposing, "dropped": dropped}

    if looking.as_json:
        advice = {"outlook": outlook_numbers(found, merges)} if merges else {}
        output.print_json("comparison", {**numbers(found, short, findings), **advice, **planned(write())})
        return
    output.print_table(*summary_rows(found))
    output.line()
    output.print_table(*pair_rows(found))
    output.line()
    for index in range(len(adapters)) if verbose() else ():
        output.line(found.profiles[index].name)
        output.print_table(*module_rows(found, index))
        output.line()
    if merges:
        output.print_table(*outlook_rows(found, merges))
        for sentence in outlook_sentences(found, merges):
            output.line(sentence)
        output.line()
    output.print_findings(findings)
    output.print_command(short)
    against = write()
    if plan is not None:
        for sentence in opposed_sentences(against, [each.name for each in found.profiles], drop_opposed):
            output.line(sentence)
        output.line(f"wrote {plan}; edit it, and make it: adapterops run {plan} -o merged")


def _write_plan(
    plan: Path,
    sources: Sequence[Place],
    adapters: Sequence[Adapter],
    base: Place | None,
    alpha: float | None,
    drop_opposed: bool,
    how: Execution,
) -> Against:
    """The merge as a recipe, with paths as they are from its folder; and for each module that is against adapters what it
    has of these, by their places.
    """
    from adapterops.engine.local import run
    from adapterops.expressions.expression import parse
    from adapterops.methods.settings import usual
    from adapterops.operations.algebra import merge
    from adapterops.operations.comparing.opposed import opposed
    from adapterops.recipes.plan import plan as recipe
    from adapterops.reports.outlook import reason
    from adapterops.requests.places import Opened, seen_from
    from adapterops.requests.request import Model, Output, Request

    inputs = adapters_of(named([str(source) for source in sources]), alpha)
    there = Model(str(base)) if base else None
    request = Request(inputs, parse(" + ".join(inputs), inputs), base=there, output=Output(adapter=base is not None))
    seen = seen_from(plan.parent, request, Path(), Opened(dict(zip(inputs, adapters, strict=True)), {}))
    merged = merge(adapters, scale=AUTO, allow_base_mismatch=True)

    def against(module: str) -> dict[int, float]:
        return opposed(merged.updates[module], adapters, module)

    each = dict(zip(merged.layout, run(against, merged.layout, how=how), strict=True))
    opposing = {module: kept for module, kept in each.items() if kept}
    step = merged.history
    assert isinstance(step, Step)
    assert step.multipliers
    method, factors = usual(len(adapters), False), step.multipliers.all(partial(run, how=how))
    reasons = {module: reason(kept, list(inputs)) for module, kept in opposing.items()} if drop_opposed else {}
    if reasons and len(reasons) == len(factors):
        raise OptionError(
            "every module of the merge is against an adapter, and --drop-opposed would leave none",
            hint="leave --drop-opposed out, or merge adapters that do not oppose each other",
        )
    write_documents({plan: recipe(seen, method, factors, reasons).encode()})
    return opposing
