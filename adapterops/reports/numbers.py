"""Everything that was measured, as JSON holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from adapterops.operations.comparing.analysis import ENERGY, kept_energy, rank_of
from adapterops.operations.comparing.comparison import Comparison
from adapterops.operations.comparing.pairs import Pair
from adapterops.operations.comparing.sizes import cuts, sizes
from adapterops.reports.findings import Finding, shares
from adapterops.reports.summary import Summary


def numbers(comparison: Comparison, short: Summary, findings: Sequence[Finding]) -> dict[str, Any]:
    """The summary, the findings, and per adapter, pair and module what they follow from."""
    found = sizes(comparison)
    joint = comparison.sum.values()
    return {
        "summary": {"sentences": list(short.sentences), "command": list(short.command)},
        "findings": [{**asdict(finding), "adapters": list(finding.adapters)} for finding in findings],
        "adapters": [_adapter(comparison, index) for index in range(len(comparison.profiles))],
        "pairs": [_pair(comparison, pair) for pair in comparison.pairs],
        "sum": {
            "rank_of_99": rank_of(joint, ENERGY),
            "energy_kept": kept_energy(joint, comparison.rank),
            "at_rank": comparison.rank,
            "cuts": [asdict(each) for each in cuts(comparison.sum_layout, comparison.sum)],
            "modules": {
                module: {"norm": each.norm, "values": list(each.values)} for module, each in comparison.sum.items()
            },
        }
        if comparison.pairs
        else None,
        "memory": {**asdict(found), "dense_16bit": found.dense_16bit, "base": (comparison.base is not None)},
    }


def _adapter(comparison: Comparison, index: int) -> dict[str, Any]:
    profile = comparison.profiles[index]
    return {
        "name": profile.name,
        "base_model": profile.base_model,
        "rank": profile.rank,
        "norm": profile.norm,
        "relative": comparison.relative(index),
        "effective_rank": profile.effective_rank,
        "bracket": list(profile.bracket),
        "full_tensors": profile.full,
        "kinds": shares(comparison, index, comparison.kinds.__getitem__),
        "cuts": [asdict(each) for each in cuts(profile.layout, profile.spectra)],
        "modules": {
            module: {
                "shape": list(profile.layout[module].shape),
                "rank": profile.layout[module].rank,
                "dtype": profile.layout[module].dtype,
                "norm": each.norm,
                "weight": comparison.weights.get(module),
                "relative": comparison.relative(index, [module]),
                "effective_rank": each.effective_rank,
                "rank_of_99": rank_of([each], ENERGY),
                "values": list(each.values),
            }
            for module, each in profile.spectra.items()
        },
    }


def _pair(comparison: Comparison, pair: Pair) -> dict[str, Any]:
    return {
        "adapters": [pair.first, pair.second],
        "names": [comparison.profiles[index].name for index in (pair.first, pair.second)],
        "cosine": pair.cosine,
        "overlap": {"columns": pair.columns, "rows": pair.rows},
        "overlap_by_chance": dict(zip(("columns", "rows"), pair.chance, strict=True)) if pair.chance else None,
        "sign_conflict": pair.conflict[0] if pair.conflict else None,
        "sign_conflict_error": pair.conflict[1] if pair.conflict else None,
        "cosine_of_A": pair.factors[0] if pair.factors else None,
        "cosine_of_B": pair.factors[1] if pair.factors else None,
        "shared_start": pair.shared_start,
        "modules": {module: each.as_json() for module, each in pair.modules.items()},
    }
