"""The page: one HTML file with everything in it, for a phone, a screen, and paper.

The names in it come from strangers' files: whatever the template prints is escaped, and the page lets a browser run
and load nothing but its own style and script, which are known by their hashes.
"""

from __future__ import annotations

import shlex
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files

from adapterops.operations.comparing.comparison import Comparison
from adapterops.reports import drawings, rows
from adapterops.reports.findings import Finding, some
from adapterops.reports.ink import STYLE
from adapterops.reports.relations import relations
from adapterops.reports.summary import Summary
from adapterops.reports.svg import svg
from adapterops.templates import template
from adapterops.version import __version__

MARK = f'<meta name="generator" content="adapterops {__version__}">'
"""What a page must hold to be replaced by another one."""


def page(
    comparison: Comparison, short: Summary, findings: Sequence[Finding], inputs: Sequence[str], base: str | None
) -> str:
    """The report as HTML.

    Args:
        inputs: what each adapter was read from.
        base: the name of their model, where its weights were read.
    """
    profiles, every = comparison.profiles, range(len(comparison.profiles))
    carried, errors = drawings.carried(comparison), drawings.errors(comparison)
    own = [drawings.of_one(comparison, index) for index in every]
    kinds = rows.share_rows(comparison)
    if len(profiles) == 1:  # what would be said twice stands once
        spectra, maps = own[0][:2], own[0][2:]
        carried, errors, own, kinds = [*carried, *maps], [*spectra, *errors], [[]], rows.kind_rows(comparison, 0)
    script, style = _text("page.js"), STYLE + _text("page.css")
    return template("adapterops.reports", "page.html.j2").render(
        mark=MARK,
        version=__version__,
        policy=f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src {_hash(style)}; script-src {_hash(script)}",
        style=style,
        script=script,
        svg=svg,
        names=some([profile.name for profile in profiles]),
        models=list(dict.fromkeys(profile.base_model or "an unknown base" for profile in profiles)),
        base=base,
        kind="DoRA" if profiles[0].dora else "LoRA",
        inputs=inputs,
        short=short,
        command=shlex.join(short.command),
        findings=findings,
        summary=rows.summary_rows(comparison),
        pairs=rows.pair_rows(comparison) if comparison.pairs else None,
        relations=relations(comparison),
        carried=carried,
        errors=errors,
        memory=drawings.memory(comparison),
        kinds=kinds,
        sizes=rows.size_rows(comparison),
        cuts=rows.cut_rows(comparison),
        profiles=[
            {
                "name": profile.name,
                "figures": own[index],
                "kinds": rows.kind_rows(comparison, index),
                "modules": rows.module_rows(comparison, index),
            }
            for index, profile in enumerate(profiles)
        ],
    )


def _text(name: str) -> str:
    """A file of the package that goes into the page as it is."""
    return (files("adapterops.reports") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """By which a content security policy knows what is between two tags."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
