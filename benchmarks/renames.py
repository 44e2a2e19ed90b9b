"""Writes adapterops/formats/models/renames.py: how transformers renames the tensors of a file when it loads a model.

`python benchmarks/renames.py`: the conversions of each class of the sweep, as the installed transformers has them.
"""

from __future__ import annotations

import logging
import re
import sys
import textwrap
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import architectures

TABLE = Path(__file__).parent.parent / "adapterops" / "formats" / "models" / "renames.py"
HEAD = '''"""How transformers {version} renames the tensors of a file when it loads a model, by model type: tables, and nothing else.

Written by benchmarks/renames.py. Lines of types, each followed by what holds for these, indented.
"""

from __future__ import annotations

'''


def named(transform: Any) -> list[str]:
    """A renaming as a line: the part of the model that it is for, if it is for one, pattern and replacement."""
    found = []
    for source, target in zip(transform.source_patterns, transform.target_patterns, strict=False):
        pattern = source.replace("*.", r".*\.")
        if re.search(r"[a-zA-Z0-9]$", pattern):
            pattern += r"(?!\w)"
        scope = ""
        if transform.scope_prefix is not None:
            base = "model" if transform.base_model_prefix == "model" else ""
            parts = (base, transform.scope_prefix)
            scope = "in " + "".join(f"{part}." for part in parts if part) + ": "
        target = target.replace("\\.", ".")
        found.append(f"{scope}{pattern} => {target}")
    return found


def conversions(name: str) -> dict[str, Any]:
    """Of one class: renamings, what becomes other tensors, and facts about its experts."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    renames: list[str] = []
    model = architectures.build(name)
    others = []
    transposed = any(getattr(each, "is_transposed", False) for each in model.modules())
    stacked = turned = False
    for transform in get_model_conversion_mapping(model, add_legacy=False):
        kinds = [type(each).__name__ for each in getattr(transform, "operations", [])]
        if type(transform).__name__ in ("WeightRenaming", "PrefixChange"):
            renames += named(transform)
        elif "MergeModulelist" in kinds:
            stacked = True
        elif kinds == ["Transpose"]:
            turned = True
        else:
            others += [each.replace("*.", r".*\.") for each in transform.source_patterns]
    return {
        "renames": tuple(dict.fromkeys(renames)),
        "others": tuple(dict.fromkeys(others)),
        "stacked": stacked,
        "transposed": transposed,
        "turned": turned,
        "passed": tuple(sorted({".".join(each.split(".")[-2:]) for each in architectures.passed(model)})),
    }


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
        passed[found["passed"]].add(model_type)
        stacked |= {model_type} if found["stacked"] else set()
        transposed |= {model_type} if found["transposed"] else set()
        turned |= {model_type} if found["turned"] else set()
    text = (
        HEAD.format(version=transformers.__version__)
        + block("RENAMES", renames, "Pattern and replacement, to be applied one after the other.")
        + block("CONVERTED", others, "Patterns of tensors that the model has in other pieces or in another order.")
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
        "PASSED", passed, "Ends of the names of Linear layers whose weight the model reads without calling them."
    )
    text += block(
        "TOWERS",
        towers(),
        "What files put before the names of a class that is a part of the model of its type → these classes.",
    )
    TABLE.write_text(text)


def block(name: str, found: dict[tuple[str, ...], set[str]], what: str) -> str:
    lines = [f'{name} = r"""']
    for rules, types in sorted(found.items(), key=lambda item: sorted(item[1])):
        lines += wrapped(types) if rules else []
        lines += [f"    {rule}" for rule in rules]
    return "\n".join([*lines, '"""', f'"""{what}"""', "", ""])


def words(name: str, found: set[str], what: str) -> str:
    return f'{name} = """\n' + "\n".join(wrapped(found)) + f'\n"""\n"""{what}"""\n\n'


def wrapped(found: set[str]) -> list[str]:
    return textwrap.wrap(" ".join(sorted(found)), 118, break_on_hyphens=False)


if __name__ == "__main__":
    main()
