"""The arrays of the modules of an adapter, by the names of its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from adapterops.errors import InputError, UnsupportedError, at
from adapterops.formats.models.architectures import EXPERT_SYNONYMS, EXPERTS, FUSED
from adapterops.formats.models.wrappers import inner_name
from adapterops.formats.peft.keys import BIAS, parse
from adapterops.formats.peft.variants import Variant, plain
from adapterops.storage.tensors import Entry, TensorHeader
from adapterops.updates.kinds import KINDS, Kind, kind_of

SHARED = ("vera_A", "vera_B")
"""The arrays of VeRA that belong to no single module."""

GAIN, OF_BIAS = "(IA)³", "(IA)³ of a bias"
"""The kind that multiplies outputs, and what it does to a bias."""

PRUNED = "AdaLoRA"
"""The kind whose training may leave nothing of a module."""

FACTORS = {"lora_A", "lora_B"}
"""The arrays of LoRA."""


@dataclass(frozen=True)
class Parts:
    """The tensors of one module.

    Attributes:
        kind: of its update.
        tensors: role → name in the file.
        alpha: the name of a tensor that says the numerator of the scale.
        shape, rank, bound, kernel: of the module, as `Measure` has them.
        expert, experts: which of several experts this module is, where the tensors hold all of them: then expert e owns
            the rows [e r, (e + 1) r) of A, and the columns e, e + E, e + 2E, ... of B.
        rows: role → the rows of its tensor that are this module's, all dimensions but the last taken for one, where the
            tensors have an axis of experts.
        transposed: they are those of the transposed weight.
    """

    kind: Kind
    tensors: Mapping[str, str]
    alpha: str | None
    shape: tuple[int, int]
    rank: int | None
    bound: int
    expert: int = 0
    experts: int = 1
    rows: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    transposed: bool = False
    kernel: tuple[int, ...] = ()

    @property
    def A(self) -> str:
        return self.tensors["lora_A"]

    @property
    def B(self) -> str:
        return self.tensors["lora_B"]


def parts(file: TensorHeader, full: Iterable[str] = (), variant: Variant = plain) -> dict[str, Parts]:
    """The arrays of every module, their shapes checked; modules in the order of their names. Tensors in `full` are left
    out; `variant` is that of LoRA, which the config says.

    Raises:
        UnsupportedError: the file has a kind of update that is not handled.
        InputError: an array is missing, twice there, empty or does not fit the others.
    """
    found: dict[str, dict[str, str]] = {}
    adapters = set()
    with at(path=file.path):
        for name in sorted(file.entries.keys() - set(full), key=lambda name: (name.endswith(".alpha"), name)):
            key = parse(name)
            roles = found.setdefault(inner_name(key.prefix + key.module), {})
            if key.role in roles:
                raise InputError(
                    f"is the same module's {key.role} as {roles[key.role]}",
                    tensor=name,
                    hint="keep one of the two, the one that was trained",
                    code="E-KEY",
                )
            roles[key.role] = name
            adapters.add(key.adapter)
        for module in [module for module, roles in found.items() if BIAS in roles]:
            found[f"{module}.bias"] = {BIAS: found[module].pop(BIAS)}
        if len(adapters - {None}) > 1:
            names = ", ".join(sorted(adapter for adapter in adapters if adapter))
            raise InputError(f"holds several adapters: {names}", hint="save each in a file of its own", code="E-KEY")
        shared: dict[str, str] = {}
        for module in [module for module, roles in found.items() if {*SHARED} >= roles.keys()]:
            shared |= found.pop(module)
        several: dict[str, Parts] = {}
        for module, roles in sorted(_without_gates(found, file.entries).items()):
            roles |= shared if "vera_lambda_b" in roles else {}
            several |= of_experts(module, roles, file.entries) or {
                module: parts_of(module, roles, file.entries, variant)
            }
        return several | {
            f"{module}.bias": replace(each, kind=KINDS[OF_BIAS], shape=(1, each.shape[0]))
            for module, each in several.items()
            if each.kind is KINDS[GAIN] and each.shape[0]
        }


def parts_of(module: str, roles: Mapping[str, str], entries: Mapping[str, Entry], variant: Variant = plain) -> Parts:
    """One module, of the names of its arrays by their roles; `alpha` is one of them, where there is such a tensor.

    Raises:
        UnsupportedError: it is of a kind that is not handled.
        InputError: an array is missing, empty, or does not fit the others.
    """
    tensors = {role: name for role, name in roles.items() if role != "alpha"}
    with at(tensor=module):
        if not tensors:
            raise InputError("has an alpha and no factors", hint="save the adapter again", code="E-KEY")
        kind = variant(module, kind_of(tensors))
        for role in kind.roles:
            if role not in roles and role in SHARED:
                raise UnsupportedError(
                    f"is VeRA, and {role}, which all modules share, is not in the file (save_projection=False)",
                    hint="load it with PEFT and its base, and save it with save_projection=True",
                )
            if role not in roles:
                raise InputError(
                    f"has {', '.join(sorted(roles))} but no {role}", hint="save the adapter again", code="E-KEY"
                )
            if 0 in entries[roles[role]].shape and kind.name != PRUNED:
                raise InputError(
                    f"{role} has the empty shape {list(entries[roles[role]].shape)}",
                    hint="gather the weights before saving (ZeRO-3)"
                    if entries[roles[role]].shape == (0,)
                    else "it updates nothing: take its tensors out of the file",
                    code="E-SHAPE",
                )
        if left := sorted(tensors.keys() - kind.roles.keys()):
            raise InputError(
                f"has {', '.join(left)}, which does not belong to {kind.name} ({', '.join(kind.roles)})",
                hint="save the adapter again",
                code="E-KEY",
            )
        measured = kind.measure({role: entries[name].shape for role, name in tensors.items()})
    shape, rank, bound, kernel = measured
    return Parts(kind, tensors, roles.get("alpha"), shape, rank, bound, kernel=kernel)


def _without_gates(found: dict[str, dict[str, str]], entries: Mapping[str, Entry]) -> dict[str, dict[str, str]]:
    """The arrays of every module, where Tinker has empty ones in the place of `w3` of experts that have no gates: their `w1`
    is up then, and `w2` down.
    """
    for module in [module for module in found if module.endswith(f".{EXPERTS}.w3")]:
        above = module.removesuffix("w3")
        if f"{above}w1" in found and all(entries[name].shape == (0,) for name in found[module].values()):
            del found[module]
            called = {f"{above}w1": f"{above}up_proj", f"{above}w2": f"{above}down_proj"}
            found = {called.get(name, name): roles for name, roles in found.items()}
    return found


def of_experts(module: str, roles: Mapping[str, str], entries: Mapping[str, Entry]) -> dict[str, Parts]:
    """The experts of a projection whose factors have an axis of experts: A (E, r, in), B (E, out, r). One that all share
    has 1 in its place. None of this where they have no such axis.

    Source: what SGLang serves, Megatron-Bridge exports and MLX-LM trains. Differs: PEFT has the axis of experts in that of the rank.
    """
    above, _, projection = module.rpartition(".")
    shapes = {role: entries[name].shape for role, name in roles.items()}
    if shapes.keys() != FACTORS or any(len(shape) != 3 or 0 in shape for shape in shapes.values()):
        return {}
    if above.rpartition(".")[2] != EXPERTS or EXPERT_SYNONYMS.get(projection, projection) not in FUSED:
        return {}
    count = max(shape[0] for shape in shapes.values())
    with at(tensor=module):
        if any(shape[0] not in (1, count) for shape in shapes.values()):
            shown = " and ".join(f"{role} {list(shape)}" for role, shape in shapes.items())
            raise InputError(f"has {shown}, of different numbers of experts", hint="save it again", code="E-SHAPE")
        if count == 1:
            raise UnsupportedError(
                "is one update of all experts, and the file does not say how many there are",
                hint="export it with a pair of factors for each expert",
            )
        shape, rank, bound, _ = kind_of(FACTORS).measure({role: each[1:] for role, each in shapes.items()})
    found = {}
    for number in range(count):
        rows = {
            role: (number * each[1], (number + 1) * each[1]) if each[0] > 1 else (0, each[1])
            for role, each in shapes.items()
        }
        name = f"{above}.{number}.{projection}"
        found[name] = Parts(kind_of(FACTORS), roles, None, shape, rank, bound, number, count, rows)
    return found
