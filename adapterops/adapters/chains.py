"""Adapters that were trained one after the other: the second on a model that the first was fused into.

Of a base M = W + ΔW₁ and an adapter ΔW₂ trained on it, ΔW₁ + ΔW₂ is the adapter of W that gives the same model. So a sum
that holds all that a base was made of is one of adapters of the first base.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapterops.formats.peft.config import AdapterConfig
from adapterops.provenance.history import Source, Step, sources
from adapterops.provenance.reader import read_manifest
from adapterops.storage.checksums import BLAKE3

Terms = Mapping[str, float]
"""A weighted sum of adapters: the BLAKE3 of the tensors of each, and its weight."""


def on_first_base(configs: Sequence[AdapterConfig], step: Step | Source) -> list[AdapterConfig]:
    """The configs, without the base of each adapter that was trained on a model which `step` makes from an earlier one:
    the others say what that is.

    Raises:
        InputError: a manifest of such a model is damaged.

    Cost: the manifests are read, and where there is one the adapters' files are hashed.
    """
    made = [fused_into(config.base_model) for config in configs]
    if not any(made):
        return list(configs)
    read = sources(step)
    total = _terms(step.as_json(read), lambda index: read[index].digest()) if isinstance(step, Step) else None
    return [
        replace(config, base_model=None, revision=None) if terms and total and _holds(total, terms) else config
        for config, terms in zip(configs, made, strict=True)
    ]


def fused_into(model: str | None) -> Terms | None:
    """The adapters that a model was made of, by its manifest and by those of its bases; None where it has none that
    says so, or where they are not a plain weighted sum.
    """
    folder = Path(model) if model else None
    found: defaultdict[str, float] = defaultdict(float)
    seen: set[str] = set()
    while folder is not None and folder.is_dir() and os.path.realpath(folder) not in seen:
        seen.add(os.path.realpath(folder))
        manifest = read_manifest(folder)
        operation = manifest["operation"] if manifest else {}
        if manifest is None or operation.get("operation") != "fuse" or not operation.get("inputs"):
            break
        terms = _terms(operation["inputs"][-1], list(map(_hash, manifest["inputs"])).__getitem__)
        if terms is None:
            return None
        _add(found, terms)
        stated = manifest.get("request", {}).get("base", {})
        folder = folder / stated["path"] if isinstance(stated, dict) and isinstance(stated.get("path"), str) else None
    return found or None


def _holds(total: Terms, terms: Terms) -> bool:
    return all(total.get(each) == weight for each, weight in terms.items())


def _hash(source: Mapping[str, Any]) -> str | None:
    """What `Source.digest` says of an adapter of one file."""
    tensors = [each for name, each in source.get("files", {}).items() if not name.endswith(".json")]
    return tensors[0].get(BLAKE3) if len(tensors) == 1 else None


def _terms(tree: Mapping[str, Any], hash_of: Callable[[int], str | None]) -> Terms | None:
    """The weighted sum that a tree of operations stands for; None where it is none."""
    if "input" in tree:
        name = hash_of(tree["input"])
        return None if name is None else {name: 1.0}
    inner = [_terms(each, hash_of) for each in tree.get("inputs", ())]
    weights = _weights(tree, len(inner))
    if weights is None or not inner:
        return None
    total: defaultdict[str, float] = defaultdict(float)
    for terms, weight in zip(inner, weights, strict=True):
        if terms is None:
            return None
        _add(total, terms, weight)
    return total


def _add(total: defaultdict[str, float], terms: Terms, weight: float = 1.0) -> None:
    for each, of in terms.items():
        total[each] += weight * of


def _weights(tree: Mapping[str, Any], count: int) -> Sequence[float] | None:
    """What a step of a tree multiplies its inputs by, where it adds them."""
    match tree:
        case {"operation": "add"}:
            return [1.0] * count
        case {"operation": "scale", "by": float(factor)}:
            return [factor]
        case {
            "operation": "merge",
            "method": "linear" | "cat",
            "space": "delta",
            "scale": "sum",
            "weights": list(given),
        }:
            known = len(given) == count and all(isinstance(each, int | float) for each in given)
            return given if known else None
    return None
