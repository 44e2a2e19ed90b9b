"""The page: one HTML file with everything in it, for a phone, a screen, and paper. Names in it come from strangers' files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adapterops import __version__
from adapterops.operations.comparison import Comparison
from adapterops.reports import drawings
from adapterops.reports.figures import Figure
from adapterops.reports.findings import Finding
from adapterops.reports.rows import Table, cut_rows, module_rows, pair_rows, size_rows, summary_rows
from adapterops.reports.svg import STYLE, escape, svg

MARK = f'<meta name="generator" content="adapterops {__version__}">'
CSS = """
:root{color-scheme:light dark;--ink:#1d2126;--paper:#fff;--soft:#5a626b;--line:#d5d9de;--warn:#b4400b;--note:#2f6ea8;--box:#f4f6f8}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8ea;--paper:#15181c;--soft:#a2abb5;--line:#383e46;
  --warn:#f08a4b;--note:#6fb1e8;--box:#1e2329}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1240px;padding:16px;background:var(--paper);color:var(--ink);
  font:16px/1.5 system-ui,-apple-system,'Segoe UI','Liberation Sans',Arial,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2;margin:.2em 0}
h2{font-size:1.2rem;margin:2em 0 .4em;border-top:1px solid var(--line);padding-top:.8em}
h3{font-size:1rem;margin:1.4em 0 .3em}
p{margin:.4em 0;max-width:46em}
.soft,figcaption span,footer{color:var(--soft);font-size:.875rem}
ul.findings{list-style:none;padding:0;margin:0;max-width:52em}
ul.findings li{background:var(--box);border-left:5px solid var(--note);padding:.55em .8em;margin:.5em 0;border-radius:0 4px 4px 0}
ul.findings li.warning{border-left-color:var(--warn)}
ul.findings b{color:var(--note);font-size:.75rem;letter-spacing:.05em;text-transform:uppercase;margin-right:.5em}
ul.findings li.warning b{color:var(--warn)}
.figures{columns:340px 3;column-gap:28px}
figure{margin:0 0 22px;break-inside:avoid}
figure svg{display:block;width:100%;height:auto;max-width:460px}
figcaption{font-weight:600;line-height:1.3;margin-bottom:.4em}
figcaption span{display:block;font-weight:400}
.scroll{overflow-x:auto;margin:.5em 0 1em}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.25em .7em .25em 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;overflow-wrap:normal}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:7em;overflow-wrap:anywhere}
summary{cursor:pointer;margin:.6em 0}
footer{border-top:1px solid var(--line);margin-top:2.5em;padding-top:.8em}
@media print{
  :root{color-scheme:light;--ink:#000;--paper:#fff;--soft:#444;--line:#bbb;--warn:#7a2a00;--note:#1d4f80;--box:#fff}
  body{max-width:none;padding:0;font-size:10.5pt}
  *{-webkit-print-color-adjust:exact;print-color-adjust:exact}
  .figures{columns:2}
  figure,li,tr,h2,h3{break-inside:avoid}
  h2,h3{break-after:avoid}
  .scroll{overflow:visible}
  details:not([open]){display:none}
}
"""


def page(comparison: Comparison, findings: Sequence[Finding], inputs: Sequence[str], base: str | None) -> str:
    """The report as HTML; `inputs` says of each adapter what it was read from."""
    names = ", ".join(profile.name for profile in comparison.profiles)
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{MARK}',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{escape(names)}: adapters</title><style>{CSS}</style>{STYLE}</head><body>",
        f"<header><h1>{escape(names)}</h1>{_subtitle(comparison, base)}</header>",
        _diagnosis(findings),
        "<h2>Summary</h2>",
        _table(summary_rows(comparison)),
        *(["<h3>Pairs</h3>", _table(pair_rows(comparison))] if comparison.pairs else []),
        "<h2>Together</h2>" if comparison.pairs else "<h2>Overview</h2>",
        _figures(drawings.together(comparison)),
    ]
    for index, profile in enumerate(comparison.profiles):
        parts += [f"<h2>{escape(profile.name)}</h2>", _figures(drawings.alone(comparison, index))]
    parts.append("<h2>Tables</h2>")
    parts += ["<h3>Parameters and memory</h3>", _table(size_rows(comparison))]
    parts += ["<h3>Rank, error and bytes</h3>", _table(cut_rows(comparison))]
    for index, profile in enumerate(comparison.profiles):
        parts.append(f"<details><summary>Modules of {escape(profile.name)}</summary>{_table(module_rows(comparison, index))}</details>")
    parts.append(_footer(inputs, base))
    return "\n".join(parts) + "</body></html>\n"


def _subtitle(comparison: Comparison, base: str | None) -> str:
    models = list(dict.fromkeys(profile.base_model or "an unknown base" for profile in comparison.profiles))
    count = "One LoRA adapter" if len(comparison.profiles) == 1 else f"{len(comparison.profiles)} LoRA adapters"
    beside = f", norms beside the weights in {base}" if base else ""
    return f'<p class="soft">{count} on {escape(", ".join(models))}{escape(beside)}.</p>'


def _diagnosis(findings: Sequence[Finding]) -> str:
    if not findings:
        return "<h2>Diagnosis</h2><p>Nothing stands out: no rule found anything to say.</p>"
    items = "".join(
        f'<li class="{finding.level}"><b>{finding.level}</b>{escape(finding.text)}</li>' for finding in findings
    )  # levels are ours
    return f'<h2>Diagnosis</h2><ul class="findings">{items}</ul>'


def _figures(figures: Iterable[Figure]) -> str:
    drawn = [
        f"<figure><figcaption>{escape(each.title)}<span>{escape(each.caption)}</span></figcaption>{svg(each)}</figure>" for each in figures
    ]
    return f'<div class="figures">{"".join(drawn)}</div>'


def _table(table: Table) -> str:
    header, rows = table
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _footer(inputs: Sequence[str], base: str | None) -> str:
    read = "".join(f"<li>{escape(each)}</li>" for each in [*inputs, *([f"base: {base}"] if base else [])])
    return (
        "<footer><p>ΔW = s·BA is the update of a weight W0; energy is ‖ΔW‖², the sum of the squared singular values; the effective rank is "
        "exp of their entropy. All is exact, in float64, from the factors, except the sign conflict: sampled rows, always the same. "
        f"The numbers lie beside this page as JSON. adapterops {__version__}.</p><ul>{read}</ul></footer>"
    )
