"""The tables of README and comparison.md, from the last run of the benchmarks: `python docs/pages.py` puts them there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks/results/cpu.json"
MARKED = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)

ROWS = {
    "linear merge, 168 modules: PEFT cat / ours, whole process": ("sum of two adapters, 168 modules", "PEFT"),
    "truncate 64 -> 8, 224 modules: kohya's route / ours, whole process": ("rank 64 to 8, 224 modules of 8 B", "kohya"),
    "fuse into 0.5B bf16: PEFT / ours, whole process, both synced": ("an adapter into a model of 0.5 B", "PEFT"),
    "fuse A B --ties: mergekit / ours, whole process": ("TIES of two adapters into it", "mergekit"),
    "quantize a checkpoint of 1 GB: transformers / ours, whole process": ("1 GB into NF4", "transformers"),
}
"""What a figure measures: the work, and what else does it. Both are whole processes, with their imports."""


def figures() -> str:
    """Seconds and peak memory, medians, ours and the others'."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = {each["what"]: each for part in results.values() for each in part["figures"]}
    lines = ["| work | tool | its time, peak memory | adapterops | faster |", "|---|---|---|---|---|"]
    for what, (work, peer) in ROWS.items():
        figure = found[what]
        lines.append(
            f"| {work} | {peer} | {_cost(figure['peer'])} | {_cost(figure['ours'])} | {figure['value']:.0f} times |"
        )
    machine = results["models"]["machine"]
    names = ("peft", "mergekit", "transformers", "torch")
    versions = ", ".join(f"{name} {machine[name]}" for name in names if machine[name])
    return "\n".join([*lines, "", f"{machine['cores']} cores, no GPU; {versions}.", ""])


def with_figures(page: str) -> str:
    """A page with the tables of now between its marks."""
    return MARKED.sub(lambda _: figures(), page)


def _cost(runs: list[dict[str, Any]]) -> str:
    seconds, megabytes = (median(run[name] for run in runs) for name in ("seconds", "mb"))
    return f"{_digits(seconds)} s, {_digits(megabytes)} MB"


def _digits(number: float) -> str:
    """Two digits, or all before the point.

    >>> _digits(0.3178), _digits(2.83), _digits(2081.9)
    ('0.32', '2.8', '2082')
    """
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"
