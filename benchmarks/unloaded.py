"""Writes adapterops/verification/tables/unloaded.txt: which tensors of files transformers leaves out when it loads a model.

`python benchmarks/unloaded.py`: what each class states, of all classes of a type under the type.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent.parent / "adapterops" / "verification" / "tables" / "unloaded.txt"
HEAD = """Which tensors of files transformers {version} leaves out when it loads a model: tables, and nothing else.

Written by benchmarks/unloaded.py. Lines of types and classes, each followed by what holds for these, indented.

[UNLOADED] Patterns that are looked for in the name of a tensor.
"""


def classes() -> Iterator[Any]:
    import transformers.models
    from transformers import PreTrainedModel

    for path in sorted(Path(transformers.models.__path__[0]).glob("*/modeling_*.py")):
        try:
            module = importlib.import_module(f"transformers.models.{path.parent.name}.{path.stem}")
        except Exception as error:  # of one that needs another library; it is named
            print(f"{path.stem} is left out: {str(error)[:80]}", file=sys.stderr)
            continue
        for name, each in vars(module).items():
            own = inspect.isclass(each) and issubclass(each, PreTrainedModel) and each.__module__ == module.__name__
            if own and each.config_class is not None and not name.endswith("PreTrainedModel"):
                yield each


def pattern(stated: str) -> str:
    """A pattern as it is meant: one without signs of its own is a part of a name, from dot to dot."""
    return stated if re.search(r"[\\^$*(\[|]", stated) else rf"(?:^|\.){re.escape(stated)}(?:\.|$)"


def main() -> None:
    import transformers

    warnings.simplefilter("ignore")
    found: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for each in classes():
        stated = set(map(pattern, each._keys_to_ignore_on_load_unexpected or ()))
        found[each.config_class.model_type][each.__name__] = stated
    rules: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for model_type, of in found.items():
        common = set.intersection(*of.values())
        rules[tuple(sorted(common))].add(model_type)
        for name, stated in of.items():
            rules[tuple(sorted(stated - common))].add(name)
    lines = []
    for patterns, words in sorted(rules.items(), key=lambda item: sorted(item[1])):
        text = textwrap.wrap(" ".join(sorted(words)), 118, break_on_hyphens=False)
        lines += [*text, *(f"    {each}" for each in patterns)] if patterns else []
    TABLE.write_text(HEAD.format(version=transformers.__version__) + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
