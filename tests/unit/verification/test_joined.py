"""Parts of joined projections, by rows."""

from __future__ import annotations

from adapterops.storage.tensors import Spec
from adapterops.verification.joined import split
from adapterops.verification.names import Base


def test_the_parts_of_an_update_follow_one_another() -> None:
    heights = {"q_proj": 6, "k_proj": 2, "v_proj": 2}
    layout = {f"layers.0.{name}.weight": Spec("F32", (height, 4)) for name, height in heights.items()}
    found = split("layers.0.qkv_proj", (10, 4), Base(layout, {}))
    assert found is not None
    assert [(name, place.first, place.rows) for name, place in found] == [
        ("layers.0.q_proj.weight", 0, range(6)),
        ("layers.0.k_proj.weight", 6, range(2)),
        ("layers.0.v_proj.weight", 8, range(2)),
    ]


def test_parts_of_another_height_are_not_it() -> None:
    layout = {f"layers.0.{name}_proj.weight": Spec("F32", (2, 4)) for name in "qkv"}
    assert split("layers.0.qkv_proj", (10, 4), Base(layout, {})) is None
