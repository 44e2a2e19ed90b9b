"""What an adapter does to each tensor of a base, by their headers alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterOpsError, IncompatibleError, UnsupportedError
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.targets.table import resolve, targets_by_module
from adapterops.operations.targets.target import Edit, Target, Targets
from adapterops.storage.tensors import Spec
from adapterops.updates.layout import Layout

Q = "layers.0.self_attn.q_proj"


def base(dtype: str = "BF16", **tensors: tuple[int, ...]) -> dict[str, Spec]:
    """Tensors by name; keyword arguments have no dots, so `__` stands for one."""
    return {name.replace("__", "."): Spec(dtype, shape) for name, shape in tensors.items()}


def stored(*names: str, shape: tuple[int, ...] = (6, 4)) -> dict[str, Spec]:
    return {name: Spec("BF16", shape) for name in names}


def settled(
    modules: dict[str, tuple[int, int]],
    tensors: dict[str, Spec],
    config: dict[str, Any] | None = None,
    experts: dict[str, int] | None = None,
    full: dict[str, Spec] | None = None,
) -> Targets:
    """The table of an adapter and a base of which there are headers alone."""
    layout = {module: Layout(shape, 1, "F32") for module, shape in modules.items()}
    full_tensors: Any = {name: SimpleNamespace(spec=spec) for name, spec in (full or {}).items()}
    adapter = Adapter({}, layout, AdapterConfig(experts=experts or {}), full=full_tensors)
    return resolve(adapter, Checkpoint(tensors, {}, {}, config=config))


def targets(
    modules: dict[str, tuple[int, int]], tensors: dict[str, Spec], model_type: str | None = None
) -> dict[str, Target]:
    table = settled(modules, tensors, None if model_type is None else {"model_type": model_type})
    return {target.module: target for edit in table.edits.values() for target in edit.targets}


def target(module: str, shape: tuple[int, int], tensors: dict[str, Spec], model_type: str | None = None) -> Target:
    return targets({module: shape}, tensors, model_type)[module]


def all_of(module: str, shape: tuple[int, int], tensor: str | None = None) -> Target:
    """The target of a module that has a tensor for itself."""
    return Target(tensor or f"{module}.weight", module, module, shape)


def refused(
    modules: dict[str, tuple[int, int]], tensors: dict[str, Spec], model_type: str | None = None
) -> AdapterOpsError:
    with pytest.raises(AdapterOpsError) as caught:
        targets(modules, tensors, model_type)
    assert caught.value.exit_code == 4
    return caught.value


def test_a_module_is_found_by_its_exact_name() -> None:
    tensors = stored(f"model.{Q}.weight", f"vision.{Q}.weight", "model.norm.weight")
    assert target(f"model.{Q}", (6, 4), tensors) == all_of(f"model.{Q}", (6, 4))


@pytest.mark.parametrize(
    ("module", "tensor"),
    [
        ("layers.0.q_proj", "model.layers.0.q_proj.weight"),
        ("model.layers.0.q_proj", "layers.0.q_proj.weight"),
        ("h.0.attn.c_attn", "transformer.h.0.attn.c_attn.weight"),
        ("transformer.h.0.attn.c_attn", "h.0.attn.c_attn.weight"),
        ("model.language_model.layers.0.q_proj", "language_model.model.layers.0.q_proj.weight"),
        ("language_model.model.layers.0.q_proj", "model.language_model.layers.0.q_proj.weight"),
        ("model.language_model.layers.0.q_proj", "model.layers.0.q_proj.weight"),
        ("model.layers.0.q_proj", "model.language_model.layers.0.q_proj.weight"),
        ("model.visual.blocks.0.attn.qkv", "visual.blocks.0.attn.qkv.weight"),
        ("vision_tower.encoder.layers.0.q_proj", "model.vision_tower.encoder.layers.0.q_proj.weight"),
        ("model.layers.0.q_proj", "module.model.layers.0.q_proj.weight"),
        ("model.lm_head", "lm_head.weight"),
        ("lm_head", "language_model.lm_head.weight"),
    ],
)
def test_prefixes_of_different_versions_of_transformers(module: str, tensor: str) -> None:
    assert target(module, (6, 4), stored(tensor, "model.other.weight")) == all_of(module, (6, 4), tensor)


def test_towers_with_equal_inner_names_are_told_apart() -> None:
    names = [f"{tower}.{Q}" for tower in ("model.language_model", "model.vision_tower", "model.audio_tower")]
    tensors = stored(*(f"{name}.weight" for name in names))
    for name in names:
        assert target(name, (6, 4), tensors) == all_of(name, (6, 4))
    assert target("vision_tower." + Q, (6, 4), tensors).tensor == f"model.vision_tower.{Q}.weight"


@pytest.mark.parametrize(
    ("names", "shape"),
    [((f"model.{Q}", f"language_model.{Q}"), (6, 4)), ((f"transformer.{Q}", f"module.model.{Q}"), (6, 4))],
)
def test_two_tensors_that_would_fit_are_ambiguous(names: tuple[str, str], shape: tuple[int, int]) -> None:
    error = refused({Q: shape}, stored(*(f"{name}.weight" for name in names)))
    assert error.code == "E-NAMES"
    assert all(f"{name}.weight" in str(error) for name in names)


def test_of_two_names_the_one_with_the_shape_is_taken() -> None:
    tensors = {**stored(f"model.{Q}.weight"), **stored(f"language_model.{Q}.weight", shape=(3, 5))}
    assert target(Q, (3, 5), tensors) == all_of(Q, (3, 5), f"language_model.{Q}.weight")


def test_a_missing_module_is_named_and_so_is_what_the_base_has() -> None:
    error = refused({Q: (6, 4), "layers.7.q_proj": (6, 4)}, stored(f"model.{Q}.weight"))
    assert error.code == "E-NAMES"
    for said in ("1 of 2 modules", "layers.7.q_proj", f"model.{Q}.weight"):
        assert said in str(error)


def test_no_overlap_lists_both_sides() -> None:
    modules = {f"encoder.block.{index}.q": (6, 4) for index in range(12)}
    error = refused(
        modules, stored(*(f"model.layers.{index}.q_proj.weight" for index in range(12)), "model.norm.weight")
    )
    assert error.code == "E-NAMES"
    for said in (
        "0 of 12 modules",
        "encoder.block.0.q",
        "model.layers.0.q_proj.weight",
        "and 4 more",
        "another architecture",
    ):
        assert said in str(error)


def test_a_norm_or_a_bias_is_no_target() -> None:
    tensors = {**stored("model.norm.weight", shape=(6,)), **stored("model.proj.bias", "model.proj.weight")}
    assert "[6]" in str(refused({"model.norm": (6, 4), "model.proj": (6, 4)}, tensors))


@pytest.mark.parametrize("shape", [(6, 5), (5, 4), (24, 1), (12, 2)])
def test_a_wrong_shape_names_both(shape: tuple[int, int]) -> None:
    error = refused({Q: shape, "model.other": (6, 4)}, stored(f"model.{Q}.weight", "model.other.weight"))
    assert isinstance(error, IncompatibleError)
    for said in ("1 of 2 modules do not fit", Q, str(list(shape)), f"model.{Q}.weight", "[6, 4]"):
        assert said in str(error)


def test_everything_that_is_wrong_is_listed_at_once() -> None:
    error = refused({Q: (6, 5), "a": (6, 4), "b": (6, 4)}, stored(f"model.{Q}.weight", "model.b.weight"))
    for said in ("1 of 3 modules are not in the base: a", "1 of 3 modules do not fit", "[6, 5]"):
        assert said in str(error)


def test_two_modules_on_one_tensor() -> None:
    error = refused({Q: (6, 4), f"model.{Q}": (6, 4)}, stored(f"model.{Q}.weight"))
    for said in (Q, f"model.{Q}", f"are both model.{Q}.weight", "keep one of the two"):
        assert said in str(error)


def test_the_targets_of_several_adapters_by_module() -> None:
    tensors = stored(f"model.{Q}.weight", "model.layers.0.mlp.up_proj.weight")
    both = targets_by_module([settled({name: (6, 4)}, tensors) for name in (Q, "layers.0.mlp.up_proj")])
    assert {module: tensor for module, (tensor, _) in both.items()} == {
        name.removesuffix(".weight")[6:]: name for name in tensors
    }
    with pytest.raises(IncompatibleError, match=rf"model\.{Q} and {Q} are both model\.{Q}\.weight"):
        targets_by_module([settled({name: (6, 4)}, tensors) for name in (Q, f"model.{Q}")])


@pytest.mark.parametrize("dtype", ["U8", "I8", "F8_E4M3", "F8_E5M2", "I32", "F4"])
def test_a_quantized_weight_is_refused(dtype: str) -> None:
    tensors = {f"model.{Q}.weight": Spec(dtype, (12, 1)), f"model.{Q}.weight.absmax": Spec("F32", (1,))}
    with pytest.raises(UnsupportedError, match=f"is stored as {dtype}: the base is quantized") as caught:
        settled({Q: (6, 4)}, tensors)
    assert caught.value.tensor == f"model.{Q}.weight"
    assert "16-bit" in str(caught.value)


# Mixture of experts: names


V4 = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
SHAPES = {"gate_proj": (6, 4), "up_proj": (6, 4), "down_proj": (4, 6)}
OLD, NEW = "model.layers.0.block_sparse_moe", "model.layers.0.mlp"


@pytest.mark.parametrize("projection", V4)
def test_the_names_of_mixtral_of_both_versions(projection: str) -> None:
    old, new = f"{OLD}.experts.1.{V4[projection]}", f"{NEW}.experts.1.{projection}"
    shape = SHAPES[projection]
    for module in (old, new):
        for tensor in (old, new):
            assert target(module, shape, stored(f"{tensor}.weight", shape=shape)) == all_of(
                module, shape, f"{tensor}.weight"
            )


def test_the_router_of_mixtral_of_both_versions() -> None:
    for module, tensor in ((f"{OLD}.gate", f"{NEW}.gate.weight"), (f"{NEW}.gate", f"{OLD}.gate.weight")):
        assert target(module, (8, 4), stored(tensor, shape=(8, 4))) == all_of(module, (8, 4), tensor)


def test_a_layer_that_is_called_w1_and_no_expert_is_not_taken_for_one() -> None:
    refused({"layers.0.feed_forward.w1": (6, 4)}, stored("layers.0.feed_forward.gate_proj.weight"))


# Mixture of experts: many experts in one tensor. E experts, hidden size H, intermediate size I.

E, H, I = 3, 5, 7  # noqa: E741  # the letters of the reference


def experts(transposed: bool, projection: str) -> tuple[str, np.ndarray]:
    """The name of a fused tensor, and numbers for it that tell every entry apart."""
    parts, name = (1, "down_proj") if projection == "down_proj" else (2, "gate_up_proj")
    out, into = (H, I) if projection == "down_proj" else (parts * I, H)
    shape = (E, into, out) if transposed else (E, out, into)
    return f"{NEW}.experts.{name}", np.arange(np.prod(shape)).reshape(shape)


def weight(values: np.ndarray, transposed: bool, projection: str, expert: int) -> np.ndarray:
    """The (out, in) weight of one projection of one expert, by its definition in transformers."""
    matrix = values[expert].T if transposed else values[expert]
    return {"gate_proj": matrix[:I], "up_proj": matrix[I:], "down_proj": matrix}[projection]


@pytest.mark.parametrize("transposed", [False, True], ids=["(out, in)", "(in, out)"])
@pytest.mark.parametrize("expert", range(E))
@pytest.mark.parametrize("projection", V4)
@pytest.mark.parametrize("name", [NEW, OLD])
def test_an_expert_by_itself_is_a_part_of_the_tensor_of_all(
    name: str, projection: str, expert: int, transposed: bool
) -> None:
    tensor, values = experts(transposed, projection)
    module = f"{name}.experts.{expert}.{V4[projection] if name == OLD else projection}"
    expected = weight(values, transposed, projection, expert)
    found = target(module, expected.shape, {tensor: Spec("BF16", values.shape)}, "mixtral")
    assert found.tensor == tensor
    assert found.transposed == transposed
    assert found.shape == (expected.T.shape if transposed else expected.shape)
    height, width = found.shape
    part = values.reshape(-1, values.shape[-1])[found.row : found.row + height, found.column : found.column + width]
    assert np.array_equal(part.T if transposed else part, expected)


def test_all_experts_find_targets_that_do_not_overlap() -> None:
    shapes = {"gate_proj": (I, H), "up_proj": (I, H), "down_proj": (H, I)}
    modules = {
        f"{NEW}.experts.{expert}.{projection}": shape for expert in range(E) for projection, shape in shapes.items()
    }
    tensors = {
        f"{NEW}.experts.gate_up_proj": Spec("BF16", (E, 2 * I, H)),
        f"{NEW}.experts.down_proj": Spec("BF16", (E, H, I)),
    }
    counts = {name: np.zeros(spec.matrix, int) for name, spec in tensors.items()}
    for found in targets(modules, tensors).values():
        height, width = found.shape
        counts[found.tensor][found.row : found.row + height, found.column : found.column + width] += 1
    assert all((count == 1).all() for count in counts.values())


def test_an_expert_beyond_the_last_has_no_target() -> None:
    assert "[7, 5]" in str(
        refused({f"{NEW}.experts.{E}.gate_proj": (I, H)}, base(**{f"{NEW}.experts.gate_up_proj": (E, 2 * I, H)}))
    )


def test_an_expert_of_another_size_has_no_target() -> None:
    refused({f"{NEW}.experts.0.gate_proj": (2 * I, H)}, base(**{f"{NEW}.experts.gate_up_proj": (E, 2 * I, H)}))


@pytest.mark.parametrize("projection", ["gate_proj", "up_proj"])
def test_a_hidden_size_of_twice_the_intermediate_one_cannot_be_told_apart(projection: str) -> None:
    """(2I, H) and (H, 2I) are then the same shape."""
    error = refused(
        {f"{NEW}.experts.0.{projection}": (I, 2 * I)},
        base(**{f"{NEW}.experts.gate_up_proj": (E, 2 * I, 2 * I)}),
        "qwen3_moe",
    )
    assert isinstance(error, UnsupportedError)
    assert error.tensor == f"{NEW}.experts.0.{projection}"
    assert "rows and columns" in str(error)


def test_a_square_down_projection_cannot_be_told_apart() -> None:
    assert "rows and columns" in str(
        refused({f"{NEW}.experts.0.down_proj": (H, H)}, base(**{f"{NEW}.experts.down_proj": (E, H, H)}))
    )


@pytest.mark.parametrize("transposed", [False, True])
def test_the_other_parameter_shows_whether_a_square_one_is_transposed(transposed: bool) -> None:
    """As in gpt-oss, whose down_proj is square, and in models with H = 2I, whose gate_up_proj is."""

    def tensors(out: int, into: int, inner: int) -> dict[str, Spec]:
        shapes = {"gate_up_proj": (2 * inner, into), "down_proj": (out, inner)}
        return base(
            **{f"{NEW}.experts.{name}": (E, *(shape[::-1] if transposed else shape)) for name, shape in shapes.items()}
        )

    down = target(f"{NEW}.experts.1.down_proj", (H, H), tensors(H, H, H))
    assert (down.tensor, down.row, down.transposed) == (f"{NEW}.experts.down_proj", H, transposed)
    square = tensors(2 * I, 2 * I, I)
    both = target(f"{NEW}.experts.1.gate_up_proj", (2 * I, 2 * I), square)
    assert (both.row, both.column, both.transposed) == (2 * I, 0, transposed)
    up = target(f"{NEW}.experts.1.up_proj", (I, 2 * I), square, "llama4_text")
    assert (up.row, up.column, up.transposed) == (2 * I + (0 if transposed else I), I if transposed else 0, transposed)
    assert up.shape == ((2 * I, I) if transposed else (I, 2 * I))


@pytest.mark.parametrize("config", [None, {"model_type": "internvl", "text_config": {"model_type": "gpt_oss"}}])
def test_gate_and_up_that_are_or_may_be_in_turn_are_refused(config: dict[str, Any] | None) -> None:
    tensors = base(**{f"{NEW}.experts.gate_up_proj": (E, H, 2 * I), f"{NEW}.experts.down_proj": (E, I, H)})
    with pytest.raises(UnsupportedError, match="rows alternating"):
        settled({f"{NEW}.experts.1.up_proj": (I, H)}, tensors, config)
    assert settled({f"{NEW}.experts.1.up_proj": (I, H)}, tensors, {"model_type": "llama4_text"}).edits


def test_two_square_parameters_show_nothing() -> None:
    refused(
        {f"{NEW}.experts.0.down_proj": (H, H)},
        base(**{f"{NEW}.experts.{name}": (E, H, H) for name in ("down_proj", "gate_up_proj")}),
    )


@pytest.mark.parametrize("model_type", ["qwen3_moe", "gpt_oss"])
@pytest.mark.parametrize("shape", [(E, 2 * I, H), (E, H, 2 * I)])
def test_gate_and_up_of_an_expert_together(shape: tuple[int, ...], model_type: str) -> None:
    found = target(
        f"{NEW}.experts.2.gate_up_proj", (2 * I, H), base(**{f"{NEW}.experts.gate_up_proj": shape}), model_type
    )
    assert found == Target(
        f"{NEW}.experts.gate_up_proj", found.source, found.module, shape[1:], row=2 * shape[1], transposed=shape[1] == H
    )


@pytest.mark.parametrize("part", ["gate_proj", "up_proj"])
def test_gate_and_up_together_and_apart_overlap(part: str) -> None:
    tensors = base(**{f"{NEW}.experts.gate_up_proj": (E, 2 * I, H)})
    modules = {f"{NEW}.experts.0.gate_up_proj": (2 * I, H), f"{NEW}.experts.0.{part}": (I, H)}
    assert "whole and in parts" in str(refused(modules, tensors))


@pytest.mark.parametrize("shape", [(E, 2 * I, H), (E, H, 2 * I)])
def test_gate_and_up_in_turn_are_refused(shape: tuple[int, ...]) -> None:
    error = refused({f"{NEW}.experts.0.gate_proj": (I, H)}, base(**{f"{NEW}.experts.gate_up_proj": shape}), "gpt_oss")
    assert isinstance(error, UnsupportedError)
    assert "gate and up" in str(error)


@pytest.mark.parametrize("projection", ["down_proj", "gate_up_proj"])
def test_a_module_that_names_no_expert_is_not_taken_for_the_first(projection: str) -> None:
    tensors = base(**{f"{NEW}.experts.gate_up_proj": (E, 2 * I, H), f"{NEW}.experts.down_proj": (E, H, I)})
    refused({f"{NEW}.experts.{projection}": (H, I) if projection == "down_proj" else (2 * I, H)}, tensors)


def test_a_convolution_is_no_target_for_a_matrix() -> None:
    refused({"layers.0.mixer.conv1d": (6, 4)}, stored("model.layers.0.mixer.conv1d.weight", shape=(6, 1, 4)))
    refused({"visual.patch_embed.proj": (6, 11)}, stored("visual.patch_embed.proj.weight", shape=(6, 3, 2, 2)))


def test_a_kernel_is_a_matrix_of_its_outputs() -> None:
    name = "visual.patch_embed.proj"
    assert target(name, (6, 12), stored(f"{name}.weight", shape=(6, 3, 2, 2))) == all_of(name, (6, 12))


# Weights that are stored as (in, out)

GPT2 = {
    "transformer.h.0.attn.c_attn": (12, 4),
    "transformer.h.0.attn.c_proj": (4, 4),
    "transformer.h.0.mlp.c_fc": (16, 4),
    "transformer.h.0.mlp.c_proj": (4, 16),
}
STORED = {f"{name}.weight": Spec("F32", (shape[1], shape[0])) for name, shape in GPT2.items()}


@pytest.mark.parametrize("model_type", ["gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"])
def test_conv1d_is_transposed_by_the_type_of_the_model(model_type: str) -> None:
    found = targets(GPT2, STORED, model_type)
    assert found == {
        name: Target(f"{name}.weight", name, name, shape[::-1], transposed=True) for name, shape in GPT2.items()
    }


def test_a_square_linear_of_a_model_with_conv1d_is_not_transposed() -> None:
    assert target("score", (4, 4), stored("score.weight", shape=(4, 4)), "gpt2") == all_of("score", (4, 4))


def test_other_shapes_say_how_they_are_stored() -> None:
    shapes = {name: shape for name, shape in GPT2.items() if shape != (4, 4)}
    assert all(found.transposed for found in targets(shapes, STORED).values())


def test_a_square_weight_among_transposed_ones_is_refused_where_the_model_is_unknown() -> None:
    error = refused(GPT2, STORED)
    assert error.code == "E-ORIENTATION"
    assert error.tensor == "transformer.h.0.attn.c_proj"
    assert "model_type" in str(error)


def test_a_square_conv1d_alone_is_refused_where_the_model_is_unknown() -> None:
    """Nothing in the files says how it is stored, and half of the guesses would be wrong."""
    refused({"transformer.h.0.attn.c_proj": (4, 4)}, STORED)
    refused({"h.0.attn.c_proj": (4, 4)}, STORED)


def test_a_square_conv1d_of_code_next_to_a_model_is_refused_by_what_else_the_files_have() -> None:
    """jais and BTLM have GPT-2's layers under types of their own."""
    name = "transformer.h.0.attn.c_proj"
    assert refused({name: (4, 4)}, STORED, "jais").code == "E-ORIENTATION"
    linear = {**stored(f"{name}.weight", shape=(4, 4)), **stored("transformer.h.0.attn.c_attn.weight", shape=(12, 4))}
    assert target(name, (4, 4), linear, "jais") == all_of(name, (4, 4))


