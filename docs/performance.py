"""performance.md and its figures, from the stored results of the benchmarks: `python docs/performance.py`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

DOCS = Path(__file__).parent
STORED = DOCS.parent / "benchmarks/results"
MEASURED = ("cpu.json", "gpu.json")
"""Results of `benchmarks/run.py`; those of models, and not of speed, are in files of other shapes."""

TITLES = {
    "adapters": "Adapters",
    "core": "Methods in the joint core",
    "models": "Models",
    "quantized": "Quantized models",
    "seeing": "Reports",
    "large": "Large models, Ray",
    "scaling": "Scaling",
    "memory": "Memory",
    "wire": "Through the wire",
    "disk": "Disks",
    "gpu": "On a GPU",
}

INTRODUCTION = """# Performance

Written by `make bench-report` from the results of `make bench`, which are in `benchmarks/results`. Every time is a median
of whole processes, their start and imports included; ours and the other program's run in turn, in one go. Memory is the
peak of the process. Where a figure is about a part of that (a kernel, two layers of 24), it says so, and is the ratio of
those parts. *At least* is what the machine needs for the same work: the bytes that have to be read and written,
at the speed of a copied file, or the multiplications, at that of large matrices, whichever takes longer. A *must* is
what the project asks of itself; what misses it is marked.

"""

FASTER = """![Times of adapterops, of other programs, and the least that the machine needs](performance.svg)

Circles: adapterops. Squares: the other program. Bars: at least. The axis is logarithmic.

"""

CURVES = "![Time over the size of the model, adapters, ranks and workers](scaling.svg)\n\nDashed: proportional to the first point.\n\n"

OURS, THEIRS, FLOOR = "#d1480b", "#3465a4", "#999"


def results() -> dict[str, dict[str, Any]]:
    """Part → machine, repeats and figures, of all files that are there."""
    found: dict[str, dict[str, Any]] = {}
    for name in MEASURED:
        if (STORED / name).exists():
            found |= json.loads((STORED / name).read_text(encoding="utf-8"))
    return {part: found[part] for part in TITLES if part in found}


def page(parts: dict[str, dict[str, Any]]) -> str:
    """A table for each part, with the machine that it ran on."""
    text = INTRODUCTION + (FASTER if any(_compared(parts)) else "")
    for part, found in parts.items():
        text += f"## {TITLES[part]}\n\n{_machine(found)}\n\n"
        text += CURVES if any("curve" in each for each in found["figures"]) else ""
        text += "| | figure | must | adapterops | other | at least |\n|---|---|---|---|---|---|\n"
        text += "".join(_row(each, found["machine"]) for each in found["figures"]) + "\n"
    return text.rstrip() + "\n"


def _machine(found: dict[str, Any]) -> str:
    about = found["machine"]
    names = ("python", "numpy", "torch", "peft", "transformers", "mergekit", "bitsandbytes", "ray")
    versions = ", ".join(f"{name} {about[name]}" for name in names if about.get(name))
    speeds = [f"{about[what]:.3g} {what}" for what in ("copying GB/s", "GFLOP/s") if what in about]
    speeds += [f"BLAKE3 {about['hashing GB/s']['blake3']:.2g} GB/s"] if "hashing GB/s" in about else []
    wide = ["with AVX-512" if about["avx512"] else "without AVX-512"] if "avx512" in about else []
    parts = [about.get("gpu", ""), about["cpu"], *wide, f"{about['cores']} cores", *speeds]
    hardware = ", ".join(filter(None, parts))
    times = f"median of {found['repeats']}" if found["repeats"] > 1 else "one run"
    return f"{hardware}; {versions}; {times}."


def _row(figure: dict[str, Any], about: dict[str, Any]) -> str:
    unit, target = figure["unit"], figure["target"]
    must = "" if target is None else f"{'≥' if figure['at_least'] else '≤'} {target:g} {unit}".strip()
    missed = "" if figure["holds"] else " **missed**"
    cells = (
        figure["what"],
        f"{_digits(figure['value'])} {unit}".strip(),
        must + missed,
        _cost(figure.get("ours")),
        _cost(figure.get("peer")),
        f"{_digits(least)} s" if (least := floor(figure, about)) else "",
    )
    return f"| {' | '.join(cells)} |\n"


def floor(figure: dict[str, Any], about: dict[str, Any]) -> float | None:
    """The seconds that the machine needs for the bytes and the multiplications of a figure; None where it states none."""
    if not figure.get("bytes") or "copying GB/s" not in about:
        return None
    moving = figure["bytes"] / 1e9 / about["copying GB/s"]
    return float(max(moving, figure.get("flops", 0) / 1e9 / about["GFLOP/s"]))


def _seconds(runs: Any) -> float | None:
    """The median of processes, or of times alone."""
    if not isinstance(runs, list) or not runs:
        return None
    return float(median(run["seconds"] if isinstance(run, dict) else run for run in runs))


def _cost(runs: Any) -> str:
    seconds = _seconds(runs)
    if seconds is None:
        return ""
    memory = [run["mb"] for run in runs if isinstance(run, dict) and "mb" in run]
    return f"{_digits(seconds)} s" + (f", {_digits(median(memory))} MB" if memory else "")


def _digits(number: float) -> str:
    """
    >>> _digits(0.03178), _digits(2.834), _digits(2081.9)
    ('0.0318', '2.83', '2082')
    """
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"


def _compared(parts: dict[str, dict[str, Any]]) -> Iterator[tuple[str, float, float, float | None]]:
    """What both did, all of it in the processes that were timed: its name, our seconds, the other's, and the least."""
    for found in parts.values():
        for each in found["figures"]:
            ours, theirs = _seconds(each.get("ours")), _seconds(each.get("peer"))
            if (
                ours
                and theirs
                and any(math.isclose(each["value"], r, rel_tol=0.01) for r in (ours / theirs, theirs / ours))
            ):
                yield each["what"].replace(", whole process", ""), ours, theirs, floor(each, found["machine"])


