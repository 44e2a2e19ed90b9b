"""The page: one HTML file with everything in it, for a phone, a screen, and paper.

The names in it come from strangers' files: whatever the template prints is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapterops import __version__
from adapterops.operations.comparison import Comparison
from adapterops.reports import drawings, rows
from adapterops.reports.findings import Finding
from adapterops.reports.svg import STYLE, svg
from adapterops.templates import template

MARK = f'<meta name="generator" content="adapterops {__version__}">'
"""What a page must hold to be replaced by another one."""


def page(comparison: Comparison, findings: Sequence[Finding], inputs: Sequence[str], base: str | None) -> str:
    """The report as HTML.

    Args:
        inputs: what each adapter was read from.
        base: the name of their model, where its weights were read.
    """
    profiles = comparison.profiles
    return template("adapterops.reports", "page.html.j2").render(
        mark=MARK,
        version=__version__,
        figure_style=STYLE,
        svg=svg,
        names=", ".join(profile.name for profile in profiles),
        models=list(dict.fromkeys(profile.base_model or "an unknown base" for profile in profiles)),
        base=base,
        inputs=inputs,
        findings=findings,
        summary=rows.summary_rows(comparison),
        pairs=rows.pair_rows(comparison) if comparison.pairs else None,
        overview=drawings.of_all(comparison),
        sizes=rows.size_rows(comparison),
        cuts=rows.cut_rows(comparison),
        profiles=[
            {
                "name": profile.name,
                "figures": drawings.of_one(comparison, index),
                "modules": rows.module_rows(comparison, index),
            }
            for index, profile in enumerate(profiles)
        ],
    )
