"""What the rows of the table have in common."""

from __future__ import annotations

from adapterops.formats.diffusion.table import ADDED, Joined, below, embedder, parts


def test_parts_of_an_attention() -> None:
    assert parts("qkv", "attn_") == Joined("qkv", ("attn_to_q", "attn_to_k", "attn_to_v"), (1, 2))
    assert parts("qkv", "attn_", ADDED).parts == ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj")


def test_names_below_another() -> None:
    assert below("time_in", "embed", embedder("step")) == {
        "time_in_in_layer": "embed_step_linear_1",
        "time_in_out_layer": "embed_step_linear_2",
    }
