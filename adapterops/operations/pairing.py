"""Two checkpoints of one model, tensor by tensor, by headers alone:
what `extract` compares, and what that can become.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterWarning, IncompatibleError, UnsupportedError
from adapterops.formats.models.architectures import EXPERTS, WEIGHT
from adapterops.formats.models.classifiers import is_head, task_of
from adapterops.formats.models.loading import Loading
from adapterops.formats.models.naming import canonical, classes, namesakes
from adapterops.formats.models.ties import of_unknown, ties_of
from adapterops.formats.models.vocabulary import is_end, made_one
from adapterops.operations.targets.weights import SINGLE, names_of
from adapterops.regex import Regex
from adapterops.verification.unloaded import COMPUTED, HEADS, absent, unloaded_text

NUMBER = Regex(r"(?=\.\d+\.)")
"""What follows the name of a module whose modules have numbers."""

SHOWN = 5
"""Names that an error lists of each side."""


def pair(tuned: Checkpoint, base: Checkpoint, *, heads: bool = False) -> dict[str, str]:
    """Every tensor of a tuned checkpoint with its counterpart; prefixes may be those of another version of
    transformers. Buffers that a model computes may be in one of them alone, and what transformers does not save in the base.

    Args:
        heads: the tuned one alone may have the head of a classifier; see `heads_of`.

    Raises:
        IncompatibleError: one checkpoint has tensors that the other lacks.

    Warns:
        AdapterWarning: the base has tensors that transformers does not load, and the tuned checkpoint has not.
    """
    shared = {canonical(end): source for end, source in ties_of(base.layout, base.config).missing.items()}
    found: dict[str, str] = {}
    unpaired = []
    for name, names in namesakes(tuned.layout, base.layout).items():
        if not names and canonical(name) in shared:
            names = [shared[canonical(name)]]
        if len(names) == 1:
            found[name] = names[0]
        elif not COMPUTED.fullmatch(name):
            unpaired.append(name)
    unpaired = [name for name in unpaired if not (heads and _is_own_head(name, tuned, base))]
    paired = set(found.values())
    only = [name for name in base.layout if name not in paired]
    gone, left = absent(base, tuned, only)
    missing = [name for name in only if name not in gone]
    grown = [other for name, other in found.items() if tuned.layout[name].shape != base.layout[other].shape]
    if not unpaired and missing and all(any(made_one(name, other) for other in grown) for name in missing):
        raise IncompatibleError(
            f"the tuned model has no {' and no '.join(missing)}, its config ties them to nothing, and the base has them: "
            "transformers loads such a model with random numbers there",
            hint="before you save the tuned model, give each of them its own copy of the shared embedding",
            code="E-NAMES",
        )
    if unpaired or missing:
        both = {"tuned one": unpaired, "base": missing}
        sides = [
            f"{len(names)} only in the {side} ({', '.join(names[:SHOWN])})" for side, names in both.items() if names
        ]
        raise IncompatibleError(
            f"the checkpoints have different tensors: {', '.join(sides)}",
            hint="give the base that the model was tuned from, and save both with one version of the library",
            code="E-NAMES",
        )
    if left:
        warnings.warn(
            f"the tuned model is {unloaded_text(left)}; they count as unchanged", AdapterWarning, stacklevel=3
        )
    return found


def heads_of(tuned: Checkpoint, base: Checkpoint, pairs: Collection[str]) -> list[str]:
    """The tensors of a classifier that what it was made of has not, so that all of them are trained."""
    return [name for name in tuned.layout if name not in pairs and _is_own_head(name, tuned, base)]


def _is_own_head(name: str, tuned: Checkpoint, base: Checkpoint) -> bool:
    """Whether a tensor is in the head of a classifier, or in what comes before that, and the base is of another class."""
    own, its = (set(classes(each.config or {})) for each in (tuned, base))
    return own.isdisjoint(its) and any(map(task_of, own)) and bool(HEADS.match(name))


def full_tensors(
    changed: Collection[str], adapted: Collection[str], tuned: Checkpoint, known: Loading
) -> dict[str, str]:
    """The full tensors of an adapter that hold changes that are no updates: their names there → in the tuned
    checkpoint.

    PEFT replaces modules as they are: with a weight goes all else that is in its module, also what has an update, which it
    then may not have; of a classifier all of its heads. What is tied goes under all of its names; see `unannounced` for what
    is tied to more than is known.

    Args:
        changed: tensors that are no weights of Linear layers.
        adapted: modules that have an update.
        known: how transformers loads the tuned checkpoint.

    Raises:
        IncompatibleError: a parameter is neither a weight nor a bias, or is no parameter of the model in memory.
    """
    for name in changed:
        in_memory = known.name(name)
        other = known.converts(name) or (SINGLE.fullmatch(in_memory.removesuffix(WEIGHT)) and known.stacked)
        if (
            other
            or not in_memory.endswith((WEIGHT, ".bias"))
            or (len(tuned.layout[name].shape) == 3 and EXPERTS in name)
        ):
            raise IncompatibleError(
                "changed, and no adapter that is written here can hold this parameter"
                + (": in memory transformers divides it differently from the files" if other else ""),
                tensor=name,
                hint="use the tuned model itself, or leave the change out with --rest drop",
                code="E-REST",
            )
    memory = {name: tensor for tensor, names in names_of(tuned.layout, tuned.config).items() for name in names}
    places = {name.rpartition(".")[0] for name, source in memory.items() if source in changed}
    whole = {name.rpartition(".")[0] for name, source in memory.items() if source in changed and name.endswith(WEIGHT)}
    around = {above for module in adapted for above in _above(module)}
    modules = ((places - around) | whole) - set(adapted)  # a bias alone needs nothing of what is in its module
    if any(map(is_head, places - set(adapted))):  # for its task PEFT replaces all of a classifier's, as wholes
        modules |= {name.partition(".")[0] for name in memory if is_head(name)}
    _check_no_lists(modules, memory)
    return {
        name: source for name, source in memory.items() if source in changed or not modules.isdisjoint(_above(name))
    }


def _check_no_lists(modules: Collection[str], names: Collection[str]) -> None:
    """Raise UnsupportedError for a module that is replaced whole and whose name ends the name of one with numbered modules: PEFT
    takes that for it, too. Of a ModuleList it raises TypeError then; the names do not tell that from a Sequential.
    """
    numbered = sorted({name[: match.start()] for name in names for match in NUMBER.finditer(name)})
    for module in sorted(modules):
        if other := next((each for each in numbered if each != module and each.endswith(module)), None):
            raise UnsupportedError(
                f"changed, and may not load from an adapter: PEFT takes {other}, whose name ends with {module}, for it, too, and loads "
                "none of it if that is a ModuleList, which the names do not tell from a Sequential",
                tensor=module,
                hint="use the tuned model itself, or leave the change out with --rest drop",
            )


def unannounced(full: Mapping[str, str], tuned: Checkpoint) -> tuple[str, ...]:
    """The full tensors that PEFT has to copy into what others share, and may not take for modules of their own: the ends
    of a vocabulary, where its embedding is tied to others and no config can say that it is not, or it is not known to which.

    Args:
        full: as `full_tensors` returns it.
    """
    layout = {name: tuned.layout[source] for name, source in full.items()}
    several, ties = of_unknown(layout, tuned.layout, tuned.config), ties_of(tuned.layout, tuned.config)
    if several or (ties.kept and not ties.ends.isdisjoint(full.values())):
        return tuple(sorted({*several, *filter(is_end, full)}))
    return ()


def _above(name: str) -> Iterator[str]:
    """The modules that a tensor is in."""
    while name:
        name = name.rpartition(".")[0]
        yield name
