"""MLX-LM's format: adapters.safetensors with transposed factors, and adapter_config.json with one rank and one scale
for all.

ΔW = scale · (a b)ᵀ, with `lora_a` (in, r) and `lora_b` (r, out); DoRA's magnitudes are `m` (out,). Of experts
ΔW_e = scale · b_e a_e, with `lora_a` (experts, r, in) and `lora_b` (experts, out, r).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterops.arrays.dtypes import FLOATS
from adapterops.errors import AdapterOpsError, InputError, UnsupportedError, at, in_json
from adapterops.formats.adapter_files import CONFIG, AdapterFiles
from adapterops.formats.diffusion.spellings import check_language
from adapterops.formats.diffusion.written import of_no_layer
from adapterops.formats.further import further_weights
from adapterops.formats.kernels import entries
from adapterops.formats.magnitudes import of_outputs
from adapterops.formats.mlx_names import check_named, in_mlx
from adapterops.formats.models.architectures import HEAD
from adapterops.formats.models.ties import says_tied
from adapterops.formats.models.unstated import of_senses
from adapterops.formats.models.vocabulary import is_input
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.parts import Parts, of_experts
from adapterops.formats.peft.scaling import Scaling, check_alpha
from adapterops.formats.registry import FORMATS, Arrangement
from adapterops.formats.stacks import is_single_expert, padded
from adapterops.regex import Regex
from adapterops.storage.place import Place
from adapterops.storage.tensors import Entry, Spec, Stored, no_numbers
from adapterops.updates.kinds import KINDS, Kind
from adapterops.updates.layout import BY_OUTPUTS, Layout, magnitudes_of, widest

if TYPE_CHECKING:
    from adapterops.formats.registry import Factors
    from adapterops.updates.protocol import Array

WEIGHTS = "adapters.safetensors"
NAME = Regex(r"(?P<module>.+)(?<!\.weight)\.(?P<role>lora_[ab]|m)")
LEGACY = Regex(r"(?P<module>.+)\.(?P<role>[AB])")
"""Names of the first adapters of MLX-VLM, whose config has rank and alpha by themselves: ΔW = alpha · (A B)ᵀ."""

LAYER = Regex(r".*\blayers\.\d+\.(?P<inner>.+)")
ROLES = {"lora_a": "lora_B", "lora_b": "lora_A", "m": BY_OUTPUTS}
"""The factors are those of ΔWᵀ."""

AS_STORED = {"lora_a": "lora_A", "lora_b": "lora_B"}

SWITCH, EXPERTS = ".switch_mlp.", ".experts."
"""What MLX-LM calls the experts of a layer, in most of its models, and what transformers does."""

KIND = {"lora": "LoRA", "dora": "DoRA"}
"""What a config calls the kinds of update that are read."""


class Mlx:
    """What mlx_lm.lora trains, and mlx_lm.generate --adapter-path loads."""

    def claims(self, place: Place) -> bool:
        if place.folder:
            return place.has(place.path / WEIGHTS)
        try:
            return any(NAME.fullmatch(name) for name in place.open(place.path).entries)
        except AdapterOpsError:
            return False  # whoever reads it says what is wrong

    def read(self, place: Place, alpha: float | None) -> AdapterFiles:
        weights = place.path / WEIGHTS if place.folder else place.path
        path = weights.with_name(CONFIG)
        file = place.open(weights)
        with at(path=path):
            fields = place.json(path)
            kind, rank, scale = _parameters(fields)
        with at(path=weights):
            modules = _modules(file.entries, kind, rank, LEGACY if _is_legacy(fields) else NAME)
            for module in modules.values():
                for name in module.tensors.values():
                    if file.entries[name].dtype not in FLOATS:
                        raise no_numbers(file.entries[name].dtype, weights, name)
        scalings = {module: Scaling(scale * rank, rank) for module in modules}
        config, further = AdapterConfig(_base(fields)), further_weights(place, weights)
        return AdapterFiles(file, (weights, path), config, modules, scalings, {}, further=further)

    def arranged(
        self, layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored], dtype: str | None
    ) -> Arrangement:
        """One rank for all modules: factors of fewer dimensions are filled up with zeros. The scale is 1."""
        _check_held(layout, config, full)
        vectors = {name: f"{in_mlx(module, config.model)}.m" for name, (module, _) in of_outputs(layout).items()}
        linear = {module: each for module, each in layout.items() if module not in vectors}
        named = {module: in_mlx(module, config.model) for module in linear}
        rank = max(each.rank for each in linear.values())
        dtypes = {module: dtype or widest([each.dtype for each in layout.values()]) for module in layout}
        tensors = {
            f"{named[module]}.{role}": Spec(dtypes[module], shape)
            for module, each in linear.items()
            for role, shape in (("lora_a", (each.shape[1], rank)), ("lora_b", (rank, each.shape[0])))
        }
        tensors |= {key: Spec(dtypes[name], layout[name].shape[1:]) for name, key in vectors.items()}

        def joined(module: str, factors: Mapping[str, Factors]) -> tuple[dict[str, Array], int]:
            A, B = factors[module]
            if module in vectors:
                return {vectors[module]: entries(A, B, dtypes[module])[0]}, 1
            filled = padded(A, B, rank)
            return {f"{named[module]}.lora_a": filled[0].T, f"{named[module]}.lora_b": filled[1].T}, len(A)

        def documents(ranks: Mapping[str, int]) -> dict[str, Any]:
            inner = sorted({found["inner"] if (found := LAYER.fullmatch(name)) else name for name in named.values()})
            parameters = {"rank": rank, "scale": 1.0, "dropout": 0.0, "keys": inner}
            return {
                CONFIG: {
                    "fine_tune_type": "dora" if vectors else "lora",
                    "num_layers": -1,
                    "lora_parameters": parameters,
                    "model": config.base_model,
                }
            }

        groups = {module: [module] for module in layout}
        return Arrangement(WEIGHTS, groups, dtypes, tensors, {}, joined, documents, by_columns=True)


def _parameters(fields: Any) -> tuple[Kind, int, float]:
    """Kind of update, rank and scale."""
    if not isinstance(fields, dict):
        raise InputError(
            f"is a {type(fields).__name__}, expected an object",
            hint="give the adapter_config.json that was saved with the adapter",
            code="E-CONFIG",
        )
    kind = fields.get("fine_tune_type", "lora")
    if not isinstance(kind, str) or kind not in KIND:
        known = " and ".join(KIND)
        raise UnsupportedError(
            f"fine_tune_type is {kind!r}, and only {known} are handled", hint="fuse it with mlx_lm.fuse"
        )
    stated, where, scaled = fields.get("lora_parameters"), "lora_parameters: ", "scale"
    if _is_legacy(fields):
        stated, where, scaled = {"rank": fields["rank"], "alpha": fields["alpha"]}, "", "alpha"
    if not isinstance(stated, dict):
        raise InputError(
            "has no lora_parameters",
            hint="give the adapter_config.json that was saved with the adapter",
            code="E-CONFIG",
        )
    rank = stated.get("rank")
    if type(rank) is not int or rank < 1:
        raise InputError(
            f"{where}rank is {in_json(rank)}, expected a whole number above 0",
            hint="write there what it was trained with",
            code="E-CONFIG",
        )
    scale = check_alpha(f"{where}{scaled}", stated.get(scaled))
    if where and stated.get("alpha") not in (None, rank) and not {"fine_tune_type", "num_layers"} & fields.keys():
        raise UnsupportedError(
            f"lora_parameters: alpha is {stated['alpha']!r} next to scale {scale:g} and rank {rank}: the first versions of MLX-LM "
            "trained with scale · alpha / rank, later ones with scale alone, and the config does not say which",
            hint="take alpha out, and write the scale that it was trained with",
        )
    return KINDS[KIND[kind]], rank, scale


def _is_legacy(fields: Mapping[str, Any]) -> bool:
    """Whether a config is one of the first adapters of MLX-VLM."""
    return "lora_parameters" not in fields and {"rank", "alpha"} <= fields.keys()


def _base(fields: Any) -> str | None:
    model = fields.get("model")
    return model if isinstance(model, str) else None


def _modules(entries: Mapping[str, Entry], kind: Kind, rank: int, pattern: Regex) -> dict[str, Parts]:
    roles = {role: name for role, name in ROLES.items() if name in kind.roles}
    found: dict[str, dict[str, str]] = {}
    for name in sorted(entries):
        match = pattern.fullmatch(name)
        role = match and (match["role"] if pattern is NAME else f"lora_{match['role'].lower()}")
        if match is None or role not in roles:
            raise UnsupportedError(
                f"is not the name of a {kind.name} tensor of MLX", tensor=name, hint="fuse it with mlx_lm.fuse"
            )
        found.setdefault(match["module"], {})[str(role)] = name
    modules: dict[str, Parts] = {}
    for module, names in found.items():
        if is_input(f"{module}.weight"):
            raise UnsupportedError(
                f"is {kind.name} on an embedding, which MLX-LM applies to the head, too, where a model has one weight for both: the "
                "file does not say whether it has",
                tensor=module,
                hint="fuse it with mlx_lm.fuse",
            )
        own = {AS_STORED[role]: name for role, name in names.items() if role in AS_STORED}
        experts = of_experts(module.replace(SWITCH, EXPERTS), own, entries) if kind.name == KIND["lora"] else {}
        for each in experts.values():
            _check_rank(each.rank, rank, module)
        modules |= experts or {module: _parts(module, kind, roles, names, entries, rank)}
    return modules


def _check_rank(found: int | None, rank: int, module: str) -> None:
    if found != rank:
        raise InputError(
            f"the config says rank {rank}, the tensors have rank {found}",
            tensor=module,
            hint="the config belongs to another adapter",
            code="E-RANK",
        )


def _parts(
    module: str,
    kind: Kind,
    roles: Mapping[str, str],
    names: Mapping[str, str],
    entries: Mapping[str, Entry],
    rank: int,
) -> Parts:
    shapes = {role: entries[name].shape for role, name in names.items()}
    with at(tensor=module):
        for role in roles:
            if role not in names:
                raise InputError(f"has {', '.join(names)} but no {role}", hint="save the adapter again", code="E-KEY")
            if role != "m" and len(shapes[role]) != 2:
                raise UnsupportedError(
                    f"{role} has the shape {list(shapes[role])}, and only Linear layers and LoRA of experts are handled",
                    hint="fuse it with mlx_lm.fuse",
                )
        of_weight = {
            "lora_A": shapes["lora_a"][::-1],
            "lora_B": shapes["lora_b"][::-1],
            BY_OUTPUTS: shapes.get("m", ()),
        }
        shape, found, bound, _ = kind.measure(of_weight)
    _check_rank(found, rank, module)
    tensors = {roles[role]: name for role, name in names.items()}
    return Parts(kind, tensors, None, shape, rank, bound, transposed=True)


def _check_held(layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored]) -> None:
    """Raise UnsupportedError for what MLX's adapters cannot hold."""
    check_language(layout, "MLX-LM")
    check_named(layout, config.model)
    vectors = magnitudes_of(layout)
    single = [module for module, each in layout.items() if each.dense and each.shape[0] == 1 and module not in vectors]
    tied = [module for module in layout if module.rpartition(".")[2] == HEAD] if says_tied(config.model or {}) else []
    copied = {tensor for tensor in full if tensor.removesuffix(".weight") in layout}
    cannot = {
        **dict.fromkeys(full, "a full tensor"),
        **dict.fromkeys(config.experts, "a parameter of experts"),
        **dict.fromkeys(filter(is_single_expert, layout), "one of several experts"),
        **dict.fromkeys(config.embeddings, "an embedding"),
        **dict.fromkeys((module for module, each in layout.items() if len(each.kernel) > 1), "a convolution"),
        **{module: f"a difference of {what}" for module, what in of_no_layer(layout).items()},
        **dict.fromkeys(single, "a vector"),
        **dict.fromkeys(of_senses(layout), "of what sees or hears, where MLX-LM has no layer"),
        **dict.fromkeys(tied, "the head of a model that ties it, where MLX-LM has no layer"),
    }
    for name, what in cannot.items():
        own = (
            "name the model with --base, which leaves out what is the base's own; or " if copied >= full.keys() else ""
        )
        raise UnsupportedError(
            f"is {what}, which is not written for MLX",
            tensor=name,
            hint=f"{own if name in copied else ''}fuse the adapter into its base: adapterops fuse BASE ADAPTER",
        )


FORMATS.add("mlx", Mlx())
