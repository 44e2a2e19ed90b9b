"""What an adapter has that programs which serve adapters treat differently: from its headers, its config and a base's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError, UnsupportedError, listed
from adapterops.formats.adapter_files import CONFIG, AdapterFiles
from adapterops.formats.diffusion.by_diffusers import by_diffusers
from adapterops.formats.diffusion.convolutions import flattened
from adapterops.formats.diffusion.flat import DENOISER, flat
from adapterops.formats.diffusion.headers import untargeted
from adapterops.formats.diffusion.spellings import LANGUAGE, OF_IMAGES, is_of_images
from adapterops.formats.diffusion.taken import (
    Found,
    by_comfyui,
    denoiser,
    encoders_in_part,
    encoders_left,
    encoders_unread,
    models,
    of_one_alpha,
    of_unet,
)
from adapterops.formats.gguf import check_architecture
from adapterops.formats.gguf_written import unapplied
from adapterops.formats.llama_cpp import CONSTANTS, architecture_of
from adapterops.formats.mlx import LEGACY
from adapterops.formats.mlx_names import in_mlx
from adapterops.formats.models.architectures import EMBEDDINGS, HEAD, WEIGHT
from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import expert, last
from adapterops.formats.models.ties import says_tied, ties_of
from adapterops.formats.models.unstated import of_senses
from adapterops.formats.peft.attentions import doubled
from adapterops.formats.peft.header import EMBEDDED
from adapterops.formats.peft.keys import are_norms, parse
from adapterops.formats.peft.loaded import begun_otherwise
from adapterops.formats.peft.parts import Parts
from adapterops.formats.peft.scaling import alpha_field
from adapterops.formats.stacks import is_single_expert
from adapterops.operations.replication import replicated
from adapterops.operations.targets.based import fitted
from adapterops.operations.targets.table import resolve
from adapterops.operations.targets.target import Edit
from adapterops.storage.place import Place
from adapterops.storage.strict import read_json
from adapterops.updates.layout import BY_INPUTS, BY_OUTPUTS, DIFFERENCE, LORA, LORA_BIAS, REPLACEMENT

KINDS = {
    "DoRA": "dora",
    "LoHa": "loha",
    "LoKr": "lokr",
    DIFFERENCE: "difference",
    LORA_BIAS: "biases",
    REPLACEMENT: "set",
}
KINDS |= {"PiSSA": "started", "OLoRA": "started", "(IA)³": "gain", "OFT": "rotation", "BOFT": "rotation"}
KINDS["LoRA with a kernel (Tucker)"] = "tucker"
"""Kind of update → fact. Of those that are not here, LoRA is none; the others, also of other packages, are one fact."""

OF_PEFT = ("peft", "diffusers")
"""Formats of adapters that PEFT applies next to a base."""

ROTATED = ("q_proj", "k_proj")
CONVERTED = ("llama", "gemma2")
"""Types of models whose adapters Ollama converts."""

STATED = ("modelspec.architecture", "ss_base_model_version")
"""Entries of a header that say which model an adapter is for."""

OF_LANGUAGE = ("gguf", "mlx")
"""Formats of language models alone."""

REWRITTEN = ("peft", "mlx")
"""Formats that it converts."""


@dataclass(frozen=True)
class Fact:
    """Something that an adapter has, as its files say it, and the modules that have it."""

    name: str
    found: str
    modules: tuple[str, ...] = ()


def config_of(place: Place, files: AdapterFiles, kind: str) -> Mapping[str, Any]:
    """The fields of PEFT's config in the folder of the file; none where there is none, or one of another format."""
    path = place.here(files.file.path.with_name(CONFIG))
    fields = read_json(path) if path in files.paths and kind not in OF_LANGUAGE else {}
    return fields if isinstance(fields, dict) else {}


