"""Names, experts, heads and joined projections, found by the witness's own rules."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.storage.tensors import Spec
from adapterops.updates.layout import Layout
from adapterops.verification.addends import Addend, Wanted
from adapterops.verification.names import key
from adapterops.verification.places import wanted

Shapes = dict[str, tuple[int, ...]]


def found(modules: dict[str, tuple[int, int]], base: Shapes, *, new: Shapes | None = None, full: Shapes | None = None,
          **config: Any) -> tuple[dict[str, Wanted], dict[str, str]]:  # fmt: skip
    layout = {module: Layout(shape, 1, "F32") for module, shape in modules.items()}
    whole: Any = {name: SimpleNamespace(spec=Spec("F32", shape)) for name, shape in (full or {}).items()}
    specs = {name: Spec("F32", shape) for name, shape in base.items()}
    model = specs | {name: Spec("F32", shape) for name, shape in (new or {}).items()}
    adapter = Adapter({}, layout, full=whole)
    return wanted(adapter, Checkpoint(specs, {}, {}, config=config), Checkpoint(model, {}, {}))


@pytest.mark.parametrize(
    ("module", "tensor"),
    [
        ("model.layers.0.q_proj", "model.layers.0.q_proj.weight"),
        ("layers.0.q_proj", "model.language_model.layers.0.q_proj.weight"),
        ("model._fsdp_wrapped_module.layers.0._orig_mod.q_proj", "model.layers.0.q_proj.weight"),
        ("encoder.layer.0.query", "bert.encoder.layer.0.query.weight"),
        ("bert.encoder.layer.0.query", "encoder.layer.0.query.weight"),
        ("vision_tower.encoder.layers.0.q_proj", "vision_tower.vision_model.encoder.layers.0.q_proj.weight"),
        ("transformer.h.0.mlp.c_fc", "h.0.mlp.c_fc.weight"),
    ],
)
def test_names_of_one_weight(module: str, tensor: str) -> None:
    places, lost = found({module: (4, 6)}, {tensor: (4, 6)})
    assert not lost
    assert places[tensor].places == [Addend(module, range(4), slice(0, 6))]


def test_another_layer_is_another_weight() -> None:
    places, lost = found({"layers.1.q_proj": (4, 6)}, {"model.layers.0.q_proj.weight": (4, 6)})
    assert not places
    assert list(lost) == ["layers.1.q_proj"]


def test_what_has_two_places_has_none() -> None:
    base: Shapes = {"question.layers.0.q.weight": (4, 4), "context.layers.0.q.weight": (4, 4)}
    assert "may be" in found({"layers.0.q": (4, 4)}, base)[1]["layers.0.q"]


def test_what_ends_alike_is_told_by_the_name_that_another_program_has() -> None:
    names = ["time_embed", "audio_time_embed", "audio_prompt_adaln", "av_cross_attn_video_a2v_gate"]
    base: Shapes = {
        f"{name}.linear.{end}": (8, 4)[:size] for name in names for end, size in (("weight", 2), ("bias", 1))
    }
    places, lost = found({"audio_adaln_single.linear.bias": (1, 8)}, base)
    assert not lost
    assert list(places) == ["audio_time_embed.linear.bias"]


def test_what_transformers_saves_elsewhere_is_there_and_not_in_what_another_program_calls_so() -> None:
    names = {"model.encoder.text_model.layers.0.mlp.up_proj": "model.encoder.layers.0.mlp.up_proj.weight"}
    names |= {"model.decoder.layers.0.mlp.up_proj": "model.decoder.layers.0.mlp.up_proj.weight"}
    places, lost = found(dict.fromkeys(names, (4, 6)), dict.fromkeys(names.values(), (4, 6)), model_type="t5gemma2")
    assert not lost
    assert {each: [addend.source for addend in places[each].places] for each in places} == {
        tensor: [module] for module, tensor in names.items()
    }


def test_names_of_experts() -> None:
    assert key("model.layers.0.block_sparse_moe.experts.1.w3.weight") == key("layers.0.mlp.experts.1.up_proj")


@pytest.mark.parametrize(
    ("shape", "config", "rows", "columns", "transposed"),
    [
        ((3, 8, 6), {}, range(8 + 4, 8 + 8), slice(0, 6), False),
        ((3, 6, 8), {}, range(6, 12), slice(4, 8, 1), True),
        ((3, 6, 8), {"model_type": "gpt_oss"}, range(6, 12), slice(1, 8, 2), True),
    ],
    ids=["out, in", "in, out", "in turn"],
)
def test_one_half_of_one_expert(shape: Any, config: Any, rows: range, columns: slice, transposed: bool) -> None:
    places, lost = found({"mlp.experts.1.up_proj": (4, 6)}, {"mlp.experts.gate_up_proj": shape}, **config)
    assert not lost
    (place,) = places["mlp.experts.gate_up_proj"].places
    assert (place.rows, place.columns, place.transposed) == (rows, columns, transposed)


def test_a_joined_projection_and_its_parts() -> None:
    parts: Shapes = {"a.q_proj.weight": (8, 6), "a.k_proj.weight": (4, 6), "a.v_proj.weight": (4, 6)}
    split, _ = found({"a.qkv_proj": (16, 6)}, parts)
    assert [each.places[0].first for each in split.values()] == [0, 8, 12]
    joined, _ = found({"a.q_proj": (8, 6), "a.k_proj": (4, 6), "a.v_proj": (4, 6)}, {"a.qkv_proj.weight": (16, 6)})
    assert [place.rows for place in joined["a.qkv_proj.weight"].places] == [range(8), range(8, 12), range(12, 16)]


def test_parts_of_a_joined_projection_of_linear_attention() -> None:
    base: Shapes = {"linear_attn.in_proj_qkv.weight": (16, 6)}
    adapter: Shapes = {
        "linear_attn.in_proj_q": (4, 6),
        "linear_attn.in_proj_k": (4, 6),
        "linear_attn.in_proj_v": (8, 6),
    }
    places, lost = found(adapter, base)
    assert not lost
    assert [each.rows for each in places["linear_attn.in_proj_qkv.weight"].places] == [
        range(4),
        range(4, 8),
        range(8, 16),
    ]
    k, _ = found({"linear_attn.in_proj_k": (4, 6)}, base)
    assert k["linear_attn.in_proj_qkv.weight"].places[0].rows == range(4, 8)


def test_a_head_that_becomes_a_tensor_of_its_own() -> None:
    base: Shapes = {"model.embed_tokens.weight": (9, 4)}
    places, lost = found({"lm_head": (9, 4)}, base, new={"lm_head.weight": (9, 4)})
    assert not lost
    assert places["lm_head.weight"].start == "model.embed_tokens.weight"
    assert "lm_head" in found({"lm_head": (9, 4)}, base)[1]  # the model has none


def test_a_trained_embedding_leaves_the_head_what_it_was() -> None:
    base: Shapes = {"model.embed_tokens.weight": (9, 4)}
    full, new = {"embed_tokens.weight": (9, 4)}, {"lm_head.weight": (9, 4)}
    places, lost = found({}, base, full=full, new=new, tie_word_embeddings=True)
    assert not lost
    assert places["lm_head.weight"] == Wanted("model.embed_tokens.weight")
    assert "still is, and has its update" in found({}, base, full=full, tie_word_embeddings=True)[1]["lm_head"]
    adapter: Any = Adapter(
        {}, {}, full={name: SimpleNamespace(spec=Spec("F32", shape)) for name, shape in full.items()}
    )
    specs = {name: Spec("F32", shape) for name, shape in base.items()}
    models = [Checkpoint(specs, {}, {}, config={"tie_word_embeddings": tied}) for tied in (True, False)]
    assert "is not any more" in wanted(adapter, *models)[1]["lm_head"]


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("tile", [1, 3, 5, 20])
def test_tiles_cover_a_place_once(step: int, tile: int) -> None:
    place = Addend("a", range(3, 3 + 6 * step, step), slice(0, 2), first=2)
    tensor, update = np.zeros((20, 2)), np.arange(40.0).reshape(20, 2)
    for begin in range(0, 20, tile):
        part = place.within(begin, min(begin + tile, 20))
        if part is not None:
            tensor[begin : begin + tile][part[0]] += update[part[1]]
    expected = np.zeros((20, 2))
    expected[3 : 3 + 6 * step : step] = update[2:8]
    assert np.array_equal(tensor, expected)


@pytest.mark.parametrize(
    ("module", "start", "others"),
    [
        ("lm_head.decoder", "roberta.embeddings.word_embeddings.weight", ["roberta.pooler.dense.weight"]),
        ("proj_out", "model.decoder.embed_tokens.weight", ["model.layers.0.w.weight"]),
        ("decoder.cls.predictions.decoder", "decoder.bert.embeddings.word_embeddings.weight",
         ["encoder.embeddings.word_embeddings.weight"]),
        ("encoder.layers.0.fc", "decoder.layers.0.fc.weight", ["decoder.layers.1.fc.weight"]),
    ],
)  # fmt: skip
def test_a_new_tensor_was_one_that_the_base_shares(module: str, start: str, others: list[str]) -> None:
    base: Shapes = dict.fromkeys([start, *others], (8, 4))
    new: Shapes = {f"{module}.weight": (8, 4)}
    assert found({module: (8, 4)}, base, new=new) == (
        {f"{module}.weight": Wanted(start, places=[Addend(module, range(8), slice(0, 4))])},
        {},
    )
    assert found({}, base, new=new) == ({f"{module}.weight": Wanted(start)}, {})
    for nothing in ({"tie_word_embeddings": False}, {}):
        wanted, lost = found({}, base if nothing else {"a.weight": (3, 4)}, new=new, **nothing)
        assert (wanted, list(lost)) == ({}, [f"{module}.weight"])
