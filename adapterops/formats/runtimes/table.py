"""All programs. `docs/runtimes.md` is printed from this table.

A rule that holds for some versions says so, and is applied: which version will load an adapter is not known.
"""

from __future__ import annotations

from adapterops.formats.runtimes.images import IMAGES
from adapterops.formats.runtimes.language import LANGUAGE

RUNTIMES = LANGUAGE | IMAGES