def test_a_square_c_proj_of_a_model_without_conv1d_is_not_transposed() -> None:
    name = "transformer.h.0.attn.c_proj"
    assert target(name, (4, 4), stored(f"{name}.weight", shape=(4, 4)), "gpt_bigcode") == all_of(name, (4, 4))


# Output embeddings


@pytest.mark.parametrize(
    ("module", "embedding", "head"),
    [
        ("lm_head", "model.embed_tokens.weight", "lm_head.weight"),
        ("model.lm_head", "model.embed_tokens.weight", "lm_head.weight"),
        ("lm_head", "transformer.wte.weight", "lm_head.weight"),
        ("lm_head", "wte.weight", "lm_head.weight"),
        ("lm_head", "model.language_model.embed_tokens.weight", "lm_head.weight"),
        ("language_model.lm_head", "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
        ("lm_head", "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
    ],
)
def test_a_tied_head_starts_as_a_copy_of_the_input_embedding(module: str, embedding: str, head: str) -> None:
    tensors = stored(embedding, "model.layers.0.up_proj.weight")
    table = settled({module: (6, 4)}, tensors)
    assert table == Targets({head: Edit(embedding, targets=(all_of(module, (6, 4), head),))}, untied=True)


def test_a_head_of_its_own_is_no_copy() -> None:
    tensors = stored("lm_head.weight", "model.embed_tokens.weight")
    assert settled({"lm_head": (6, 4)}, tensors).edits["lm_head.weight"].start == "lm_head.weight"


def test_a_tied_head_has_the_shape_of_the_embedding() -> None:
    error = refused({"lm_head": (7, 4)}, stored("model.embed_tokens.weight"))
    for said in ("lm_head", "[7, 4]", "[6, 4]"):
        assert said in str(error)


def test_a_square_tied_head_is_no_conv1d() -> None:
    found = settled(
        {**GPT2, "lm_head": (4, 4)}, {**STORED, "transformer.wte.weight": Spec("F32", (4, 4))}, {"model_type": "gpt2"}
    )
    assert found.edits["lm_head.weight"] == Edit("transformer.wte.weight", targets=(all_of("lm_head", (4, 4)),))


def test_a_quantized_embedding_is_no_head() -> None:
    with pytest.raises(UnsupportedError, match="quantized"):
        settled({"lm_head": (6, 4)}, {"model.embed_tokens.weight": Spec("I8", (6, 4))})


def test_a_model_that_ties_nothing_and_has_no_head_is_not_given_one() -> None:
    """Its head is missing from the files, not shared."""
    with pytest.raises(IncompatibleError, match="lm_head"):
        settled(
            {"lm_head": (6, 4)},
            stored("model.embed_tokens.weight"),
            {"model_type": "llama", "tie_word_embeddings": False},
        )


def test_a_head_that_is_wider_than_the_embedding_is_high_is_no_transposed_one() -> None:
    refused({"lm_head": (4, 6)}, stored("model.embed_tokens.weight"))


# Full tensors

EMBEDDING, CAUSAL = "model.embed_tokens.weight", {"architectures": ["LlamaForCausalLM"], "vocab_size": 6}
TIED = {**CAUSAL, "tie_word_embeddings": True}
ENDS = stored(EMBEDDING, "model.layers.0.q_proj.weight")


def full(
    tensors: dict[str, Spec], base: dict[str, Spec], config: dict[str, Any] | None = None, *modules: str
) -> Targets:
    return settled(dict.fromkeys(modules, (6, 4)), base, config, full=tensors)


def test_a_full_tensor_takes_the_place_of_the_one_of_its_name() -> None:
    base = {**ENDS, **stored("model.norm.weight", "model.layers.0.q_proj.bias", shape=(6,))}
    found = full(stored("norm.weight", "model.layers.0.q_proj.bias", shape=(6,)), base, CAUSAL)
    assert found == Targets(
        {
            "model.norm.weight": Edit("model.norm.weight", "norm.weight"),
            "model.layers.0.q_proj.bias": Edit("model.layers.0.q_proj.bias", "model.layers.0.q_proj.bias"),
        }
    )


@pytest.mark.parametrize("names", [["other.weight"], ["norm.weight"]])
def test_a_full_tensor_without_a_counterpart_names_both(names: list[str]) -> None:
    base = stored("model.norm.weight", "language_model.norm.weight", shape=(6,))
    with pytest.raises(
        IncompatibleError, match=r"and the base has (nothing|model.norm.weight) .*of that name"
    ) as caught:
        full(stored(*names, shape=(6,)), base)
    assert (caught.value.tensor, caught.value.code) == (names[0], "E-NAMES")


def test_a_full_tensor_of_another_shape_names_both() -> None:
    with pytest.raises(
        IncompatibleError, match=r"full tensor of shape \[7\], and the base has model.norm.weight \[6\] of that name"
    ):
        full(stored("norm.weight", shape=(7,)), stored("model.norm.weight", shape=(6,)))


def test_a_full_head_of_a_tied_model_is_a_new_tensor() -> None:
    assert full(stored("lm_head.weight"), ENDS, TIED) == Targets(
        {"lm_head.weight": Edit(EMBEDDING, "lm_head.weight")}, untied=True
    )


def test_of_a_tied_model_whose_embedding_alone_was_trained_the_head_stays_what_it_was() -> None:
    found = full(stored(EMBEDDING), ENDS, TIED)
    assert found == Targets({EMBEDDING: Edit(EMBEDDING, EMBEDDING), "lm_head.weight": Edit(EMBEDDING)}, untied=True)


def test_both_ends_that_were_trained_are_both_the_adapters() -> None:
    found = full(stored(EMBEDDING, "lm_head.weight"), ENDS, TIED)
    assert found.edits == {EMBEDDING: Edit(EMBEDDING, EMBEDDING), "lm_head.weight": Edit(EMBEDDING, "lm_head.weight")}
    assert found.untied


def test_ends_that_are_stored_and_tied_by_the_config_alone_are_untied() -> None:
    base = {**ENDS, **stored("lm_head.weight")}
    assert full(stored("lm_head.weight"), base, TIED).untied
    assert not full(stored("lm_head.weight"), base, {**CAUSAL, "tie_word_embeddings": False}).untied


def test_an_update_is_added_to_the_full_tensor_of_its_module() -> None:
    """PEFT saves the weight of an output embedding with its factors."""
    for config in (TIED, None):
        found = full(stored("lm_head.weight"), ENDS, config, "lm_head")
        assert found.edits == {"lm_head.weight": Edit(EMBEDDING, "lm_head.weight", (all_of("lm_head", (6, 4)),))}
        assert found.untied


def test_a_full_head_that_the_base_has_in_no_way() -> None:
    with pytest.raises(IncompatibleError, match="the base has no output embedding"):
        full(stored("lm_head.weight"), ENDS, {**CAUSAL, "tie_word_embeddings": False})
    with pytest.raises(
        IncompatibleError, match=r"is a full tensor of shape \[8, 4\], and the embedding in its place is \[6, 4\]"
    ):
        full(stored("lm_head.weight", shape=(8, 4)), ENDS, TIED)


def test_an_embedding_that_is_shared_in_unknown_ways_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="is tied to other tensors"):
        full(
            stored("shared.weight"),
            stored("shared.weight"),
            {"is_encoder_decoder": True, "vocab_size": 6, "tie_word_embeddings": True},
        )


# Fused projections of an adapter, in a base that stores their parts


def single(count: int = 2) -> dict[str, Spec]:
    """Every expert by itself."""
    shapes = {"gate_proj": (I, H), "up_proj": (I, H), "down_proj": (H, I)}
    return {
        f"{NEW}.experts.{e}.{name}.weight": Spec("BF16", shape) for e in range(count) for name, shape in shapes.items()
    }


def halves(
    shape: tuple[int, int], base: dict[str, Spec], model_type: str = "qwen3_moe", others: dict[str, Any] | None = None
) -> Targets:
    modules = {f"{NEW}.experts.{e}.gate_up_proj": shape for e in range(2)} | (others or {})
    return settled(modules, base, {"model_type": model_type}, experts={f"{NEW}.experts.gate_up_proj": 2})


@pytest.mark.parametrize("transposed", [False, True])
def test_gate_and_up_take_their_rows_of_gate_up_whichever_way_round_it_is(transposed: bool) -> None:
    found = halves((H, 2 * I) if transposed else (2 * I, H), single())
    assert list(found.edits) == [
        f"{NEW}.experts.{e}.{part}.weight" for e in range(2) for part in ("gate_proj", "up_proj")
    ]
    for tensor, edit in found.edits.items():
        module, first = tensor.removesuffix(".weight"), I if "up_proj" in tensor.rpartition("experts")[2] else 0
        source = module.rpartition(".")[0] + ".gate_up_proj"
        assert edit == Edit(
            tensor, targets=(Target(tensor, source, module, (I, H), first=first, transposed=transposed),)
        )


def test_a_projection_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="mixed"):
        halves((2 * I, H), single(), "gpt_oss")
    with pytest.raises(IncompatibleError, match="half of"):
        halves((I, H), single())
    with pytest.raises(IncompatibleError, match="2 experts in the adapter, and 3 in the base"):
        halves((2 * I, H), single(3))


def test_a_projection_that_is_adapted_whole_and_in_parts_is_refused_where_the_parts_are_stored_too() -> None:
    with pytest.raises(IncompatibleError, match="whole and in parts"):
        halves((2 * I, H), single(), others={f"{NEW}.experts.0.up_proj": (I, H)})