def facts_of(
    place: Place, files: AdapterFiles, kind: str, base: Checkpoint | None = None, alpha: float | None = None
) -> Iterator[Fact]:
    """The facts of an adapter in a format, and on a base where one is known; they are called as in `runtimes/rules.py`."""
    config = config_of(place, files, kind)
    yield Fact("format", kind)
    if kind == "mlx" and (first := next((name for name in files.file.entries if LEGACY.fullmatch(name)), None)):
        yield Fact("first_mlx_vlm", first)
    if kind == "gguf" and (constants := sorted(files.file.entries.keys() & set(CONSTANTS))):
        yield Fact("constants", ", ".join(constants))
    yield from _model(kind, files)
    if kind == "peft" and not config:
        yield Fact("no_config", f"{files.file.path.name} alone")
    if len(files.tensors) > 1:
        yield Fact("several_files", ", ".join(file.path.name for file in files.tensors[:2]))
    yield from _scales(kind, files, config)
    kinds = {parts.kind.name for parts in files.modules.values()} - {"LoRA"}
    for name in [*KINDS, *sorted(kinds - KINDS.keys())]:
        of_kind = {m: parts for m, parts in files.modules.items() if parts.kind.name == name and not _by_inputs(parts)}
        facts = {m: _called(kind, parts) or KINDS.get(name, "other") for m, parts in of_kind.items()}
        for fact in dict.fromkeys(facts.values()):
            yield Fact(fact, name, tuple(m for m in of_kind if facts[m] == fact))
    if modules := tuple(module for module, parts in files.modules.items() if _by_inputs(parts)):
        yield Fact("dora_inputs", "DoRA", modules)
    for fact, found, end in (("dora_vector", "DoRA", f".{BY_INPUTS}"), ("modulation", DIFFERENCE, ".diff_m")):
        if modules := _stored_as(files, end):
            yield Fact(fact, found, modules)
    yield from _unreached(kind, files)
    yield from _named(kind, files, base)
    if modules := tuple(module for module, parts in files.modules.items() if parts.kind.embedding):
        yield Fact("lora_embeddings", ", ".join(modules), modules)
        tied = says_tied((base and base.config) or {})
        own = {True: "embeddings_tied", False: "embeddings_own", None: "embeddings_unsaid"}[tied]
        yield Fact(own, ", ".join(modules), modules)
    architecture = files.config.architecture or architecture_of((base and base.config) or {})
    if modules := unapplied(files.modules, architecture):
        yield Fact("unapplied", f"{modules[0]} of {architecture}", modules)
    yield from _full(files)
    if modules := tuple(module for module in files.modules if last(module) == HEAD):
        yield Fact("head", ", ".join(modules), modules)
    stacked = [module for module, parts in files.modules.items() if parts.rows and kind == "peft"]
    if experts := (*files.config.experts, *stacked):
        yield Fact("experts", ", ".join(files.config.experts) or experts[0], experts)
    if files.config.replication:
        yield Fact("replication", str([list(each) for each in files.config.replication]))
    if kind == "peft" and (named := {parse(n).adapter for n in _own(files)} - {None}):
        yield Fact("adapter_name", f"lora_A.{named.pop()}.weight")
    targets = files.config.targets or ()
    if dotted := [target for target in targets if "." in target and not isinstance(targets, str)]:
        yield Fact("full_names", dotted[0] + (" ..." if len(dotted) > 1 else ""))
    layouts = {module: files.layout(module) for module in files.modules}
    plain = {module: each for module, each in layouts.items() if kind in OF_IMAGES and each.kind == LORA}
    if modules := flattened(plain):
        yield Fact("flattened", _counted(modules, len(layouts)), modules)
    rank = max((layout.rank for layout in layouts.values()), default=0)
    yield Fact("rank", str(rank))
    if wide := tuple(module for module, layout in layouts.items() if layout.rank > min(layout.shape) > 0):
        yield Fact("wide", f"rank {layouts[wide[0]].rank} of {list(layouts[wide[0]].shape)}", wide)
    if base is not None:
        yield from _on(place, kind, base, alpha)
    elif kind in REWRITTEN:
        yield Fact("architecture", "")


def _model(kind: str, files: AdapterFiles) -> Iterator[Fact]:
    """Which kind of model it is of, where its task, its format or its names say so."""
    task = files.config.fields.get("task_type")
    own = [kind] if kind in OF_IMAGES else [name for name in files.modules if is_of_images(name)]
    if task in LANGUAGE or (kind in OF_LANGUAGE and not own):
        yield Fact("language", f"task_type {task}" if task in LANGUAGE else kind)
    elif own:
        yield Fact("images", own[0])


def _unreached(kind: str, files: AdapterFiles) -> Iterator[Fact]:
    """What programs that serve language models may not apply: what sees or hears, and of a folder of PEFT for its names, or
    where it is.
    """
    if kind in REWRITTEN and (senses := of_senses(files.modules)):
        yield Fact("senses", _counted(senses, len(files.modules)), tuple(senses))
    if kind != "peft":
        return
    for name, those in begun_otherwise(files).items():
        yield Fact(name, min(_own_of(files, those[0])), tuple(those))
    if files.further:
        yield Fact("further", listed(files.further, 3))


