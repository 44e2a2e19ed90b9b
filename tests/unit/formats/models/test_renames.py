from __future__ import annotations

from adapterops.formats.models import renames
from adapterops.formats.models.loading import Renaming, ruled


def test_every_line_is_a_renaming() -> None:
    for rules in ruled(renames.RENAMES).values():
        assert all(" => " in rule and Renaming.parse(rule).pattern for rule in rules)


def test_types_are_words() -> None:
    for words in (renames.STACKED, renames.TRANSPOSED, renames.EITHER):
        assert all(word.isidentifier() or "-" in word for word in words.split())
