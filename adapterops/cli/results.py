"""Results of requests as a person reads them: what was written, what of it was kept, and by what it was multiplied.

A figure says what it is a part of: none of them compares one method or weight with another.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.saved import Saved
from adapterops.cli.output import ahead, amount, line, percent, print_table, span
from adapterops.cli.terminal import quiet, verbose
from adapterops.cli.typed import again
from adapterops.engine.execution import Execution
from adapterops.engine.local import run
from adapterops.engine.plan import missing, steps
from adapterops.errors import AdapterWarning, count
from adapterops.methods import METHODS
from adapterops.methods.holding import as_json, of_sum, parallel, whole
from adapterops.methods.scaling import SUM, describe, fixed, others, times
from adapterops.provenance.history import Step
from adapterops.reports.figures import three
from adapterops.requests.running import Made

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Checkpoint
    from adapterops.checkpoints.saving import SavedCheckpoint
    from adapterops.methods.holding import Holding
    from adapterops.requests.running import Written
    from adapterops.updates.survival import Survival

AS_IS = Execution()

LOSSY_GAIN = 0.95
"""Below this much of an update left, a person should know."""

EXACT = 1e-6
"""Above this, relative to the update, what is stored is not called exact: float32 is ten times as near."""

CHANCE = 0.01
"""Above this, a person should know how far chance may have moved what survived."""

WITH_SCALE = ("merge", "fuse", "unfuse")
"""Commands that have --scale; elsewhere it is an argument in the formula."""

BY_NUMBER = ("merge", "fuse")
"""Commands whose method, where none is named, is that for the number of adapters."""

CONVERTING = ("convert", "normalize")
"""Commands that promise the same update."""

UNCUT = {"merge": "the uncut merge", "extract": "the difference"}
"""What an energy is a part of, by the operation; otherwise it is the adapter."""


def print_result(made: Made, saved: Written, more: Mapping[str, Any]) -> None:
    """What was written, unless nobody wants to know; warnings are given in any case."""
    if not quiet():
        if isinstance(saved, Saved):
            _print_adapter(made, saved)
        else:
            _print_model(saved)
        print_scales(made, planned=False)
        for verb, what in more.items():
            line(f"{verb} it to {what}")
    if not isinstance(saved, Saved):
        _warn(saved)


def print_held(
    made: Made, *, how: Execution = AS_IS, room: int = 0, fetch: bool = False, first: bool | None = None
) -> None:
    """What each merge of several holds of each, in all its modules or in some. Of what is not written yet `room` bytes are kept
    until it is.

    Args:
        fetch: bring files here that are on the Hub.
        first: of those merges alone of which that is measured first, or of the others; by default of all.
    """
    from adapterops.reports.holding import called, held_rows, held_sentences

    how = _measuring(made, how)
    all_merges = list(merges(made))
    for step in all_merges:
        if step.holdings and first not in (None, step.holdings.first):
            continue
        found = _holdings(step, how, room, fetch)
        if step.holdings and not step.holdings.modules and _number(step) > 1:
            with ahead():
                line("  what it keeps of each is not known before all is merged: the method looks at all modules first")
        if found and step.holdings:
            scale, number = step.parameters["scale"], _number(step)
            plain = set(step.parameters["weights"]) == {1.0}
            scales = {name: factor for name, factor in others(scale, number).items() if factor and plain}
            asked = _asked(step)  # who states a scale and no method gets the sum
            scaled = found if asked or not step.why else of_sum(found)
            if scaled is found and step.multipliers and step.multipliers.summed:
                scales = {}  # at these no module of it is the sum
            rules = step.holdings.rule_distance(partial(run, how=how)) if parallel(whole(found)) else None
            with ahead():
                if len(all_merges) > 1:
                    weights = ", ".join(f"{each:g}" for each in step.parameters["weights"])
                    modules = count(step.holdings.count, "module")
                    line(f"{step.parameters['method']}, weights {weights}, in {modules}:")
                print_table(*held_rows(called(step.inputs[:number]), found, scales, scaled))
                for sentence in held_sentences(found, step.holdings.count, rules, cut=_is_cut(made.result)):
                    line(f"  {sentence}")


def _measuring(made: Made, how: Execution) -> Execution:
    """How it is measured what merges come to: a model gets the bits of a processor by that, and memory is not divided."""
    how = how if isinstance(made.result, Adapter) else replace(how, device=AS_IS.device)
    return how if how.memory is None else replace(how, workers=1)


def _is_cut(result: Adapter | Checkpoint) -> bool:
    """Whether less than what was merged is written."""
    if not isinstance(result, Adapter):
        return False
    return any(each.dense for each in result.layout.values()) or any(
        step.operation == "truncate" for step in steps(result.history)
    )


def _number(step: Step) -> int:
    """How many adapters are merged: Gram files are inputs, too."""
    return len(step.parameters["weights"])


def _holdings(step: Step, how: Execution, room: int = 0, fetch: bool = False) -> Mapping[str, Holding] | None:
    each = step.holdings
    if each is None or _number(step) < 2 or (missing(step) and not fetch) or not each.modules:
        return None
    return each.all(partial(run, how=how), room)


def print_scales(made: Made, *, planned: bool, how: Execution = AS_IS) -> None:
    """What merges are multiplied by, where weights do not say it. A plan has the commands for something else."""
    how = _measuring(made, how)
    for step in merges(made):
        scale, number = step.parameters["scale"], _number(step)
        if step.why and not _asked(step):
            line(f"  method {step.parameters['method']}, {step.why}")
        weighted = set(step.parameters["weights"]) != {1.0}
        if scale in (SUM, 1.0) and (weighted or number == 1 or not planned):
            continue
        multipliers = _multipliers(step, how).values()
        if multipliers and step.multipliers and (added := step.multipliers.of_sum()):
            every = f"{len(added)} of " * (len(added) < len(multipliers)) + count(len(multipliers), "module")
            line(f"  the sum in {every}, where the updates are large")
        later = planned and not multipliers and fixed(scale, number) is None
        line(f"  scale {describe(scale, number, multipliers)}{'; the merge says by how much' if later else ''}")
        option = click.get_current_context().info_name in WITH_SCALE
        for name, factor in others(scale, number).items() if planned else ():
            instead = again("--scale", name) if option else f'{step.parameters["method"]}(..., scale="{name}")'
            line(f"    {name}{f', {times([factor])}' if factor else ''}: {instead}")


def _asked(step: Step) -> bool:
    """Whether the method was named."""
    context, method = click.get_current_context(), step.parameters["method"]
    return context.info_name not in BY_NUMBER or bool(context.params.get("method") or context.params.get(method))


def scales(made: Made, *, planned: bool, how: Execution = AS_IS) -> dict[str, Any]:
    """The same as JSON: one for each merge, the last one first."""
    reported, how = [], _measuring(made, how)
    for step in merges(made):
        scale, number = step.parameters["scale"], _number(step)
        each = {name: step.parameters[name] for name in ("method", "weights", "scale")} | {
            "factor": fixed(scale, number)
        }
        if step.why:
            each["why"] = step.why
        if each["factor"] is None:
            each["multipliers"] = _multipliers(step, how) or None
            if step.multipliers and step.multipliers.summed:
                each["summed"] = step.multipliers.of_sum()
        if step.holdings and (found := _holdings(step, how)):
            each |= as_json(found, step.holdings.count)
        if planned and click.get_current_context().info_name in WITH_SCALE:
            each["commands"] = {name: again("--scale", name) for name in others(scale, number)}
        reported.append(each)
    return {"scales": reported} if reported else {}


def _multipliers(step: Step, how: Execution) -> dict[str, float]:
    """What `auto` multiplies modules by, where that is known, or may be found now: quickly, and of inputs that are here."""
    each = step.multipliers
    if each is None or not (len(each.found) >= len(each.modules) or (each.quick and not missing(step))):
        return {}
    return each.all(partial(run, how=how))


def merges(made: Made) -> Iterator[Step]:
    return (step for step in steps(made.result.history) if step.operation == "merge")


def _print_adapter(made: Made, saved: Saved) -> None:
    kept = [each for each in saved.modules.values() if each.rank]
    ranks = ", ".join(saved.kinds) or f"rank {span(sorted({each.rank for each in kept}))}"
    line(f"wrote {saved.path}: {count(len(kept), 'module')}, {ranks}, {amount(saved.bytes, 'B')}")
    if saved.kinds:
        line("  nothing had to be computed: every byte is the same")
        assert isinstance(made.result, Adapter)
        if any(each.reads in ("weight", "shape") for each in made.result.layout.values()):
            line("  --base BASE makes LoRA of it, which depends on the base")
        return
    if saved.copied:
        line("  it is in that format already: copied byte for byte")
    if saved.note:
        line(f"  {saved.note}")
    step, most = made.result.history, max((each.rank for each in kept), default=0)
    if isinstance(step, Step) and step.operation == "truncate" and (step.parameters.get("rank") or 0) > most > 0:
        line(f"  no module has a rank above {most}, so rank {step.parameters['rank']} cuts nothing")
    zero = [module for module, each in saved.modules.items() if each.norm == 0 and each.energy == 1]
    if len(zero) < len(saved.modules):  # of nothing, no share was kept
        _print_energy(made, saved)
    if saved.rounding > EXACT:
        worst = max(saved.modules, key=lambda module: saved.modules[module].rounding)
        highest = percent(saved.modules[worst].rounding)
        line(f"  rounding error: {percent(saved.rounding)} of the update, highest {highest} in {worst}")
    if click.get_current_context().info_name in CONVERTING:
        error = f"relative error at most {saved.proven:.1g}" if saved.proven else "exactly"
        same = "the same" if 1 - saved.energy < EXACT**2 else "what is kept of it"
        line(f"  read back and compared in float64: every update is {same}, {error}")
    if saved.dropped:
        line(f"  dropped to stay within the budget: {', '.join(saved.dropped)}")
    if zero:
        every = len(zero) == len(saved.modules)
        which = (
            "every module is"
            if every
            else f"{len(zero)} of {count(len(saved.modules), 'module')} {'is' if len(zero) == 1 else 'are'}"
        )
        line(f"  {which} zero: the base stays as it is there")
    if verbose():
        rows = [
            [
                module,
                str(each.rank),
                "" if each.norm is None else three(each.norm),
                percent(each.energy),
                percent(each.rounding),
            ]
            for module, each in saved.modules.items()
        ]
        print_table(["module", "rank", "norm", "energy kept", "rounding error"], rows)


def _print_energy(made: Made, saved: Saved) -> None:
    worst = min(saved.modules, key=lambda module: saved.modules[module].energy)
    lowest, exact = saved.modules[worst].energy, "" if saved.rounding > EXACT else " (exact)"
    if lowest >= 1:
        line(f"  energy kept: {percent(saved.energy)}{exact}")
        return
    operations = {step.operation for step in steps(made.result.history)}
    whole = next((name for operation, name in UNCUT.items() if operation in operations), "the adapter")
    line(f"  energy kept: {percent(saved.energy)} of {whole}, lowest {percent(lowest)} in {worst}")
    for step in merges(made):
        density = _masked(step)
        if density is not None and density < 1:
            line(
                f"  about {1 - density:.0%} of the uncut merge's energy is noise of the random mask (density {density:g}), "
                "if the adapters are unrelated"
            )


def _masked(step: Step) -> float | None:
    """The density of random masks, of a method that has them."""
    method = METHODS[step.parameters["method"]]
    return float(step.parameters["density"]) if {"density", "seed"} <= set(method.defaults) else None


def _print_model(saved: SavedCheckpoint) -> None:
    changed = f"; {count(len(saved.modules), 'module')} changed" if saved.modules else ""
    line(f"wrote {saved.path}: {count(saved.tensors, 'tensor')}, {amount(saved.bytes, 'B')}{changed}")
    if saved.quantized:
        noise = sum(saved.quantized.values(), type(saved.total)()).noise
        worst = max(saved.quantized, key=lambda tensor: saved.quantized[tensor].noise)
        highest = f"highest {percent(saved.quantized[worst].noise)} in {worst}"
        noun = "other weight" if saved.modules else "weight"
        line(f"  quantized: {count(len(saved.quantized), noun)}, rounding error {percent(noise)}, {highest}")
    elif click.get_current_context().info_name == "quantize":
        line("  every weight of a Linear layer is in 4 or 8 bits already, and stays as it is")
    if saved.modules:
        _print_survival(saved)


def _print_survival(saved: SavedCheckpoint) -> None:
    total, worst = saved.total, min(saved.modules, key=lambda module: saved.modules[module].for_inputs)
    entries = "" if total.codes else f"; {percent(total.changed / total.entries)} of their entries changed"
    line(f"  the update is {percent(total.relative)} of the weights{entries}")
    chance = f" ± {percent(total.uncertainty)}" if total.codes and total.uncertainty > CHANCE else ""
    share = f"{percent(total.for_inputs)}{chance}, lowest {percent(saved.modules[worst].for_inputs)} in {worst}"
    line(f"  survived rounding{', for its inputs' if total.inputs_delta else ''}: {share}")
    if total.sampled:
        highest = max(saved.modules, key=lambda module: saved.modules[module].original)
        line(
            f"  the quantized base differs from its original by {total.original:.2g} times the update in the directions "
            f"that the adapter reads; by {saved.modules[highest].original:.2g} times in {highest}"
        )
    if total.codes:
        line(
            f"  rounding error of the adapted weights: {percent(total.noise)}; what is stored of the update has cosine "
            f"{total.cosine:.4f} with it"
        )
    if verbose():
        header = ["module", "update of weight", "survived", "rounding error" if total.codes else "entries changed"]
        rows = [
            [module, percent(each.relative), percent(each.gain), percent(_last(each))]
            for module, each in saved.modules.items()
        ]
        print_table(header, rows)


def _last(survival: Survival) -> float:
    """The error of quantized weights; of others the entries that changed, which quantizing does to nearly all."""
    return survival.noise if survival.codes else survival.changed / survival.entries


def _warn(saved: SavedCheckpoint) -> None:
    """Warn of an update that rounding erased for the most part."""
    from adapterops.checkpoints.saving import LEAST_FOR_INPUTS  # here: what merges adapters needs no models

    total = saved.total
    if not saved.modules or total.for_inputs >= (LEAST_FOR_INPUTS if total.inputs_delta else LOSSY_GAIN):
        return
    if total.codes:
        text = (
            f"codes keep {total.for_inputs:.0%} of the update: the rest is lost to rounding; --dtype bfloat16 keeps it"
        )
    else:
        text = (
            f"rounding erased {1 - total.gain:.0%} of the update: entries of it are smaller than half a step of the stored "
            "numbers; --dtype float32 keeps them, --rounding stochastic keeps them on average"
        )
    warnings.warn(text, AdapterWarning, stacklevel=2)
