"""Writes adapterops/verification/saved_settings.py: what a config of transformers stands for where it is silent.

`python benchmarks/settings.py`: the defaults of every class. What a class derives from other fields has no default.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent.parent / "adapterops" / "verification" / "saved_settings.py"
HEAD = '''"""What configs of transformers {version} stand for where they are silent, by model type: tables, and nothing else.

Written by benchmarks/settings.py. Of a field the default of most types, and below it others with the types that have them.
"""

from __future__ import annotations

'''
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
        except Exception:  # one that has no defaults
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
    return {
        key: UNKNOWN if key in left else json.dumps(value, sort_keys=True)
        for key, value in plain.items()
        if not LEFT_OUT.search(key)
    }


def wrapped(words: list[str], indent: str) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(indent + line) + 1 + len(word) > 119:
            yield indent + line
            line = ""
        line = f"{line} {word}".strip()
    if line:
        yield indent + line


def table(values: dict[str, dict[str, list[str]]]) -> Iterator[str]:
    for key, types in sorted(values.items()):
        usual = Counter({value: len(those) for value, those in types.items()}).most_common(1)[0][0]
        usual = UNKNOWN if key == "rope_parameters" else usual  # which a model without such positions has not
        if types.keys() == {UNKNOWN}:
            continue
        yield f"{key} = {usual}"
        for value, those in sorted(types.items()):
            if value != usual:
                first, *rest = wrapped([*value.split(" "), "of", *those], "    ")
                yield from (first[2:], *rest)


def main() -> None:
    import transformers

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    values: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    names: dict[str, list[str]] = defaultdict(list)
    known = []
    for name, cls in classes():
        known.append(name)
        for key, value in defaults(cls).items():
            values[key][value].append(name)
        for other, key in getattr(cls, "attribute_map", {}).items():
            if not LEFT_OUT.search(key):
                names[f"{other} = {key}"].append(name)
    lines = [HEAD.format(version=transformers.__version__), 'DEFAULTS = r"""', *table(values), '"""', ""]
    lines += ['OTHER_NAMES = r"""']
    for pair, those in sorted(names.items()):
        lines += [pair, *wrapped(those, "  ")]
    lines += ['"""', '"""Another name of a field = the name, and the types that take it."""', "", 'TYPES = r"""']
    lines += [*wrapped(known, ""), '"""', '"""All types of models that are known here."""']
    TABLE.write_text("\n".join(lines).replace("annotations\n\n\n", "annotations\n\n") + "\n")


if __name__ == "__main__":
    main()
