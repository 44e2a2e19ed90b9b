"""The tables of README, comparison.md and merging.md, from the last run of the benchmarks: `python docs/pages.py` puts them
there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

STORED = Path(__file__).parents[1] / "benchmarks/results"
RESULTS = STORED / "cpu.json"
MARKED = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)
QUALITY = re.compile(r"(?<=<!-- quality -->\n).*?(?=<!-- end of quality -->)", re.DOTALL)
COLLECTIONS = re.compile(r"(?<=<!-- collections -->\n).*?(?=<!-- end of collections -->)", re.DOTALL)
ROUNDING = re.compile(r"(?<=<!-- rounding -->\n).*?(?=<!-- end of rounding -->)", re.DOTALL)
GGUF = re.compile(r"(?<=<!-- gguf -->\n).*?(?=<!-- end of gguf -->)", re.DOTALL)

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
    for mark, table in (
        (QUALITY, quality),
        (MARKED, figures),
        (ROUNDING, rounding),
        (COLLECTIONS, collections),
        (GGUF, gguf),
    ):
        if found := mark.search(page):
            page = page[: found.start()] + table() + page[found.end() :]
    return page


def rounding() -> str:
    """How far models are from base and live adapter, by way of rounding and by model."""
    results = json.loads((STORED / "rounding.json").read_text(encoding="utf-8"))
    models = list(results)
    lines = [f"| way | {' | '.join(models)} |", f"|---|{'---|' * len(models)}"]
    first = {way: each for rows in results.values() for way, each in rows[0].items()}
    for way in [way for way, each in first.items() if isinstance(each, dict) and "distance" in each]:
        cells = []
        for rows in results.values():
            if way not in rows[0]:
                cells.append("")
                continue
            found = [row[way]["distance"] for row in rows]
            nearer = sum(row[way]["distance"] < row["stochastic"]["distance"] for row in rows)
            beside = "" if way == "stochastic" else f", nearer in {nearer} of {len(rows)}"
            cells.append(f"{fmean(found):.4f} ± {stdev(found) / len(found) ** 0.5:.4f}{beside}")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_losses(results), ""])


JUDGED = (
    "nearest",
    "stochastic",
    "once from 16 bits",
    "calibrated, inputs of the task",
    "calibrated, inputs of other tasks",
    "calibrated, inputs without data",
)
"""Ways whose losses are shown."""


def _losses(results: dict[str, Any]) -> list[str]:
    """What merging does to the loss of each training, and for how many that is noise."""
    head = " | ".join(f"{model}: more loss, mean; largest | within 2 errors | interval with 0" for model in results)
    lines = [f"| way | {head} |", f"|---|{'---|---|---|' * len(results)}"]
    for way in JUDGED:
        cells = []
        for rows in results.values():
            more = [row[way]["loss"] - row["unmerged"]["loss"] for row in rows]
            noise = sum(abs(each) <= 2 * row["unmerged"]["error"] for each, row in zip(more, rows, strict=True))
            paired = sum(row[way]["more"][0] <= 0 <= row[way]["more"][1] for row in rows)
            cells += [f"{fmean(more):+.4f}; {max(map(abs, more)):.4f}"]
            cells += [f"{each} of {len(rows)}" for each in (noise, paired)]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


def gguf() -> str:
    """What becomes of a GGUF model with a LoRA, by the strength of the LoRA and the way that it goes in."""
    results = json.loads((STORED / "gguf.json").read_text(encoding="utf-8"))
    heads = [f"{name} ({row['update']:.1%} of the weights): loss | KL" for name, row in results.items()]
    lines = [f"| way | {' | '.join(heads)} |", f"|---|{'---|---|' * len(heads)}"]
    for way in next(iter(results.values()))["figures"]:
        cells = []
        for row in results.values():
            each = row["figures"].get(way)
            cells += [f"{each['loss']:.3f}", f"{each['kl']:.4f} ± {each['error']:.4f}"] if each else ["", ""]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def collections() -> str:
    """What collections take by what their adapters share, and how long one takes to open."""
    results = json.loads((STORED / "collections.json").read_text(encoding="utf-8"))
    lines = ["| what they share | size | by itself | largest error of a module |", "|---|---|---|---|"]
    for row in results["many"]:
        whole = row["in 16 bits"]
        lines.append(
            f"| {row['what']} | {row['bytes'] / whole:.1%} | {row['alone'] / whole:.1%} | {100 * row['module']:.2f} % |"
        )
    one = results["expanded"][0]
    opened, saved = one["opened, all factors"], one["a folder of PEFT"]
    lines += [
        "",
        f"One adapter of {one['modules']} modules, {one['parameters'] / 1e6:.1f} M parameters: {opened[0]:.0f} ms until all "
        f"its factors are there ({opened[1]:.0f} ms of a processor), {saved[0]:.0f} ms until it is a folder that PEFT loads.",
    ]
    return "\n".join([*lines, ""])


def quality() -> str:
    """How right merges are: of each suite a table, and comparisons by seed."""
    results = json.loads((STORED / "quality.json").read_text(encoding="utf-8"))
    return "".join(f"{_table(name, runs)}\n{_comparisons(runs)}\n\n" for name, runs in results.items())


def _table(suite: str, runs: list[dict[str, Any]]) -> str:
    def shown(method: str, scale: str, which: int = 0) -> str:
        return _mean([run[method][scale][which] for run in runs]) if scale in runs[0][method] else "-"

    single, base = (100 * fmean(run[key] for run in runs) for key in ("single", "base"))
    rows = [
        f"| `{method}` | {' | '.join(shown(method, scale) for scale in SCALES)} | {shown(method, 'auto', 1)} |"
        for method, each in runs[0].items()
        if isinstance(each, dict)
    ]
    head = f"**{suite}**, {len(runs)} seeds. Single adapters are {single:.1f} % right; the base alone has {base:.1f} % of that."
    columns = "| method | `auto` | `sum` | `mean` | tuned | worst task, `auto` |\n|---|---|---|---|---|---|"
    return "\n".join([head, "", columns, *rows, ""])


INFORMED = ("regmean",)
"""Methods that know inputs of the tasks, with which no other is compared."""

SCALES = ("auto", "sum", "mean", "tuned")


def _comparisons(runs: list[dict[str, Any]]) -> str:
    """By seed, in points."""

    def best(run: dict[str, Any], methods: Sequence[str], *scales: str) -> float:
        return max(run[method][scale][0] for method in methods for scale in scales)

    methods = [method for method, each in runs[0].items() if isinstance(each, dict) and method not in INFORMED]
    tuned = max(methods, key=lambda method: fmean(run[method]["tuned"][0] for run in runs))
    peft = ("PEFT linear", "PEFT ties")
    others = {
        "the better of sum and mean": [best(run, ["linear"], "sum", "mean") for run in runs],
        "the better of PEFT's, weights 1": [best(run, peft, "sum") for run in runs],
        "the better of PEFT's, weights 1 or 1 / n": [best(run, peft, "sum", "mean") for run in runs],
        f"the best of data-free methods, tuned: `{tuned}`": [run[tuned]["tuned"][0] for run in runs],
    }
    lines = [
        "| less, in points | the default: `even`, `auto` | `linear`, `auto` | `tsv`, `auto` |",
        "|---|---|---|---|",
    ]
    for what, theirs in others.items():
        cells = []
        for method in ("even", "linear", "tsv"):
            less = [run[method]["auto"][0] - other for run, other in zip(runs, theirs, strict=True)]
            cells.append(f"{_mean(less)}, above 0 in {sum(each > 0 for each in less)} of {len(less)}")
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


SHOWN = (
    ("even", "auto"), ("linear", "auto"), ("tsv", "auto"), ("linear", "sum"), ("linear", "mean"), ("PEFT linear", "sum"),
    ("PEFT ties", "sum"),
)  # fmt: skip
"""The merges that the picture has."""


def picture() -> str:
    """The same as an SVG: a row for each suite and merge, a point at its mean, a line of two standard errors each way."""
    results = json.loads((STORED / "quality.json").read_text(encoding="utf-8"))
    parts: list[str] = []
    y = 0
    for suite, runs in results.items():
        y += 28
        parts.append(f'<text x="8" y="{y + 4}" font-weight="bold">{suite}</text>')
        for method, scale in SHOWN:
            y += 18
            values = [100 * run[method][scale][0] for run in runs]
            middle, wide = fmean(values), 2 * stdev(values) / len(values) ** 0.5
            left, right = (f"{_across(each):.1f}" for each in (middle - wide, middle + wide))
            colour = "#d1480b" if (method, scale) == SHOWN[0] else "#3465a4"
            parts.append(f'<text x="20" y="{y + 4}">{method}, {scale}</text>')
            parts.append(f'<path d="M{left} {y}H{right}" stroke="{colour}" stroke-width="2"/>')
            parts.append(f'<circle cx="{_across(middle):.1f}" cy="{y}" r="4" fill="{colour}"/>')
    for tick in range(0, 101, 20):
        x = _across(tick)
        parts.append(f'<path d="M{x} 8V{y + 12}" stroke="#bbb"/>')
        parts.append(f'<text x="{x}" y="{y + 28}" text-anchor="middle">{tick} %</text>')
    body = "\n".join(parts)
    style = 'font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 {y + 36}" {style}>\n{body}\n</svg>\n'


def _across(value: float) -> float:
    """Where a percentage is."""
    return 170 + 4.5 * value


def _mean(values: list[float]) -> str:
    """In percent, with its standard error.

    >>> _mean([0.7, 0.72])
    '71.0 ± 1.0'
    """
    return f"{100 * fmean(values):.1f} ± {100 * stdev(values) / len(values) ** 0.5:.1f}"


def _cost(runs: list[dict[str, Any]]) -> str:
    seconds, megabytes = (median(run[name] for run in runs) for name in ("seconds", "mb"))
    return f"{_digits(seconds)} s, {_digits(megabytes)} MB"


def _digits(number: float) -> str:
    """Two digits, or all before the point.

    >>> _digits(0.3178), _digits(2.83), _digits(2081.9)
    ('0.32', '2.8', '2082')
    """
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"
