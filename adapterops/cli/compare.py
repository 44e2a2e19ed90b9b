"""`adapterops compare`"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from adapterops.adapters.adapter import Adapter
from adapterops.cli import output, values
from adapterops.cli.looking import Looking, looking
from adapterops.cli.making import NAMES, named
from adapterops.cli.making import inputs as adapters_of
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import verbose
from adapterops.errors import OptionError
from adapterops.operations.collections import adapters_in
from adapterops.operations.comparing import comparison as comparing
from adapterops.operations.uniting import named_alike
from adapterops.storage.documents import check_documents, write_documents
from adapterops.storage.place import Place

if TYPE_CHECKING:
    from adapterops.operations.comparing.comparison import Comparison
    from adapterops.operations.comparing.opposed import Opposed
    from adapterops.operations.comparing.outlook import Outlook


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
    help="Leave modules out of the plan in which the merge is against an adapter: ⟨M, ΔWᵢ⟩ < -0.001 ‖ΔWᵢ‖². Updates alone "
    "are looked at, and no task.",
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

    A collection stands for all of its adapters.

    \b
    adapterops compare a b c
    adapterops compare a b --json
    adapterops compare a b c --advise --plan plan.yaml
    adapterops compare a b c --plan plan.yaml --drop-opposed
    """
    sources = tuple(each for source in sources for each in adapters_in(source))
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
        adapters = looking.adapters_for(looking.model(base), sources, named_alike)
    write = _planning(plan, sources, adapters, base, looking, drop_opposed) if plan else None
    with output.progress("measuring") as progress:
        found = comparing.compare(adapters, how=looking.how(progress))

    from adapterops.operations.comparing.outlook import outlooks
    from adapterops.recipes.plan import by_default
    from adapterops.reports.diagnosis import diagnose
    from adapterops.reports.numbers import numbers
    from adapterops.reports.outlook import opposed_sentences, outlook_numbers
    from adapterops.reports.summary import summary

    findings = diagnose(found)
    short = summary(found, findings)
    merges = outlooks(found) if advise or plan else []
    default = by_default(adapters, looking.how(None)) if advise else None
    warned = output.warned_of(findings)
    if looking.as_json:
        output.check_strict(warned)
        document = numbers(found, short, findings)
        if merges:
            document["outlook"] = outlook_numbers(found, merges) | ({"default": default} if default else {})
        if write:
            opposed = write()
            document |= {"plan": str(plan), "opposed": opposed, "dropped": list(opposed) if drop_opposed else []}
        output.print_json("comparison", document)
        return
    with output.ahead() if write else nullcontext():
        _print_tables(found, merges, default)
        output.print_findings(findings)
        output.print_command(short)
    output.check_strict(warned)
    if write:
        for sentence in opposed_sentences(write(), [each.name for each in found.profiles], drop_opposed):
            output.line(sentence)
        output.line(f"wrote {plan}; edit it, and make it: adapterops run {quote(str(plan))} -o merged")


def _print_tables(found: Comparison, merges: Sequence[Outlook], default: Mapping[str, Any] | None) -> None:
    """The adapters, their pairs, and what merges would hold of each; with --verbose every module."""
    from adapterops.reports.holding import same
    from adapterops.reports.outlook import outlook_rows, outlook_sentences
    from adapterops.reports.rows import module_rows, pair_rows, summary_rows

    output.print_table(*summary_rows(found))
    output.line()
    output.print_table(*pair_rows(found))
    output.line()
    for index, profile in enumerate(found.profiles) if verbose() else ():
        output.line(profile.name)
        output.print_table(*module_rows(found, index))
        output.line()
    if merges:
        output.print_table(*outlook_rows(found, merges))
        for sentence in outlook_sentences(found, merges):
            output.line(sentence)
        if default and default["rules_apart"] is not None:
            output.line(same(default["rules_apart"]))
        output.line()


def _planning(
    plan: Path,
    sources: Sequence[Place],
    adapters: Sequence[Adapter],
    base: Place | None,
    looking: Looking,
    drop_opposed: bool,
) -> Callable[[], Opposed]:
    """What writes the plan once it is called, with paths as they are from its folder. The merge is possible, or this raises."""
    from adapterops.expressions.expression import parse
    from adapterops.recipes import plan as planning
    from adapterops.reports.outlook import reasons
    from adapterops.requests.fields import Model, Output
    from adapterops.requests.places import Opened, seen_from
    from adapterops.requests.request import Request

    inputs = adapters_of(named([str(source) for source in sources]), looking.alpha)
    there = Model(str(base)) if base else None
    request = Request(
        inputs,
        parse(" + ".join(inputs), inputs),
        allow_base_mismatch=len({each.config.base_model for each in adapters} - {None}) > 1,
        base=there,
        allow_pickle=looking.allow_pickle,
        output=Output(adapter=base is not None),
    )
    seen = seen_from(plan.parent, request, Path(), Opened(dict(zip(inputs, adapters, strict=True)), {}))
    merged = planning.planned(adapters)

    def write() -> Opposed:
        with output.progress("planning") as progress:
            made = planning.plan(adapters, merged, looking.how(progress))
        left_out = reasons(made.opposed, list(inputs)) if drop_opposed else {}
        write_documents({plan: made.recipe(seen, left_out).encode()})
        return made.opposed

    return write