def drawing(parts: dict[str, dict[str, Any]]) -> str:
    """What both did, a line for each, over a logarithmic axis of seconds."""
    rows = list(_compared(parts))
    values = [value for _, *times in rows for value in times if value] or [1.0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def across(seconds: float) -> float:
        return 440 + 380 * (math.log10(seconds) - low) / max(1, high - low)

    height, drawn = 24 * len(rows) + 12, []
    for tick in range(low, high + 1):
        x = across(10.0**tick)
        drawn.append(f'<path d="M{x:.0f} 8V{height}" stroke="#ddd"/>')
        drawn.append(f'<text x="{x:.0f}" y="{height + 16}" text-anchor="middle">{10.0**tick:g} s</text>')
    for index, (name, ours, theirs, least) in enumerate(rows):
        y = 24 * index + 20
        drawn.append(f'<text x="8" y="{y + 4}">{_escaped(name)}</text>')
        if least:
            drawn.append(f'<path d="M{across(least):.1f} {y - 7}v14" stroke="{FLOOR}" stroke-width="3"/>')
        drawn.append(f'<rect x="{across(theirs) - 4:.1f}" y="{y - 4}" width="8" height="8" fill="{THEIRS}"/>')
        drawn.append(f'<circle cx="{across(ours):.1f}" cy="{y}" r="4.5" fill="{OURS}"/>')
    return _svg(drawn, 850, height + 28)


def curves(parts: dict[str, dict[str, Any]]) -> str:
    """A panel for each curve, both axes logarithmic."""
    found = [each for part in parts.values() for each in part["figures"] if "curve" in each]
    drawn = [line for index, each in enumerate(found) for line in _panel(each, 190 * index)]
    return _svg(drawn, max(190 * len(found), 190), 220)


def _panel(figure: dict[str, Any], left: int) -> list[str]:
    curve = figure["curve"]
    at, seconds = curve["at"], curve["seconds"]
    growing = seconds[-1] >= seconds[0]
    line = [seconds[0] * (each / at[0] if growing else at[0] / each) for each in at]
    x = _scaled(at, left + 44, left + 176)
    y = _scaled([*seconds, *line], 170, 40)
    ours, proportional = y[: len(seconds)], y[len(seconds) :]

    def path(heights: Sequence[float], style: str) -> str:
        points = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, heights, strict=True))
        return f'<path d="M{points}" fill="none" {style}/>'

    return [
        f'<text x="{left + 8}" y="16" font-weight="bold">{_escaped(figure["what"].partition(",")[0].partition(":")[0])}</text>',
        path(proportional, f'stroke="{FLOOR}" stroke-dasharray="4 3"'),
        path(ours, f'stroke="{OURS}" stroke-width="2"'),
        *(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{OURS}"/>'
            f'<text x="{a:.1f}" y="{b - 8:.1f}" text-anchor="middle" font-size="10">{_digits(s)} s</text>'
            f'<text x="{a:.1f}" y="190" text-anchor="middle">{each:.3g}</text>'
            for a, b, s, each in zip(x, ours, seconds, at, strict=True)
        ),
        f'<text x="{left + 110}" y="208" text-anchor="middle">{_escaped(curve["over"])}</text>',
    ]


def _scaled(values: Sequence[float], first: float, last: float) -> list[float]:
    """The logarithms of numbers, between two ends.

    >>> _scaled([1, 10, 100], 0, 8)
    [0.0, 4.0, 8.0]
    """
    logs = [math.log10(value) for value in values]
    low, wide = min(logs), max(logs) - min(logs) or 1.0
    return [first + (last - first) * (each - low) / wide for each in logs]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _svg(drawn: Sequence[str], width: int, height: int) -> str:
    style = 'font-family="sans-serif" font-size="11"'
    body = "\n".join(drawn)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {style}>\n{body}\n</svg>\n'


def written() -> dict[Path, str]:
    """The page and its figures, as they should be now."""
    parts = results()
    return {
        DOCS / "performance.md": page(parts),
        DOCS / "performance.svg": drawing(parts),
        DOCS / "scaling.svg": curves(parts),
    }


def main() -> None:
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
