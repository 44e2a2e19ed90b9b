"""The second judge's table of names: its lines expand, and its words are those of the first one's table."""

from __future__ import annotations

import re

from adapterops.formats.diffusion.families import RENAMED
from adapterops.verification.model_names import pairs
from adapterops.verification.other_names import TRANSPOSED


def test_every_line_has_as_many_names_on_both_sides() -> None:
    found = list(pairs())
    assert len(found) > 200
    assert all(re.compile(one).groups == re.compile(other).groups for one, other in found)


def test_what_one_table_has_the_other_has() -> None:
    known = [*pairs(), *((one, other) for one, other, *_ in TRANSPOSED)]
    written = [re.compile(rf"(?:.*_)?{one} = (?:.*_)?{other}") for one, other in known]
    for one, other in RENAMED:
        line = f"{one} = {other}".replace("#", "7")
        assert any(each.fullmatch(line) for each in written), line
