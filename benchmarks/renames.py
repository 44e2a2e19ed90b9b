"""Writes adapterops/formats/models/tables/renames.txt: how transformers renames the tensors of a file when it loads a model.

`python benchmarks/renames.py`: the conversions of each class of the sweep, as the installed transformers has them.
"""

from __future__ import annotations

import logging
import re
import sys
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import architectures

TABLE = Path(__file__).parent.parent / "adapterops" / "formats" / "models" / "tables" / "renames.txt"
HEAD = """How transformers {version} renames the tensors of a file when it loads a model, by model type: tables, and nothing else.

Written by benchmarks/renames.py. Lines of types, each followed by what holds for these, indented.

"""


def named(transform: Any) -> list[str]:
    """A renaming as a line: the part of the model that it is for, if it is for one, pattern and replacement."""
    found = []
    for source, target in zip(transform.source_patterns, transform.target_patterns, strict=False):
        pattern = source.replace("*.", r".*\.")
        if re.search(r"[a-zA-Z0-9]$", pattern):
            pattern += r"(?!\w)"
        scope = ""
        if transform.scope_prefix is not None:
            base = transform.base_model_prefix if transform.base_model_prefix in ("model", "vlm") else ""
            parts = (base, transform.scope_prefix)
            inside = "".join(f"{part}." for part in parts if part)
            scope = f"in {inside}: " if inside else ""
        target = target.replace("\\.", ".")
        found.append(f"{scope}{pattern} => {target}")
    return found


def division(transform: Any) -> list[str]:
    """What a tensor of a file becomes that is cut into equal numbers of rows, as a line."""
    (operation,) = transform.operations
    if operation.dim != 0 or operation.num_shards_attribute is not None or len(transform.source_patterns) != 1:
        return []
    names = " ".join(target.replace("\\.", ".") for target in transform.target_patterns)
    return [line.partition(" => ")[0] + f" => {names}" for line in named(transform)]


def conversions(name: str) -> dict[str, Any]:
    """Of one class: renamings, what becomes other tensors, and facts about its experts."""
    model = architectures.build(name)
    return {
        **rules(model),
        "passed": tuple(sorted({".".join(each.split(".")[-2:]) for each in architectures.passed(model)})),
    }


