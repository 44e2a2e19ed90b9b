"""Writes adapterops/verification/tables/settings.txt: what a config of transformers stands for where it is silent.

`python benchmarks/settings.py`: the defaults of every class. What a class derives from other fields has no default.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent.parent / "adapterops" / "verification" / "tables" / "settings.txt"
HEAD = """What configs of transformers {version} stand for where they are silent, by model type: tables, and nothing else.

Written by benchmarks/settings.py. Lines of pairs, then `of` and the types that they hold for; the rest of each is indented.

"""
LEFT_OUT = re.compile(
    r"drop|init|_loss|^loss|aux|^output_|^return_|_token_id|_token_index|^mask_|^ctc_|^_|version|^use_cache$|dtype"
    r"|^architectures$|^model_type$|^id2label$|^label2id$|^chunk_size_feed_forward$|^pretraining_tp$|_config$"
    r"|^(vocab|hidden|intermediate|patch|image)_size$|^max_position_embeddings$|_(dims?|rank|channels|layers)$"
)
"""What no output depends on, what differs from model to model, and what has to fit the shapes of tensors."""

UNKNOWN = "?"


def classes() -> Iterator[tuple[str, Any]]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

    for name in sorted(CONFIG_MAPPING_NAMES):
        try:
            CONFIG_MAPPING[name]()
        except Exception as error:  # one that has no defaults; it is named
            print(f"{name} is left out: {str(error)[:80]}", file=sys.stderr)
            continue
        yield name, CONFIG_MAPPING[name]


def derived(cls: Any, plain: dict[str, Any]) -> set[str]:
    """The fields that change with others."""
    found = set()
    for source, value in plain.items():
        if isinstance(value, int):
            try:
                other = cls(**{source: not value if isinstance(value, bool) else 2 * value}).to_dict()
            except Exception:  # one that does not go with the others
                continue
            found |= {key for key, each in plain.items() if key != source and other.get(key) != each}
    return found


def defaults(cls: Any) -> dict[str, str]:
    """Field → its default as JSON; `?` where it depends on others, or is a list."""
    plain = cls().to_dict()
    left = derived(cls, plain) - {"rope_parameters"}
    left |= {key for key, value in plain.items() if key != "rope_parameters" and isinstance(value, list | dict)}
    return {key: UNKNOWN if key in left else written(value) for key, value in plain.items() if not LEFT_OUT.search(key)}


def written(value: Any) -> str:
    """A value as JSON that is one word."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).replace(" ", "\\u0020")


def wrapped(words: Iterable[str]) -> list[str]:
    return textwrap.wrap(" ".join(words), 119, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def block(pairs: Mapping[str, set[str]]) -> list[str]:
    """Pair → the types that it holds for, as lines: the pairs of the same types together."""
    of_types: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for pair, types in sorted(pairs.items()):
        of_types[tuple(sorted(types))].append(pair)
    return [line for types, those in sorted(of_types.items()) for line in wrapped([*those, "of", *types])]


def table(values: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """Field → value → the types that have it, as lines: what most types have, of `*`, and what the others have."""
    usual: dict[str, set[str]] = {}
    others: dict[str, set[str]] = {}
    for key, types in values.items():
        if types.keys() == {UNKNOWN}:
            continue
        most = max(types, key=lambda value: len(types[value]))
        most = UNKNOWN if key == "rope_parameters" else most  # which a model without such positions has not
        usual[f"{key}={most}"] = {"*"}
        others |= {f"{key}={value}": set(those) for value, those in types.items() if value != most}
    return block(usual) + block(others)


def main() -> None:
    import transformers

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    values: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    names: dict[str, set[str]] = defaultdict(set)
    known = []
    for name, cls in classes():
        known.append(name)
        for key, value in defaults(cls).items():
            values[key][value].append(name)
        for other, key in getattr(cls, "attribute_map", {}).items():
            if not LEFT_OUT.search(key):
                names[f"{other}={key}"].add(name)
    lines = ["[DEFAULTS] Fields and their values; `*` are all types that no other line names.", *table(values), ""]
    lines += ["[OTHER_NAMES] Another name of a field, and the name.", *block(names), ""]
    lines += ["[TYPES] All types of models that are known here.", *wrapped(known)]
    TABLE.write_text(HEAD.format(version=transformers.__version__) + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
