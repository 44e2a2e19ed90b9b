"""Layers of one model or several, one above the other: a model with another number of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError, OptionError, UnsupportedError, count
from adapterops.formats.models.vocabulary import is_input, is_output
from adapterops.formats.models.weight_files import SINGLE
from adapterops.operations.targets.tokenizer import check_vocabulary
from adapterops.operations.task_vectors import check_configs
from adapterops.provenance.history import Source, Step
from adapterops.regex import Regex

LAYER = Regex(r"(?:^|(?<=\.))(\w+)\.(\d+)\.")
COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
"""What configs call the number of layers."""

ALIKE = {
    *("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "phi", "phi3", "phimoe"),
    *("gpt2", "gpt_neox", "gptj", "opt", "bloom", "mpt", "falcon", "starcoder2", "stablelm", "codegen", "persimmon"),
    *("olmo", "olmo2", "olmoe", "granite", "granitemoe", "cohere", "nemotron", "helium", "glm", "bert", "roberta"),
}
"""Types of models all layers of which are alike, but for what a field of `BY_PLACE` says."""

LISTED = {
    **dict.fromkeys(
        ("gemma2", "gemma3_text", "gpt_oss", "olmo3", "cohere2", "exaone4", "vaultgemma"), ("layer_types",)
    ),
    "smollm3": ("layer_types", "no_rope_layers"),
}
"""Types of models with layers of several kinds → the lists of the config that say which each is; newer ones are written so."""

BY_PLACE = (
    *("mlp_only_layers", "decoder_sparse_step", "scale_attn_by_inverse_layer_idx", "use_sliding_window"),
    *("first_k_dense_replace", "moe_layer_freq", "num_kv_shared_layers", "cross_attention_layers"),
)
"""Fields by which what a layer is depends on its number; with `layer_types` the last of the first line says nothing more."""

LAST = ("norm", "ln_f", "final_layernorm", "final_layer_norm", "final_norm")
"""Last names of the norms after all layers."""
FIRST = ("wpe", "embed_positions", "position_embeddings", "word_embeddings_layernorm")


@dataclass(frozen=True)
class Slice:
    """The layers [first, end) of a model."""

    model: Checkpoint
    first: int
    end: int


def stack(slices: Sequence[Slice]) -> Checkpoint:
    """A model of the layers of all slices, in their order, with other numbers. No number is computed: tensors are copied.

    What comes before the layers, and config and tokenizer, are those of the first slice's model; what comes after them is that
    of the last one's. Entries of the config for single layers go along with these.

    Raises:
        OptionError: there is no slice, or a model has not these layers.
        IncompatibleError: the models differ in type, shapes or words; or outside of their layers in what is neither before
            nor after them.
        UnsupportedError: a model is quantized, has several lists of layers, or layers that depend on their position.

    Source: mergekit's passthrough.
    Cost: lazy.
    """
    if not slices:
        raise OptionError("there are no layers to stack", hint="name a model and its layers")
    models = list(dict.fromkeys(each.model for each in slices))
    lists = {model: _Layers.of(model) for model in models}
    first, last = slices[0].model, slices[-1].model
    for model in models[1:]:
        check_configs(model, first)
        check_vocabulary(model, first)
        _check_shapes(model, first)
    order: dict[str, tuple[Checkpoint, str]] = {}
    number = 0
    for name in dict.fromkeys([*lists[first].outside, *lists[last].outside]):
        order[name] = _owner(name, first, last), name
    for each in slices:
        layers = lists[each.model]
        layers.check(each.first, each.end)
        for layer in range(each.first, each.end):
            for before, after in layers.names[layer]:
                order[f"{before}.{number}.{after}"] = each.model, f"{before}.{layer}.{after}"
            number += 1
    parts = [{"layers": [each.first, each.end], "model": models.index(each.model)} for each in slices]
    return replace(
        first,
        layout={name: model.layout[there] for name, (model, there) in order.items()},
        stored={name: model.stored[there] for name, (model, there) in order.items()},
        shards={SINGLE: list(order)},
        config=_config(slices, lists, number),
        history=Step("stack", {"slices": parts}, tuple(model.history for model in models)),
    )


@dataclass(frozen=True)
class _Layers:
    """The tensors of a model by its layers: for each what comes before and after its number."""

    model: Checkpoint
    names: Sequence[Sequence[tuple[str, str]]]
    outside: Sequence[str]
    counted: str

    @classmethod
    def of(cls, model: Checkpoint) -> _Layers:
        model.check_one("stacked")
        if model.schemes or model.gguf:
            raise UnsupportedError(
                "is quantized, and layers are stacked in 16 or 32 bits",
                path=_path(model),
                hint="adapterops dequantize first, and quantize what is stacked",
            )
        found: dict[int, list[tuple[str, str]]] = {}
        lists, outside = set(), []
        for name in model.layout:
            match = LAYER.search(name)
            if match is None:
                outside.append(name)
                continue
            before = name[: match.start()] + match[1]
            lists.add(before)
            found.setdefault(int(match[2]), []).append((before, name[match.end() :]))
        config = model.config or {}
        counted = next((field for field in COUNTS if isinstance(config.get(field), int)), None)
        if len(lists) != 1 or counted is None or config[counted] != len(found) or set(found) != set(range(len(found))):
            raise UnsupportedError(
                f"has layers in {', '.join(sorted(lists)) or 'no list'}, {count(len(found), 'layer')} by their names, and its config "
                f"says {config.get(counted) if counted else 'nothing'}: it is not known which ones to stack",
                path=_path(model),
                hint="stack models with one list of layers, as language models have",
            )
        _check_alike(model, len(found))
        return cls(model, [found[layer] for layer in range(len(found))], outside, counted)

    def check(self, first: int, end: int) -> None:
        if not 0 <= first < end <= len(self.names):
            raise OptionError(
                f"layers [{first}, {end}) are asked for, and the model has {len(self.names)}",
                path=_path(self.model),
                hint=f"write two numbers from 0 to {len(self.names)}, the second larger",
            )


def _check_alike(model: Checkpoint, number: int) -> None:
    """Raise UnsupportedError where what a layer is depends on its number, by more than lists that go along with it."""
    config = model.config or {}
    kind, hint = config.get("model_type"), "stack models all layers of which are alike, such as llama"
    if kind not in ALIKE and kind not in LISTED:
        fact = f"is of type {kind}: it is not known whether its layers depend on their position"
        raise UnsupportedError(fact, path=_path(model), hint=hint)
    lists = [field for field, value in config.items() if isinstance(value, list) and len(value) == number]
    for field in LISTED.get(str(kind), ()):
        if field not in lists:
            fact = f"has layers of several kinds, and its config has no {field} that says which kind each is"
            raise UnsupportedError(
                fact, path=_path(model), hint="load and save it with transformers, which writes that"
            )
    for field in BY_PLACE:
        value = config.get(field)
        plain = value is not True and value in (None, 0, 1, [])
        if not plain and not (field == "use_sliding_window" and "layer_types" in lists):
            fact = f"has layers that depend on their position: {field} of its config is {value!r}"
            raise UnsupportedError(fact, path=_path(model), hint=hint)


def _owner(name: str, first: Checkpoint, last: Checkpoint) -> Checkpoint:
    """Whose tensor outside of layers is taken: the first model's before them, the last one's after them."""
    for model in (first, last):
        if name not in model.layout:
            raise IncompatibleError(
                f"is not there, and in {_path(last if model is first else first)}: do both have an output embedding of their own?",
                path=_path(model),
                tensor=name,
                hint="stack models that share one architecture",
                code="E-NAMES",
            )
    module = name.rpartition(".")[0].rpartition(".")[2]
    if is_output(name) or module in LAST:
        return last
    if is_input(name) or module in FIRST or first is last:
        return first
    if name in first.layout and name in last.layout and first.stored[name].same_bytes(last.stored[name]):
        return first
    raise IncompatibleError(
        f"is outside of the layers and differs from that of {_path(last)}: whether it comes before or after them is not known",
        path=_path(first),
        tensor=name,
        hint="begin and end with layers of one model",
        code="E-NAMES",
    )


def _check_shapes(model: Checkpoint, first: Checkpoint) -> None:
    """Raise IncompatibleError where a tensor of one name has another shape."""
    for name, spec in model.layout.items():
        if name in first.layout and first.layout[name].shape != spec.shape:
            raise IncompatibleError(
                f"is {list(spec.shape)}, and {list(first.layout[name].shape)} in {_path(first)}: the models have different sizes",
                path=_path(model),
                tensor=name,
                hint="stack models of one size",
                code="E-SHAPE",
            )


def _config(slices: Sequence[Slice], lists: Mapping[Checkpoint, _Layers], number: int) -> dict[str, Any]:
    """The first model's config, with the new number of layers, and of lists for each layer the entries of those taken."""
    first = slices[0].model
    config = {**(first.config or {}), lists[first].counted: number}
    for field, value in config.items():
        if isinstance(value, list) and len(value) == len(lists[first].names) and "layer" in field:
            config[field] = list(_entries(field, slices))
    return config


def _entries(field: str, slices: Sequence[Slice]) -> Iterator[Any]:
    for each in slices:
        stated = (each.model.config or {}).get(field)
        if not isinstance(stated, list) or len(stated) < each.end:
            raise IncompatibleError(
                f"its config has no {field} for each layer, as that of {_path(slices[0].model)} has",
                path=_path(each.model),
                hint="stack models with configs of one kind",
            )
        yield from stated[each.first : each.end]


def _path(model: Checkpoint) -> str | None:
    return model.history.name if isinstance(model.history, Source) else None
