"""`adapterops verify`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterops.checkpoint import ROUNDINGS, STOCHASTIC, open_checkpoint
from adapterops.cli import options, output
from adapterops.cli.merging import merged, merging, rounding_seed
from adapterops.dtypes import BITS, FLOATS
from adapterops.errors import OptionError, VerificationError
from adapterops.history import Step
from adapterops.operations import verification
from adapterops.operations.fusion import PRECISIONS
from adapterops.operations.output_files import noted
from adapterops.operations.quantization import viewed
from adapterops.storage.place import Place

if TYPE_CHECKING:
    from adapterops.adapter import Adapter
    from adapterops.checkpoint import Checkpoint
    from adapterops.operations.verification import Verification

SHOWN = 5


@click.command("verify", short_help="Whether a model is its base plus an adapter, and nothing else.")
@click.argument("model", type=options.SOURCE)
@click.option("--base", required=True, type=options.SOURCE, help="The checkpoint it was made from.")
@click.option(
    "--adapter",
    "sources",
    required=True,
    multiple=True,
    type=options.SOURCE,
    help="Adapter; may be given again.",
)
@merging
@click.option("--logits", is_flag=True, help="Compare the logits of the whole model, too, with transformers and PEFT.")
@click.option("--dtype", type=options.DType(), help="The --dtype that it was fused with.  [default: what the manifest says]")
@click.option("--precision", type=click.Choice(PRECISIONS), help="That of fusing.  [default: what the manifest says, or float32]")
@click.option("--original", type=options.SOURCE, help="The --original that it was fused with, for a quantized base.")
@click.option("--rounding", type=click.Choice(ROUNDINGS), help="The --rounding that it was fused with.  [default: what the manifest says]")
@click.option("--allow-pickle", is_flag=True, help="Read pytorch_model.bin, with torch's restricted loader.")
@options.alpha
@options.workers
@options.verifying
@options.as_json
@options.strict
def command(
    model: Place,
    base: Place,
    sources: tuple[Place, ...],
    logits: bool,
    dtype: str | None,
    precision: str | None,
    original: Place | None,
    rounding: str | None,
    allow_pickle: bool,
    workers: int | None,
    as_json: bool,
    **rest: Any,
) -> None:
    """Whether MODEL is its base plus an adapter, and nothing else: exit code 0, or 8 and what is wrong.

    Every adapted weight is compared bit for bit with W + ΔW rounded once, and tried on random vectors: (W + sBA) x = W x + s B (A x).
    Every other tensor is compared with the base's bytes, every file with the checksum in the manifest,
    which has to name all that a loader of models could take for its own.

    \b
    adapterops verify fused --base base --adapter my-adapter
    adapterops verify fused --base base --adapter a --adapter b --ties --density 0.2 --json
    """
    checkpoint = verification.opened(model.local(), lambda path: open_checkpoint(path, allow_pickle=allow_pickle))
    before = open_checkpoint(base, allow_pickle=allow_pickle)
    if original is not None:
        before = viewed(before, open_checkpoint(original, allow_pickle=allow_pickle))
    elif noted(checkpoint, "view") is not None:
        raise OptionError("was fused with the numbers of the model that its base was made from", path=model, hint="name it: --original")
    told = noted(checkpoint, "round") or {}
    seed = None
    if (rounding or told.get("rounding")) == STOCHASTIC:
        given = rounding_seed(rest)
        seed = int(told.get("seed", 0) if given is None else given)
    dtype = dtype or (noted(checkpoint, "cast") or {}).get("dtype")
    precision = precision or (noted(checkpoint, "fuse") or {}).get("precision", "float32")
    adapter = merged(sources, rest, before)
    if logits:
        from adapterops.logits import check_comparable, compare

        check_comparable(checkpoint, adapter)
    with output.progress("verifying") as report:
        found = verification.verify(
            checkpoint,
            before,
            adapter,
            dtype=dtype,
            precision=precision,
            seed=seed,
            workers=workers,
            progress=report,
        )
    certificate = found.as_json()
    if logits and found.ok:
        stored = {spec.dtype for name, spec in checkpoint.layout.items() if spec.dtype in FLOATS}
        certificate["logits"] = compare(model.local(), base.local(), adapter, min(stored, key=BITS.__getitem__))
    if as_json and found.ok:
        output.print_json(certificate)
    elif not as_json:
        _print(found, certificate.get("logits"))
    if not found.ok:
        worst = found.problems[0]
        raise VerificationError(
            f"{worst.what} ({len(found.problems)} problems)",
            path=model,
            tensor=worst.place,
            hint=_forgotten(checkpoint, adapter) or "fuse again",
            details=certificate,
        )


def _forgotten(model: Checkpoint, adapter: Adapter) -> str | None:
    """What else the manifest says of how the model was made, which looks like damage when it is not said again."""
    told = noted(model, "merge")
    given = adapter.history.parameters if isinstance(adapter.history, Step) and adapter.history.operation == "merge" else None
    said = ", ".join(f"{name} {value}" for name, value in (told or {}).items() if (given or {}).get(name) != value)
    return f"the manifest says that the adapters were merged with {said}: give the same options, or fuse again" if said else None


def _print(found: Verification, logits: dict[str, float] | None) -> None:
    entries = sum(check.entries for check in found.modules.values())
    exact, near = (sum(getattr(check, name) for check in found.modules.values()) for name in ("exact", "near"))
    for problem in found.problems[:SHOWN]:
        print(f"WRONG  {problem.place}: {problem.what}")
    if len(found.problems) > SHOWN:
        print(f"       and {len(found.problems) - SHOWN} more")
    print(f"{found.path}: {len(found.modules)} adapted weights, {found.others} other tensors, {found.files} files")
    survivals = [check.survival for check in found.modules.values() if check.survival]
    if survivals:
        total = sum(survivals[1:], survivals[0])
        print(f"  {exact} of {entries} entries have the code of W + ΔW" + (f", {near} one that is as near" if near else ""))
        print(f"  survived: {output.percent(total.gain)} of the update; {output.percent(total.noise)} of the weights is error of rounding")
    elif found.modules:
        worst = max(found.modules, key=lambda module: found.modules[module].identity)
        print(f"  {exact} of {entries} entries are W + ΔW bit for bit" + (f", {near} within the rounding of float32" if near else ""))
        print(f"  (W + sBA) x = W x + s B (A x) within {found.modules[worst].identity:.2g} of its bound at most, in {worst}")
    if logits:
        print(f"  logits: {logits['relative']:.2g} apart, bound {logits['bound']:.2g}")
    print("  verified" if found.ok else "  NOT VERIFIED")
