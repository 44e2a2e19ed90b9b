"""Writes adapterops/formats/models/tables/inner.txt: what models with a head call the model that they hold, and what is in that.

`python benchmarks/inner_names.py`: every class of transformers that may hold one is built tiny, without numbers, and asked. Of one
that cannot be built its own code says under which name it holds a model, and what is in that is not known.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import architectures
from renames import block, words
from tiny import OWN, merged

from adapterops.formats.models.bare import named_with_head

TABLE = Path(__file__).parent.parent / "adapterops" / "formats" / "models" / "tables" / "inner.txt"
HEAD = """What classes of transformers {version} with a head call the model that they hold, by model type: tables, and nothing else.

Written by benchmarks/inner_names.py. Lines of types, each followed by what holds for these, indented.

"""
OLDER = {"T5WithLMHeadModel"}
"""Classes with nothing in them under their older names, which configs still state."""

WITHOUT_HEAD_DIM = (), ("head_dim",), ("num_key_value_heads", "head_dim"), ("rotary_dim",), ("num_attention_heads",)
"""Fields that are left to the config, until one can be made."""


def every() -> Iterator[type]:
    """The classes of models in transformers."""
    import transformers
    from transformers import PreTrainedModel

    (folder,) = transformers.models.__path__
    for path in sorted(Path(folder).glob("*/modeling_*.py")):
        name = f"transformers.models.{path.parent.name}.{path.stem}"
        try:
            found = vars(importlib.import_module(name))
        except Exception:  # one that needs a library which is not here
            continue
        for cls in found.values():
            if isinstance(cls, type) and issubclass(cls, PreTrainedModel) and cls.__module__ == name:
                yield cls


def may_hold(cls: Any) -> bool:
    """Whether a class, or one that it is made of, has an attribute of this name, or one by the name that the class states."""
    own = [each for each in cls.__mro__ if each.__module__.startswith("transformers.") and "__init__" in vars(each)]
    used = [set(each.__init__.__code__.co_names) for each in own]
    stated = any({"setattr", "base_model_prefix"} <= names for names in used)
    return bool(cls.base_model_prefix) and (stated or any(cls.base_model_prefix in names for names in used))


def built(cls: Any) -> Any:
    """A model of a class without numbers."""
    import torch

    first = None
    for dropped in (*WITHOUT_HEAD_DIM, None):
        fields: dict[str, Any] = {}
        try:
            if dropped is not None:
                fields = architectures._without(architectures.tiny(cls.config_class), dropped)
                for own in (OWN.get(cls.config_class.model_type, {}), OWN.get(cls.__name__, {})):
                    fields = merged(fields, own)
            with torch.device("meta"):
                return cls(cls.config_class(**fields))
        except Exception as error:  # whatever a class makes of so small a config; the next is tried
            first = first or error
    raise first or ValueError(cls.__name__)


def row(cls: Any) -> dict[str, Any]:
    """The type of a class, its name, what it calls the model in it, and the first names in that and next to it; none where it holds
    none.
    """
    import torch

    prefix = cls.base_model_prefix
    found = {"type": getattr(cls.config_class, "model_type", ""), "cls": cls.__name__, "prefix": prefix}
    if not may_hold(cls):
        return {**found, "held": False}
    try:
        model = built(cls)
    except Exception as error:  # of a class that cannot be built; it is named
        print(f"{cls.__name__} is not built: {str(error)[:80]}", file=sys.stderr)
        return {**found, "held": True, "inside": set(), "beside": set()}
    held = isinstance(getattr(model, prefix, None), torch.nn.Module)
    names = list(model.state_dict())
    inside = {name.removeprefix(f"{prefix}.").partition(".")[0] for name in names if name.startswith(f"{prefix}.")}
    return {**found, "held": held, "inside": inside, "beside": {name.partition(".")[0] for name in names} - {prefix}}


def of_words() -> set[str]:
    """The classes for words alone of families that have one with other parts, too."""
    import transformers

    ends = "ForConditionalGeneration", "ForCausalLM"
    families = {name.removesuffix(ends[0]) for name in dir(transformers) if name.endswith(ends[0])}
    return {name for name in dir(transformers) if name.endswith(ends[1]) and name.removesuffix(ends[1]) in families}


def text(rows: Sequence[Mapping[str, Any]], version: str) -> str:
    """The tables. A class has a line of its own whose name for the model in it is not the one that most of its type have, or
    which has something of its own by a name that is in the model of one of its type, too.
    """
    prefixes: dict[str, Counter[str]] = defaultdict(Counter)
    for each in rows:
        if each["held"] and each["type"]:
            prefixes[each["type"]][each["prefix"]] += 1
    of_type = {model_type: found.most_common(1)[0][0] for model_type, found in prefixes.items()}
    there: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in (each for each in rows if each["held"]):
        there[each["type"], each["prefix"]] |= each["inside"]
    children: dict[tuple[str, str], set[str]] = defaultdict(set)
    heads, none, bare = set(), set(OLDER), set()
    for each in (each for each in rows if each["type"] in of_type):
        kind = each["type"], each["prefix"]
        own = each["held"] and (each["prefix"] != of_type[each["type"]] or not there[kind].isdisjoint(each["beside"]))
        if each["held"]:
            children[each["cls"] if own else each["type"], each["prefix"]] |= each["inside"] - each["beside"]
        if each["held"] != named_with_head(each["cls"]) and not own:
            (heads if each["held"] else none).add(each["cls"])
        if not each["held"] and re.search("(?<!PreTrained)Model$", each["cls"]) and not named_with_head(each["cls"]):
            bare.add(each["cls"])
    inner: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for (word, prefix), names in children.items():
        inner[(f"{prefix}. {' '.join(sorted(names))}".strip(),)].add(word)
    what = (
        "What is before the names of the model in a class with a head, and what these begin with, by type, or by class: "
        "all but heads where that is not known."
    )
    return (
        HEAD.format(version=version)
        + block("INNER", inner, what)
        + words("HEADS", heads, "Classes that hold such a model, which their names do not show.")
        + words("NONE", none, "Classes of these types that hold none, though they are named as others with a head.")
        + words("BARE", bare, "Classes of these types that are such a model themselves, or a part of one.")
        + words("WORDS", of_words(), "Classes for words alone, of families with one that has other parts, too.")
    ).rstrip("\n") + "\n"


def main() -> None:
    import transformers

    warnings.simplefilter("ignore")
    logging.disable()
    TABLE.write_text(text(list(map(row, every())), transformers.__version__))


if __name__ == "__main__":
    main()
