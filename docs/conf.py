"""The site of these pages: `make docs`. The order of its pages is that of the links in index.md."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

project = "adapterops"
author = "the adapterops authors"
version = release = importlib.metadata.version("adapterops")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
highlight_language = "none"  # of blocks that name none
html_title = f"adapterops {release}"
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # it is fetched, which browsers refuse to pages of a folder
myst_heading_anchors = 3
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_custom_sections = ["Cost", "Source", "Differs"]

PAGE = re.compile(r"^- \[[^]]*\]\(([\w/-]+)\.md\)", re.MULTILINE)


def with_tree(app: Any, name: str, source: list[str]) -> None:
    """The sections of index.md are those of the sidebar, and their links are the pages."""
    if name != "index":
        return
    trees = []
    for section in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        pages = "\n".join(PAGE.findall(text))
        if title == "Decisions":
            folder = Path(app.srcdir) / "decisions"
            pages = "\n".join(f"decisions/{page.stem}" for page in sorted(folder.glob("*.md")))
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```\n")
    source[0] += "\n" + "\n".join(trees)


def setup(app: Any) -> None:
    app.connect("source-read", with_tree)