def rules(model: Any) -> dict[str, Any]:
    """The same of a model, which may have no numbers; what holds within its backbone is left out, and is `inner`."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    renames: list[str] = []
    inner: list[str] = []
    inside = tuple(f"in {place}" for place in places(model))
    others, divided = [], []
    transposed = any(getattr(each, "is_transposed", False) for each in model.modules())
    stacked = turned = False
    for transform in get_model_conversion_mapping(model, add_legacy=False):
        kinds = [type(each).__name__ for each in getattr(transform, "operations", [])]
        together = type(transform).__name__ == "GroupWeightRename"
        if together or type(transform).__name__ in ("WeightRenaming", "PrefixChange"):
            for line in reversed(named(transform)) if together else named(transform):  # `a => b` after `b => c`
                found = next((place for place in inside if line.startswith(place)), None)
                (renames if found is None else inner).append(line.removeprefix(found or ""))
        elif "MergeModulelist" in kinds:
            stacked = True
        elif kinds == ["Transpose"]:
            turned = True
        else:
            divided += division(transform) if kinds == ["Chunk"] else []
            others += [each.replace("*.", r".*\.") for each in transform.source_patterns]
    return {
        "renames": tuple(dict.fromkeys(renames)),
        "others": tuple(dict.fromkeys(others)),
        "divided": tuple(dict.fromkeys(divided)),
        "stacked": stacked,
        "transposed": transposed,
        "turned": turned,
        "inner": tuple(dict.fromkeys(inner)),
    }


def places(model: Any) -> dict[str, Any]:
    """Where a model has a backbone that its config chooses, as names in it begin → that."""
    from transformers.backbone_utils import BackboneMixin

    if not hasattr(model.config, "backbone_config"):
        return {}
    base = model.base_model_prefix
    root = "model." if base == "model" else ""
    return {
        f"{root}{name.removeprefix(base).removeprefix('.')}.": each
        for name, each in model.named_modules()
        if name not in ("", base) and isinstance(each, BackboneMixin)
    }


def backbones(known: set[str], passed: dict[tuple[str, ...], set[str]]) -> dict[str, dict[tuple[str, ...], set[str]]]:
    """Of the classes whose config chooses a backbone: where they have it, its renamings there, and those of the first class
    of each type that is not known.
    """
    import torch
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

    first: dict[str, type] = {}
    own: dict[tuple[str, ...], set[str]] = defaultdict(set)
    where: dict[tuple[str, ...], set[str]] = defaultdict(set)
    within: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for backbone, model in chosen():
        found, model_type = rules(model), model.config.model_type
        if places(model) and first.setdefault(model_type, type(model)) is type(model) and model_type not in known:
            own[found["renames"]].add(model_type)
        for place, inner in places(model).items():
            where[(place,)].add(model_type)
            if type(inner).__name__ == MODEL_FOR_BACKBONE_MAPPING_NAMES[backbone]:
                within[found["inner"]].add(backbone)
                continue
            linear = [name for name, each in inner.named_modules() if isinstance(each, torch.nn.Linear)]
            patterns = [line.partition(": ")[2].partition(" => ")[0] for line in found["inner"]]
            lost = {name for name in linear if any(re.search(pattern, f"{name}.weight") for pattern in patterns)}
            ends = tuple(sorted({".".join(name.split(".")[-2:]) for name in lost}))
            passed[ends].add(f"{model_type}/{backbone}")
    twice = [each for each in set().union(*within.values()) if sum(each in types for types in within.values()) > 1]
    if twice:
        raise ValueError(f"renamed in one way here and in another there: {', '.join(twice)}")
    return {"own": own, "where": where, "within": within}


def chosen() -> list[tuple[str, Any]]:
    """Classes whose config chooses a backbone, each with that of every type which it can be built with, without numbers."""
    import torch
    import transformers
    from transformers.models.auto import modeling_auto

    listed = [each for name, each in vars(modeling_auto).items() if name.endswith("MAPPING_NAMES")]
    names = {name for each in listed for name in each.values() if isinstance(name, str) and "Backbone" not in name}
    found = []
    for name in sorted(names):
        try:
            cls = getattr(transformers, name)
            config = cls.config_class
            if "backbone_config" not in config.sub_configs:
                continue
        except (AttributeError, ImportError):  # a tokenizer, or a class that asks for a package that is not installed
            continue
        for backbone in sorted(modeling_auto.MODEL_FOR_BACKBONE_MAPPING_NAMES):
            try:
                with torch.device("meta"):
                    inner = transformers.AutoConfig.for_model(backbone)
                    inner.out_indices = list(range(1, 5))
                    found.append((backbone, cls(config(backbone_config=inner))))
            except Exception:  # whatever a class says of a backbone that it cannot have
                continue
    return found


def towers() -> dict[tuple[str, ...], set[str]]:
    """Classes that are one tower of a model for text and images, which the names in files begin with → the tower."""
    import transformers
    from transformers.conversion_mapping import _MODEL_TO_CONVERSION_PATTERN, get_checkpoint_conversion_mapping

    found: dict[tuple[str, ...], set[str]] = {}
    for first in ("CLIPTextModel", "CLIPVisionModel"):
        like = {first, *(name for name, of in _MODEL_TO_CONVERSION_PATTERN.items() if of == first)}
        (change,) = get_checkpoint_conversion_mapping(first)
        found[(" ".join(sorted(name for name in like if hasattr(transformers, name))),)] = {change.prefix_to_remove}
    return found


def main() -> None:
    import transformers
    from peft.utils.transformers_weight_conversion import _MODEL_TO_CONVERSION_PATTERN

    warnings.simplefilter("ignore")
    logging.disable()
    renames: dict[tuple[str, ...], set[str]] = defaultdict(set)
    others: dict[tuple[str, ...], set[str]] = defaultdict(set)
    divided: dict[tuple[str, ...], set[str]] = defaultdict(set)
    passed: dict[tuple[str, ...], set[str]] = defaultdict(set)
    stacked, transposed, turned = set(), set(), set()
    for _, _, name in (*architectures.classes(), *architectures.seeing_and_hearing()):
        try:
            found = conversions(name)
        except Exception as error:  # of a class that cannot be built; it is named
            print(f"{name} is left out: {str(error)[:80]}", file=sys.stderr)
            continue
        model_type = getattr(transformers, name).config_class.model_type
        renames[found["renames"]].add(model_type)
        others[found["others"]].add(model_type)
        divided[found["divided"]].add(model_type)
        passed[found["passed"]].add(model_type)
        stacked |= {model_type} if found["stacked"] else set()
        transposed |= {model_type} if found["transposed"] else set()
        turned |= {model_type} if found["turned"] else set()
    for _, model_type, name in architectures.heads():
        try:
            own = rules(architectures.build(name))["renames"]
        except Exception as error:  # of a class that cannot be built; it is named
            print(f"{name} is left out: {str(error)[:80]}", file=sys.stderr)
            continue
        lines = next((each for each, types in renames.items() if model_type in types), ())
        if any(re.match(r"\^\w", line) and line not in lines for line in own):
            renames[own].add(name)  # which other classes of this type have not
            continue
        renames[lines].discard(model_type)
        renames[lines + tuple(line for line in own if line not in lines and not line.startswith(("^", "in ")))].add(
            model_type
        )
    inner = backbones(set().union(*renames.values()), passed)
    for lines, types in inner["own"].items():
        renames[lines] |= types
    keep(
        {"RENAMES": renames, "CONVERTED": others, "DIVIDED": divided, "PASSED": passed},
        {"STACKED": stacked, "TRANSPOSED": transposed, "EITHER": turned},
    )
    text = (
        HEAD.format(version=transformers.__version__)
        + block(
            "RENAMES",
            renames,
            "Pattern and replacement, to be applied one after the other: of a type, or of a class whose own these are.",
        )
        + block("CONVERTED", others, "Patterns of tensors that the model has in other pieces or in another order.")
    )
    text += block(
        "DIVIDED",
        divided,
        "Pattern of a tensor, and what the model has equal numbers of its rows as, from the first to the last.",
    )
    text += words(
        "STACKED", stacked, "Model types whose experts are stored each by itself, and are one parameter in the model."
    )
    text += words("TRANSPOSED", transposed, "Model types whose fused experts are (in, out), which PEFT knows.")
    text += words(
        "EITHER",
        turned,
        "Model types whose fused experts are stored as (in, out) or (out, in), and are the latter in the model.",
    )
    families = {
        leaves: {each for each, of in _MODEL_TO_CONVERSION_PATTERN.items() if of == family}
        for leaves, family in (("w1 w2 w3 gate", "mixtral"), ("gate_proj up_proj down_proj gate", "qwen2_moe"))
    }
    text += block(
        "TAKEN",
        {(leaves,): types for leaves, types in families.items()},
        "Last names of modules that PEFT takes for experts, wherever they are.",
    )
    text += block(
        "PASSED",
        passed,
        "Ends of the names of Linear layers whose weight the model reads without calling them; with the type of a backbone, "
        "of layers in that for which PEFT, when it loads LoRA, looks under names that they do not have.",
    )
    text += block("PLACES", inner["where"], "Model types whose config chooses a backbone, and where they have it.")
    text += block(
        "BACKBONES",
        inner["within"],
        "Types of backbones, and how their tensors are renamed: the part of the backbone, pattern and replacement.",
    )
    text += block(
        "TOWERS",
        towers(),
        "What files put before the names of a class that is a part of the model of its type → these classes.",
    )
    TABLE.write_text(text.rstrip("\n") + "\n")


def keep(blocks: Mapping[str, dict[tuple[str, ...], set[str]]], sets: Mapping[str, set[str]]) -> None:
    """Add what the table that stands says of the types and classes that could not be built."""
    from adapterops.formats.models.loading import table

    standing = {each for name in (*blocks, *sets) for each in table(name) if "/" not in each}
    lost = sorted(standing - set().union(*blocks["RENAMES"].values()))
    if lost:
        print(f"not built, and kept as they are in the table: {', '.join(lost)}", file=sys.stderr)
    for each in lost:
        for name, found in blocks.items():
            found[table(name).get(each, ())].add(each)
        for name, words in sets.items():
            words |= {each} & set(table(name))


def block(name: str, found: dict[tuple[str, ...], set[str]], what: str) -> str:
    """A table, as `adapterops.tables` reads it."""
    lines = [f"[{name}] {what}"]
    for rules, types in sorted(found.items(), key=lambda item: sorted(item[1])):
        lines += [*wrapped(types), *(f"    {rule}" for rule in rules)] if types and rules else []
    return "\n".join([*lines, "", ""])


def words(name: str, found: set[str], what: str) -> str:
    """A table of words with nothing below them."""
    return "\n".join([f"[{name}] {what}", *wrapped(found), "", ""])


def wrapped(found: set[str]) -> list[str]:
    return textwrap.wrap(" ".join(sorted(found)), 118, break_on_hyphens=False)


if __name__ == "__main__":
    main()
