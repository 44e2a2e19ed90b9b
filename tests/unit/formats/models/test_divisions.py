"""Rows of the parts of a joined projection."""

from __future__ import annotations

import pytest

from adapterops.formats.models.divisions import JOINED, divided, joined, whole_of

QKV, LINEAR = JOINED["self_attn.qkv_proj"], JOINED["linear_attn.in_proj_qkv"]


@pytest.mark.parametrize("known", [{"a.q_proj": 8}, {"a.k_proj": 2}, {"a.v_proj": 2}, {"a.q_proj": 8, "a.v_proj": 2}])
def test_what_is_known_of_some_decides_for_all(known: dict[str, int]) -> None:
    assert divided("a", known, QKV, 12) == {"a.q_proj": 0, "a.k_proj": 8, "a.v_proj": 10}


@pytest.mark.parametrize("known", [{"a.in_proj_q": 3}, {"a.in_proj_k": 3}, {"a.in_proj_v": 6}])
def test_of_linear_attention_q_and_k_are_equal(known: dict[str, int]) -> None:
    assert divided("a", known, LINEAR, 12) == {"a.in_proj_q": 0, "a.in_proj_k": 3, "a.in_proj_v": 6}


@pytest.mark.parametrize(
    "known",
    [
        {"a.q_proj": 7},
        {"a.q_proj": 12},
        {"a.q_proj": 20},
        {"a.q_proj": 2},
        {"a.k_proj": 6},
        {"a.k_proj": 2, "a.v_proj": 3},
        {"a.q_proj": 8, "a.k_proj": 3, "a.v_proj": 1},
        {"a.q_proj": 7, "a.k_proj": 2, "a.v_proj": 2},
    ],
)
def test_rows_that_do_not_fill_it(known: dict[str, int]) -> None:
    assert divided("a", known, QKV, 12) is None


def test_experts_and_other_parents_are_others() -> None:
    assert joined("layers.0.mlp.experts.3.gate_up_proj") is None
    assert joined("audio.feed_forward_in.gate_up_proj") is None
    assert whole_of("layers.0.mlp.experts.3.gate_proj") is None
    assert whole_of("layers.0.mlp.up_proj") == "layers.0.mlp.gate_up_proj"