def _named(kind: str, files: AdapterFiles, base: Checkpoint | None) -> Iterator[Fact]:
    """What programs for images and videos make of the names, and of the scales that go with them."""
    if kind not in OF_IMAGES:
        return
    spelled = {m: parts.tensors.get("lora_A", min(parts.tensors.values())) for m, parts in files.modules.items()}
    modules = denoiser(spelled)
    there = _of_denoiser(base.layout) if base else set()
    headers = " ".join(files.file.metadata.get(entry, "") for entry in STATED)
    known = models([module.key for module in modules.values()], headers, there)
    comfyui, diffusers_unet = by_comfyui(modules, known, there), of_unet(modules)
    tensors = {m: (*parts.tensors.values(), *filter(None, [parts.alpha])) for m, parts in files.modules.items()}
    diffusers = by_diffusers(modules, known, there, tensors) if modules else Found()
    unet = tuple(each for each in comfyui.left if each in diffusers_unet)
    left = (*(each for each in comfyui.left if each not in unet), *encoders_left(spelled))
    for name, those in (
        ("comfyui_left", left),
        ("comfyui_unet", unet),
        ("diffusers_stops" if diffusers.stops else "diffusers_left", diffusers.left),
        ("diffusers_changed", diffusers.changed),
        ("diffusers_encoders", encoders_unread(spelled, known)),
        ("diffusers_parts", encoders_in_part(spelled)),
    ):
        if those:
            yield Fact(name, _counted(those, len(spelled)), those)
    for name, found in (("comfyui_unsure", comfyui), ("diffusers_unsure", diffusers)):
        if found.unsure:
            of = f"; of {' or '.join(found.models)}" if found.models else ""
            yield Fact(name, _counted(found.unsure, len(modules)) + of, found.unsure)
    stated = {each: files.scalings[each] for each in files.modules if each in files.scalings}
    if kind == "kohya" and (those := of_one_alpha(stated)):
        yield Fact("alphas", ", ".join(f"{each:g}" for each in sorted({stated[each].alpha for each in stated})), those)


def _of_denoiser(tensors: Iterable[str]) -> set[str]:
    """The flat names of the part of a base that makes the image; of all where no name says its part.

    >>> _of_denoiser(["unet.conv_in.weight", "text_encoder.encoder.layers.0.mlp.fc1.weight"]), _of_denoiser(["conv_in.weight"])
    ({'conv_in'}, {'conv_in'})
    """
    names = list(map(flat, tensors))
    own = {name.key for name in names if name.part == DENOISER}
    return own or {name.key for name in names}


def _counted(modules: Sequence[str], count: int) -> str:
    """
    >>> _counted(["a"], 1), _counted(["a", "b"], 4)
    ('a', '2 of 4, such as a')
    """
    return modules[0] if count == 1 else f"{len(modules)} of {count}, such as {modules[0]}"


def _own(files: AdapterFiles) -> Iterator[str]:
    return (name for module in files.modules for name in _own_of(files, module))


def _own_of(files: AdapterFiles, module: str) -> Collection[str]:
    return files.modules[module].tensors.values()


def _scales(kind: str, files: AdapterFiles, config: Mapping[str, Any]) -> Iterator[Fact]:
    """Where the scales are, and whether they are the same for all."""
    scaled = tuple(m for m, each in files.scalings.items() if each.scale != 1 and not files.modules[m].alpha)
    where = "mlx_scale" if kind == "mlx" else "config_scale" if config else "header_scale"
    if where == "header_scale" and kind in OF_IMAGES:
        where = "header_scale" if EMBEDDED in files.file.metadata else "header_entries"
    if kind == "diffusers" and (parts := untargeted(files.file.metadata, files.file.entries)):
        yield Fact("header_untargeted", " and ".join(parts))
    if scaled and kind != "gguf":
        yield Fact(where, " and ".join(sorted({f"{files.scalings[m].scale:.4g}" for m in scaled})[:3]), scaled)
    rooted = tuple(module for module, each in files.scalings.items() if each.rslora and each.rank > 1)
    if rooted:
        yield Fact("rslora", "true", rooted)
    if experts := tuple(m for m in rooted if is_single_expert(m) or files.modules[m].experts > 1):
        yield Fact("rslora_experts", "true", experts)
    alpha, r = config.get(alpha_field(config) or ""), config.get("r")
    twice = doubled(files.modules) if kind == "peft" else set()
    stated = {m: each for m, each in files.scalings.items() if _by_alpha(files.modules[m]) and m not in twice}
    if twice:
        yield Fact("attention", min(twice), tuple(sorted(twice)))
    if config and (others := tuple(m for m, each in stated.items() if each.alpha != alpha)):
        yield Fact("alpha_pattern", f"{files.scalings[others[0]].alpha:g} for {others[0]}", others)
    ranks = sorted({each.rank for each in files.scalings.values()})
    if len(ranks) > 1:
        unequal = tuple(m for m, each in files.scalings.items() if each.rank != r)
        yield Fact("rank_pattern", ", ".join(map(str, ranks)), unequal)
    if isinstance(alpha, float):
        yield Fact("float_alpha", str(alpha))


