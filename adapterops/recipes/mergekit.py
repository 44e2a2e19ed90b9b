"""Recipes of mergekit, read as requests: whole models merged into their base, or their layers stacked.

merge_method: ties
base_model: models/base            # relative to the folder of the recipe, or owner/name on the Hub
models:
  - model: models/chat
    parameters: {weight: 0.6, density: [0.3, 0.7]}      # a gradient over the layers
  - model: models/code
    parameters: {weight: [{filter: mlp, value: 0.5}, {value: 0.2}], density: 0.5}
dtype: bfloat16

Every parameter is settled for every tensor of the base, and tensors with the same ones are one term of the formula. What
is not understood is refused by its name.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.errors import OptionError
from adapterops.expressions.expression import parse
from adapterops.hub.references import parse as reference
from adapterops.recipes.mergekit_methods import METHODS, MergekitMethod, TensorGroup
from adapterops.regex import Regex
from adapterops.requests.fields import Input, Layers, Model, Output
from adapterops.requests.places import found
from adapterops.requests.reading import DTYPES, Reader
from adapterops.requests.request import Request
from adapterops.storage.strict_yaml import Place

METHOD, PASSTHROUGH = "merge_method", "passthrough"
FIELDS = (METHOD, "base_model", "models", "slices", "parameters", "dtype", "out_dtype", "tokenizer_source", "tokenizer")
LAYER = Regex(r"\.(\d+)\.")


@dataclass(frozen=True)
class MergekitModel:
    """A model and its parameters, as they are written."""

    path: str
    parameters: Mapping[str, Any]


def request(reader: Reader, fields: Any, folder: Path) -> Request:
    """The request that a recipe of mergekit is.

    Raises:
        OptionError: it has something that is not read here; the message names it.
        NotFoundError, InputError: as `open_checkpoint` does of its base.
    """
    top = reader.table((), fields, FIELDS, (METHOD,))
    name = reader.text((METHOD,), top[METHOD])
    if name == PASSTHROUGH:
        return _stacked(reader, top, folder)
    if name not in METHODS:
        reader.fail((METHOD,), f"is {name}, which is not read here", f"there are {', '.join((*METHODS, PASSTHROUGH))}")
    method = METHODS[name]
    sources, shared = _sources(reader, top, method, folder)
    base = _base(reader, top, sources, method, folder)
    others = sources if not method.base else [each for each in sources if each.path != base]
    if not others[not method.base :]:
        reader.fail(("models",), "has no model besides the base", "name the models that are merged")
    own = _parameters(reader, ("parameters",), top.get("parameters"), method)
    names = [chr(ord("a") + i) if i < 26 else f"a{i}" for i in range(len(others))]
    _check_tokenizer(reader, top, base, folder)
    if not method.base:
        others = sorted(others, key=lambda each: each.path != base)
    terms = _terms(method, dict(zip(names, others, strict=True)), [shared, own], _tensors(folder, base))
    inputs = {each: Input(source.path, tuned=True) for each, source in zip(names, others, strict=True)}
    if not method.base:
        inputs.pop(names[0])
    if not terms:
        raise OptionError("nothing is added to the base", hint="give weights that are not 0", code="E-RECIPE")
    return Request(inputs, parse(" + ".join(terms), inputs), base=Model(base), output=_output(reader, top))


def _output(reader: Reader, top: Mapping[str, Any]) -> Output:
    stated = [reader.optional((name,), top, reader.text) for name in ("out_dtype", "dtype")]
    dtype = stated[0] or stated[1]
    if dtype is not None and dtype not in DTYPES:
        reader.fail(("dtype",), f"is {dtype}, expected one of {', '.join(DTYPES)}")
    return Output(dtype=DTYPES[dtype] if dtype else None)


def _stacked(reader: Reader, top: Mapping[str, Any], folder: Path) -> Request:
    """The request of a passthrough: layers of one model after those of another."""
    if "models" in top or not isinstance(top.get("slices"), list) or not top["slices"]:
        reader.fail(("slices",), "is missing or empty", "give slices, each with one source and its layer_range")
    found = []
    for index, each in enumerate(top["slices"]):
        place: Place = ("slices", index)
        sources = reader.table(place, each, ("sources", "parameters"), ("sources",))["sources"]
        if not isinstance(sources, list) or len(sources) != 1:
            reader.fail((*place, "sources"), f"is not one model: {PASSTHROUGH} copies the layers of one")
        at = (*place, "sources", 0)
        fields = reader.table(at, sources[0], ("model", "layer_range", "parameters"), ("model", "layer_range"))
        for where, table in (((), top), (place, each), (at, fields)):
            if table.get("parameters"):
                reader.fail((*where, "parameters"), "scales what is copied, which is not done here", "leave it out")
        layers = fields["layer_range"]
        if not isinstance(layers, list) or len(layers) != 2 or not all(type(number) is int for number in layers):
            reader.fail((*at, "layer_range"), "is not two numbers", "such as [0, 16], the layers 0 to 15")
        found.append(Layers(Model(_path(reader, (*at, "model"), fields["model"], folder)), *layers))
    first = found[0].model.path
    if top.get("base_model") is not None and _path(reader, ("base_model",), top["base_model"], folder) != first:
        reader.fail(("base_model",), "is not the model of the first slice, whose config the result has", "leave it out")
    _check_tokenizer(reader, top, first, folder)
    return Request(stack=tuple(found), output=_output(reader, top))


def _sources(
    reader: Reader, top: Mapping[str, Any], method: MergekitMethod, folder: Path
) -> tuple[list[MergekitModel], dict[str, Any]]:
    """The models, and the parameters that they share in a slice: all layers of every model have to be in one."""
    if ("models" in top) == ("slices" in top):
        reader.fail((), "has models and slices, or neither", "give models, each with its parameters")
    place: Place = ("models",)
    listed, shared = top.get("models"), {}
    if "slices" in top:
        slices = top["slices"]
        if not isinstance(slices, list) or len(slices) != 1:
            reader.fail(
                ("slices",),
                "has several slices, and the result would not have the base's layers, which this method cannot make",
            )
        whole = reader.table(("slices", 0), slices[0], ("sources", "parameters"), ("sources",))
        place, listed = ("slices", 0, "sources"), whole["sources"]
        shared = _parameters(reader, ("slices", 0, "parameters"), whole.get("parameters"), method)
    if not isinstance(listed, list) or not listed:
        reader.fail(place, "is empty", "name the models that are merged")
    found = []
    for index, each in enumerate(listed):
        at = (*place, index)
        known = ("model", "parameters") if "models" in top else ("model", "layer_range", "parameters")
        fields = reader.table(at, each, known, ("model",))
        path = _path(reader, (*at, "model"), fields["model"], folder)
        _check_range(reader, (*at, "layer_range"), fields.get("layer_range"), folder, path)
        found.append(MergekitModel(path, _parameters(reader, (*at, "parameters"), fields.get("parameters"), method)))
    if len({each.path for each in found}) < len(found):
        reader.fail(place, "names a model twice", "add its weights up")
    return found, shared


def _path(reader: Reader, place: Place, value: Any, folder: Path) -> str:
    text = reader.text(place, value)
    if (folder / text).exists():
        return text
    if "+" in text:
        model, _, adapter = text.partition("+")
        command = shlex.join(["adapterops", "fuse", model, adapter, "-o", "fused"])
        reader.fail(place, "is a model with an adapter", f"fuse that first, and name the result: {command}")
    there = None if (folder / text).parent.is_dir() else reference(text)
    return there.uri if there else text


def _check_range(reader: Reader, place: Place, value: Any, folder: Path, path: str) -> None:
    """Raise OptionError for some layers of a model: there are all in a merge."""
    if value is None:
        return
    count = max(_stacks(_tensors(folder, path)).values(), default=0)
    if value != [0, count]:
        reader.fail(
            place, f"is {value}, and the model has {count} layers: only all of them are merged", f"write [0, {count}]"
        )


def _base(
    reader: Reader, top: Mapping[str, Any], sources: Sequence[MergekitModel], method: MergekitMethod, folder: Path
) -> str:
    stated = None if top.get("base_model") is None else _path(reader, ("base_model",), top["base_model"], folder)
    if method.base:
        if stated is None:
            reader.fail((), f"has no base_model, and {top[METHOD]} needs one")
        return str(stated)
    if stated is not None and stated not in [each.path for each in sources]:
        reader.fail(("base_model",), "is none of the models that are averaged", "leave it out, or name it among them")
    return stated or sources[0].path


def _parameters(reader: Reader, place: Place, value: Any, method: MergekitMethod) -> dict[str, Any]:
    """Parameters as they are written: a value, a gradient, or values with filters."""
    fields = {} if value is None else reader.table(place, value, (*method.own, *method.models))
    for name, setting in fields.items():
        where = (*place, name)
        if isinstance(setting, dict):
            reader.fail(where, "is a table, expected a value, a gradient [0.2, 0.8], or a list of {filter, value}")
        if isinstance(setting, list):
            if not setting:
                reader.fail(where, "is an empty list", "give a value")
            tables = [each for each in setting if isinstance(each, dict)]
            if tables and len(tables) < len(setting):
                reader.fail(where, "mixes numbers and tables", "give a gradient, or a list of {filter, value}")
            for index, each in enumerate(tables):
                reader.table((*where, index), each, ("filter", "value"), ("value",))
                reader.optional((*where, index, "filter"), each, reader.text)
                if each["value"] == [] or isinstance(each["value"], dict):
                    reader.fail((*where, index, "value"), "is neither a value nor a gradient")
    return fields


def _check_tokenizer(reader: Reader, top: Mapping[str, Any], base: str, folder: Path) -> None:
    """Raise OptionError for a tokenizer that is not the base's. Models with other words are refused when they are opened, and
    of equal ones the union is that of the base.
    """
    place: Place = ("tokenizer_source",)
    stated = top.get("tokenizer_source")
    if top.get("tokenizer") is not None:
        if stated is not None:
            reader.fail(("tokenizer",), "is given next to tokenizer_source", "leave one of them out")
        place, stated = (
            ("tokenizer", "source"),
            reader.table(("tokenizer",), top["tokenizer"], ("source",)).get("source"),
        )
    if stated not in (None, "base", "union") and _path(reader, place, stated, folder) != base:
        reader.fail(place, f"is {stated}, and the result has the tokenizer of the base", "write base")


def _tensors(folder: Path, path: str) -> list[str]:
    """The tensors of a model that are merged, by its headers."""
    layout = open_checkpoint(found(folder, path)).layout
    return [name for name, spec in layout.items() if spec.dtype in FLOATS]


def _stacks(tensors: Sequence[str]) -> dict[str, int]:
    """What comes before the numbers of some layers → how many there are: 0, 1, ... to the last, so that the linears of a
    Sequential, with activations between them, are none.

    >>> _stacks(["encoder.block.0.q", "encoder.block.1.q", "decoder.block.0.q", "merger.mlp.0.weight", "merger.mlp.2.weight"])
    {'encoder.block': 2, 'decoder.block': 1}
    """
    found: dict[str, set[int]] = {}
    for tensor in tensors:
        if number := LAYER.search(tensor):
            found.setdefault(tensor[: number.start()], set()).add(int(number[1]))
    return {stack: len(numbers) for stack, numbers in found.items() if max(numbers) < len(numbers)}


def _depth(tensor: str, stacks: Mapping[str, int]) -> float:
    """From 0, the first layer of a stack and all outside of stacks, to 1, its last."""
    number = LAYER.search(tensor)
    count = stacks.get(tensor[: number.start()], 0) if number else 0
    return int(number[1]) / (count - 1) if number and count > 1 else float(count)


def _patterns(chosen: Collection[str], tensors: Sequence[str], start: str = "") -> list[str]:
    """Few patterns of the `chosen` among the `tensors` that begin with `start`: `layers.3.*` where all of these are.

    >>> _patterns({"a.0.q", "a.0.k", "a.1.q"}, ["a.0.q", "a.0.k", "a.1.q", "a.1.k", "b"])
    ['a.0.*', 'a.1.q']
    """
    parts: dict[str, list[str]] = {}
    for tensor in tensors:
        head, dot, _ = tensor.removeprefix(start).partition(".")
        parts.setdefault(start + head + dot, []).append(tensor)
    found = []
    for part, members in parts.items():
        count = sum(member in chosen for member in members)
        if members == [part]:
            found += [part] if count else []
        elif count == len(members):
            found.append(f"{part}*")
        elif count:
            found += _patterns(chosen, members, part)
    return found


def _terms(
    method: MergekitMethod,
    models: Mapping[str, MergekitModel],
    shared: Sequence[Mapping[str, Any]],
    tensors: Sequence[str],
) -> list[str]:
    """The formula of every group of tensors."""
    groups: dict[str, tuple[TensorGroup, list[str]]] = {}
    stacks = _stacks(tensors)
    for tensor in tensors:
        depth = _depth(tensor, stacks)
        own = _settled(method.own, shared, tensor, depth)
        each = {
            model: _settled(method.models, [source.parameters, *shared], tensor, depth)
            for model, source in models.items()
        }
        group = TensorGroup(own, each, {name: source.path for name, source in models.items()})
        groups.setdefault(repr(group), (group, []))[1].append(tensor)
    found = []
    for group, members in groups.values():
        patterns = [] if len(members) == len(tensors) else _patterns({*members}, tensors)
        chosen = ", ".join(f'"{pattern}"' for pattern in patterns)
        term = method.term(group, [f"select({name}, {chosen})" if chosen else name for name in models])
        found += [term] if term else []
    return found


def _settled(
    defaults: Mapping[str, Any], places: Sequence[Mapping[str, Any]], tensor: str, depth: float
) -> dict[str, Any]:
    """What parameters are for a tensor: by the first place that says it, or else the default."""
    found = {}
    for name, default in defaults.items():
        values = (_value(each[name], tensor, depth) for each in places if name in each)
        found[name] = next((value for value in values if value is not None), default)
    return found


def _value(setting: Any, tensor: str, depth: float) -> Any:
    """What a setting is for a tensor at a depth from 0, which is that of all outside of layers, too, to 1."""
    if not isinstance(setting, list):
        return setting
    if isinstance(setting[0], dict):
        for each in setting:
            if each.get("filter") in (None, "*") or each["filter"] in tensor:
                return _value(each["value"], tensor, depth)
        return None
    place = depth * (len(setting) - 1)
    if not all(isinstance(each, int | float) for each in setting):
        return setting[int(place)]
    low = int(place)
    return (1 - (place - low)) * setting[low] + (place - low) * setting[min(len(setting) - 1, low + 1)]
