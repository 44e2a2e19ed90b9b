"""The config of what is made of several adapters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapterops.errors import IncompatibleError
from adapterops.formats.peft.config import AdapterConfig, Suffixes


def combine(
    configs: Sequence[AdapterConfig], names: Sequence[str], *, allow_base_mismatch: bool = False
) -> AdapterConfig:
    """What several adapters have in common.

    Raises:
        IncompatibleError: they were trained on different bases.
    """
    base = _agreed("base models", [config.base_model for config in configs], names, allow_base_mismatch)
    revision = _agreed("base revisions", [config.revision for config in configs], names, allow_base_mismatch)
    architecture = _agreed("architectures", [config.architecture for config in configs], names, allow_base_mismatch)
    fields = _common([config.fields for config in configs])
    return AdapterConfig(
        base,
        revision,
        _union([config.targets for config in configs]),
        fields,
        configs[0].saved,
        configs[0].biases,
        _suffixes([config.target_parameters for config in configs]),
        _experts(configs, names),
        _reversed(configs, names),
        frozenset().union(*(config.square for config in configs)),
        unannounced=tuple(sorted({tensor for config in configs for tensor in config.unannounced})),
        missing=tuple(sorted({name for config in configs for name in config.missing})),
        doubtful={name: other for config in configs for name, other in config.doubtful.items()},
        format=configs[0].format,
        embeddings=frozenset().union(*(config.embeddings for config in configs)),
        tokens={name: rows for config in configs for name, rows in config.tokens.items()},
        model=configs[0].model,
        settled=all(config.settled for config in configs),
        unnamed=tuple(sorted({module for config in configs for module in config.unnamed})),
        components=tuple(sorted({each for config in configs for each in config.components})),
        prefixed=any(config.prefixed for config in configs),
        metadata=_merged([config.metadata for config in configs], names),
        architecture=architecture,
    )


def _merged(found: Sequence[Mapping[str, str]], names: Sequence[str]) -> dict[str, str]:
    """What all headers say, and for those that follow modelspec what the result was merged from."""
    common, described = _common(found), any(name.startswith("modelspec.") for each in found for name in each)
    if len(found) > 1 and described:
        common["modelspec.merged_from"] = ", ".join(Path(name).stem for name in names)
    return common


def _common(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of them say."""
    first, *others = found
    return {key: value for key, value in first.items() if all(key in o and o[key] == value for o in others)}


def _union(targets: Sequence[Suffixes | str | None]) -> Suffixes | str | None:
    """What names the modules of all; one expression where any has one."""
    found: set[str] = set()
    for each in targets:
        if each is None:
            return None
        found.add(each if isinstance(each, str) else rf"(?:.*\.)?(?:{'|'.join(map(re.escape, each))})")
    if not any(isinstance(each, str) for each in targets):
        return _suffixes([each for each in targets if not isinstance(each, str)])
    return found.pop() if len(found) == 1 else "|".join(f"(?:{each})" for each in sorted(found))


def _suffixes(targets: Iterable[Suffixes | None]) -> Suffixes | None:
    found: set[str] = set()
    for each in targets:
        if each is None:
            return None
        found |= set(each)
    return tuple(sorted(found))


def _reversed(configs: Sequence[AdapterConfig], names: Sequence[str]) -> frozenset[str]:
    """Raises IncompatibleError where one adapter shows that a parameter is (in, out), and another does not show it."""
    found: frozenset[str] = frozenset().union(*(config.reversed for config in configs))
    for config, path in zip(configs, names, strict=True):
        for parameter in sorted(config.square & found):
            raise IncompatibleError(
                "is square, and another adapter shows that its model has it as (in, out)",
                path=path,
                tensor=parameter,
                hint="merge it with the PEFT it was trained with",
                code="E-ORIENTATION",
            )
    return found


def _experts(configs: Sequence[AdapterConfig], names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for config, name in zip(configs, names, strict=True):
        for parameter, count in config.experts.items():
            if found.setdefault(parameter, count) != count:
                raise IncompatibleError(
                    f"has {count} experts here, and {found[parameter]} in another adapter",
                    path=name,
                    tensor=parameter,
                    hint="give adapters that were trained on one base",
                )
    return found


def location(base: str) -> str:
    """What a base is compared by: a folder here by where it is, which adapters may have written in several ways."""
    return os.path.realpath(base) if os.path.isdir(base) else base


def _agreed(what: str, values: Iterable[str | None], names: Sequence[str], allow: bool) -> str | None:
    found = [(value, name) for value, name in zip(values, names, strict=True) if value is not None]
    known = dict({location(base): (base, name) for base, name in reversed(found)}.values())
    if len(known) > 1 and not allow:
        places = "; ".join(f"{name}: {value}" for value, name in known.items())
        raise IncompatibleError(
            f"the adapters have different {what}: {places}",
            hint="combine them anyway with --allow-base-mismatch; of adapters trained one after the other, each on the model "
            "that the one before was fused into, add all",
            code="E-BASE",
        )
    return next(iter(known)) if len(known) == 1 else None
