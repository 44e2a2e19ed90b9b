"""Writes adapterops/formats/models/tables/tied.txt: which tensors the models of transformers share, and which of them can be untied.

`python benchmarks/ties.py`: what every class states, and what is measured on those of the sweep.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import architectures
import renames

from adapterops.formats.models.ties import untied

TABLE = Path(__file__).parent.parent / "adapterops" / "formats" / "models" / "tables" / "tied.txt"
HEAD = """Which parameters the models of transformers {version} share, by class: tables, and nothing else.

Written by benchmarks/ties.py. Lines of `model type:class`, each followed by what holds for these, indented.

"""
WHAT = "A parameter and the one that it is, {} being any number; or `in PREFIX: FIELD` with the config that says it."
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
PARAMETER = re.compile(r"[\w.]+\.(weight|bias)")


def generating() -> Iterator[Any]:
    """The classes of transformers that say what they share."""
    import transformers

    for module in pkgutil.iter_modules(transformers.models.__path__):
        name = f"transformers.models.{module.name}.modeling_{module.name}"
        try:
            found = vars(importlib.import_module(name))
        except Exception:  # no such model, or one that needs a library which is not here
            continue
        for cls in found.values():
            if isinstance(cls, type) and cls.__module__ == name and isinstance(stated(cls), dict) and stated(cls):
                yield cls


def stated(cls: Any) -> Any:
    return getattr(cls, "_tied_weights_keys", None)


def pairs(shared: dict[str, str]) -> list[str]:
    """A rule for each pair, with `{}` for numbers that both have alike."""
    rules = set()
    for end, source in shared.items():
        alike = NUMBER.findall(end) == NUMBER.findall(source)
        rules.add(" = ".join(NUMBER.sub("{}", each) if alike else each for each in (end, source)))
    return sorted(rules)


def is_general(end: str, source: str) -> bool:
    """Whether a pair holds in a model of other depth: its numbers are those of one layer, or the first."""
    numbers = NUMBER.findall(end), NUMBER.findall(source)
    return numbers[0] == numbers[1] or not any(map(int, numbers[0] + numbers[1]))


def own(model: Any) -> dict[str, str]:
    """What a model shares by its own config, in the models in it, too."""
    from transformers import PreTrainedModel

    return {
        f"{prefix}.{end}".lstrip("."): f"{prefix}.{source}".lstrip(".")
        for prefix, inner in model.named_modules(remove_duplicate=False)
        if isinstance(inner, PreTrainedModel) and inner.config is model.config
        for end, source in inner.get_expanded_tied_weights_keys().items()
    }


def parts(model: Any) -> dict[str, str]:
    """The models in a model that share parameters by configs of their own: prefix → field of the config."""
    from transformers import PreTrainedModel

    found = {}
    for prefix, inner in model.named_modules():
        if isinstance(inner, PreTrainedModel) and inner.get_expanded_tied_weights_keys():
            fields = [field for field, each in vars(model.config).items() if each is inner.config]
            if fields and not any(prefix.startswith(f"{other}.") for other in found):
                found[prefix] = fields[0]
    return found


def stays_itself(model: Any) -> bool:
    """Whether the model is the same one when its config says that nothing is shared, and each end has its own numbers."""
    cls = type(model)
    fields = set(parts(model).values())
    other = cls(cls.config_class.from_dict(untied(model.config.to_dict(), fields))).eval()
    if other.get_expanded_tied_weights_keys(all_submodels=True):
        return False
    other.load_state_dict(model.state_dict(), strict=False)
    return architectures.far(model, other) < architectures.TOLERANCE


def main() -> None:
    import transformers

    warnings.simplefilter("ignore")
    logging.disable()
    shared: dict[str, list[str]] = {}
    kept: set[str] = set()
    built = [name for _, _, name in architectures.classes()]
    for cls in generating():
        literal = {
            end: source
            for end, source in stated(cls).items()
            if PARAMETER.fullmatch(end) and PARAMETER.fullmatch(source)
        }
        if literal:
            shared[f"{cls.config_class.model_type}:{cls.__name__}"] = pairs(literal)
        if len(literal) < len(stated(cls)):  # what a pattern stands for, only a model says
            built.append(cls.__name__)
    for name in dict.fromkeys(built):
        try:
            model = architectures.build(name)
            model.config.tie_word_embeddings = True
            model.tie_weights()
            key = f"{model.config.model_type}:{name}"
            whole = own(model)
            general = {end: source for end, source in whole.items() if is_general(end, source)}
            found = pairs(general) + [f"in {prefix}.: {field}" for prefix, field in parts(model).items()]
            if found:
                shared[key] = found
                kept |= set() if general == whole and stays_itself(model) else {key}
        except Exception as error:  # of a class that cannot be built; it is named
            print(f"{name} is left out: {str(error)[:80]}", file=sys.stderr)
    rules: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for key, found in shared.items():
        rules[tuple(found)].add(key)
    what = "Classes that are another model when their config says that nothing is shared."
    text = renames.block("TIED", rules, WHAT) + renames.words("KEPT", kept, what)
    TABLE.write_text(HEAD.format(version=transformers.__version__) + text.rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