def _by_alpha(parts: Parts) -> bool:
    """Whether its scale is the alpha of its config; AdaLoRA divides by the rank that it began with."""
    return parts.kind.alpha is not None and parts.kind.name != "AdaLoRA"


def _by_inputs(parts: Parts) -> bool:
    """Whether a module is DoRA with a magnitude for each input of its weight."""
    return BY_INPUTS in parts.tensors


def _called(kind: str, parts: Parts) -> str:
    """The fact of a magnitude vector, where an adapter of an image model has another name for it than `dora_scale`."""
    name = parts.tensors.get(BY_OUTPUTS, "") if kind in OF_IMAGES else ""
    return "dora_peft" if f".{BY_OUTPUTS}" in name else "dora_magnitude" if name.endswith(".magnitude") else ""


def _stored_as(files: AdapterFiles, end: str) -> tuple[str, ...]:
    """Modules with a tensor whose name ends so; of lengths those alone that have one dimension."""
    entries = files.file.entries
    return tuple(
        module
        for module, parts in files.modules.items()
        for name in parts.tensors.values()
        if f".{name}".endswith(end) and (end != f".{BY_INPUTS}" or len(entries[name].shape) == 1)
    )


def _full(files: AdapterFiles) -> Iterator[Fact]:
    """Tensors that take the place of the base's."""
    biases = tuple(tensor for tensor in files.full if tensor.endswith(".bias"))
    ends = tuple(f"{end}.weight" for end in (HEAD, *EMBEDDINGS))
    embeddings = tuple(tensor for tensor in files.full if tensor.endswith(ends))
    saved = tuple(tensor for tensor in files.full if tensor not in {*biases, *embeddings})
    norms = are_norms(files.file.entries)
    for name, tensors in (("norms" if norms else "saved", saved), ("biases", biases), ("embeddings", embeddings)):
        if tensors:
            yield Fact(name, tensors[0] + (f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""), tensors)
    if files.config.saved and not norms and not saved and not embeddings:
        yield Fact("saved", f"{', '.join(files.config.saved)} in the config alone")
    if files.config.biases and not biases:
        yield Fact("biases", "in the config alone")


def _divided(kind: str, edits: Mapping[str, Edit], base: Checkpoint) -> Iterator[Fact]:
    """Projections that the model has in one matrix and the adapter in parts, or the other way round; not those of experts."""
    if kind in OF_IMAGES:
        return
    known, found = loading(base.config), dict[str, str]()
    for tensor, edit in edits.items():
        stored = base.layout[edit.start].shape if edit.start else ()
        whole = len(stored) == 2 and not known.parts(tensor)
        for target in (each for each in edit.targets if not expert(each.source)):
            if target.source != target.module or (whole and not target.seen and target.shape != stored):
                found[target.source] = tensor
    if found:
        source, tensor = next(iter(found.items()))
        yield Fact("divided", f"{source} of {tensor}", tuple(found))


def _next_to(adapter: Adapter, kind: str) -> Adapter:
    """What a base has to have a place for, where it stays as it is: the bias of LoRA is one of LoRA's own layer, in PEFT."""
    if kind not in OF_PEFT:
        return adapter
    return replace(adapter, layout={name: each for name, each in adapter.layout.items() if each.kind != LORA_BIAS})


def _on(place: Place, kind: str, base: Checkpoint, alpha: float | None) -> Iterator[Fact]:
    """What a base says."""
    adapter, config = open_adapter(place, alpha=alpha, allow_pickle=place.allow_pickle), base.config or {}
    try:
        if adapter.config.architecture:
            check_architecture(adapter.config.architecture, config)
    except IncompatibleError as error:
        yield Fact("other_architecture", error.message)
        return
    try:
        base = replicated(base, [adapter])
        edits = resolve(fitted(_next_to(adapter, kind), base), base).edits
    except (IncompatibleError, UnsupportedError) as error:
        yield Fact("base", error.message)
    else:
        yield from _divided(kind, edits, base)
        if kind == "mlx" and (named := tuple(name for name in adapter.layout if in_mlx(name, config) != name)):
            yield Fact("mlx_names", f"{named[0]}, for {in_mlx(named[0], config)}", named)
    model = str(config.get("model_type", "unknown"))
    rotated = tuple(module for module in adapter.layout if last(module) in ROTATED)
    if kind in REWRITTEN and model not in CONVERTED:
        yield Fact("architecture", model)
    if kind in REWRITTEN and model == "llama" and rotated:
        yield Fact("rotated", "on a llama", rotated)
    heads = tuple(module for module in adapter.layout if last(module) == HEAD)
    if heads and (
        says_tied(config) or ties_of(base.layout, config).missing.keys() & {f"{head}{WEIGHT}" for head in heads}
    ):
        yield Fact("tied", ", ".join(heads), heads)
