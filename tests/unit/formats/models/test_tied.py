from __future__ import annotations

from adapterops.formats.models.loading import ruled
from adapterops.formats.models.tied import KEPT, TIED


def test_every_rule_is_a_pair_or_a_field_and_every_class_is_there_once() -> None:
    rules = ruled(TIED)
    for key, found in rules.items():
        assert key.count(":") == 1
        assert all(rule.count(" = ") == 1 or rule.startswith("in ") for rule in found)
        assert len(set(found)) == len(found)
    assert set(KEPT.split()) < rules.keys()
