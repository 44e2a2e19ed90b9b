from __future__ import annotations

import numpy as np
import pytest

from adapterops.errors import AdapterOpsError, IncompatibleError, UnsupportedError
from adapterops.formats.naming import Place, canonical, check_untied, head_of, resolve, untied
from adapterops.storage.safetensors import Spec

Q = "layers.0.self_attn.q_proj"


def base(dtype: str = "BF16", **tensors: tuple[int, ...]) -> dict[str, Spec]:
    """Tensors by name; keyword arguments have no dots, so `__` stands for one."""
    return {name.replace("__", "."): Spec(dtype, shape) for name, shape in tensors.items()}


def stored(*names: str, shape: tuple[int, ...] = (6, 4)) -> dict[str, Spec]:
    return {name: Spec("BF16", shape) for name in names}


def place(module: str, shape: tuple[int, int], tensors: dict[str, Spec], model_type: str | None = None) -> Place:
    return resolve({module: shape}, tensors, None if model_type is None else {"model_type": model_type})[module]


def refused(modules: dict[str, tuple[int, int]], tensors: dict[str, Spec], model_type: str | None = None) -> AdapterOpsError:
    with pytest.raises(AdapterOpsError) as caught:
        resolve(modules, tensors, None if model_type is None else {"model_type": model_type})
    assert caught.value.exit_code == 4
    return caught.value


def test_a_module_is_found_by_its_exact_name() -> None:
    tensors = stored(f"model.{Q}.weight", f"vision.{Q}.weight", "model.norm.weight")
    assert place(f"model.{Q}", (6, 4), tensors) == Place(f"model.{Q}.weight")


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
    assert place(module, (6, 4), stored(tensor, "model.other.weight")) == Place(tensor)


def test_towers_with_equal_inner_names_are_told_apart() -> None:
    names = [f"{tower}.{Q}" for tower in ("model.language_model", "model.vision_tower", "model.audio_tower")]
    tensors = stored(*(f"{name}.weight" for name in names))
    for name in names:
        assert place(name, (6, 4), tensors) == Place(f"{name}.weight")
    assert place("vision_tower." + Q, (6, 4), tensors) == Place(f"model.vision_tower.{Q}.weight")


@pytest.mark.parametrize(
    ("names", "shape"), [((f"model.{Q}", f"language_model.{Q}"), (6, 4)), ((f"transformer.{Q}", f"module.model.{Q}"), (6, 4))]
)
def test_two_tensors_that_would_fit_are_ambiguous(names: tuple[str, str], shape: tuple[int, int]) -> None:
    error = refused({Q: shape}, stored(*(f"{name}.weight" for name in names)))
    assert error.code == "E-NAMES"
    assert all(f"{name}.weight" in str(error) for name in names)


def test_of_two_names_the_one_with_the_shape_is_taken() -> None:
    tensors = {**stored(f"model.{Q}.weight"), **stored(f"language_model.{Q}.weight", shape=(3, 5))}
    assert place(Q, (3, 5), tensors) == Place(f"language_model.{Q}.weight")


def test_a_missing_module_is_named_and_so_is_what_the_base_has() -> None:
    error = refused({Q: (6, 4), "layers.7.q_proj": (6, 4)}, stored(f"model.{Q}.weight"))
    assert error.code == "E-NAMES"
    for said in ("1 of 2 modules", "layers.7.q_proj", f"model.{Q}.weight"):
        assert said in str(error)


def test_no_overlap_lists_both_sides() -> None:
    modules = {f"encoder.block.{index}.q": (6, 4) for index in range(12)}
    error = refused(modules, stored(*(f"model.layers.{index}.q_proj.weight" for index in range(12)), "model.norm.weight"))
    assert error.code == "E-NAMES"
    for said in ("0 of 12 modules", "encoder.block.0.q", "model.layers.0.q_proj.weight", "and 4 more", "another architecture"):
        assert said in str(error)


def test_a_norm_or_a_bias_is_no_place() -> None:
    tensors = {**stored("model.norm.weight", shape=(6,)), **stored("model.proj.bias", "model.proj.weight")}
    assert "[6]" in str(refused({"model.norm": (6, 4), "model.proj": (6, 4)}, tensors))


@pytest.mark.parametrize("shape", [(6, 5), (5, 4), (24, 1), (12, 2)])
def test_a_wrong_shape_names_both(shape: tuple[int, int]) -> None:
    error = refused({Q: shape, "model.other": (6, 4)}, stored(f"model.{Q}.weight", "model.other.weight"))
    assert isinstance(error, IncompatibleError)
    for said in ("1 of 2 modules do not fit", Q, str(list(shape)), f"model.{Q}.weight", "[6, 4]"):
        assert said in str(error)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    error = refused({Q: (6, 5), "a": (6, 4), "b": (6, 4)}, stored(f"model.{Q}.weight", "model.b.weight"))
    for said in ("1 of 3 modules are not in the base: a", "1 of 3 modules do not fit", "[6, 5]"):
        assert said in str(error)


def test_two_modules_on_one_tensor() -> None:
    error = refused({Q: (6, 4), f"model.{Q}": (6, 4)}, stored(f"model.{Q}.weight"))
    for said in (Q, f"model.{Q}", f"are both model.{Q}.weight"):
        assert said in str(error)


@pytest.mark.parametrize("dtype", ["U8", "I8", "F8_E4M3", "F8_E5M2", "I32", "F4"])
def test_a_quantized_weight_is_refused(dtype: str) -> None:
    tensors = {f"model.{Q}.weight": Spec(dtype, (12, 1)), f"model.{Q}.weight.absmax": Spec("F32", (1,))}
    with pytest.raises(UnsupportedError, match=f"is stored as {dtype}: the base is quantized") as caught:
        resolve({Q: (6, 4)}, tensors)
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
            assert place(module, shape, stored(f"{tensor}.weight", shape=shape)) == Place(f"{tensor}.weight")


def test_the_router_of_mixtral_of_both_versions() -> None:
    for module, tensor in ((f"{OLD}.gate", f"{NEW}.gate.weight"), (f"{NEW}.gate", f"{OLD}.gate.weight")):
        assert place(module, (8, 4), stored(tensor, shape=(8, 4))) == Place(tensor)


def test_a_layer_that_is_called_w1_and_no_expert_keeps_its_name() -> None:
    assert canonical("layers.0.feed_forward.w1") == "layers.0.feed_forward.w1"
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
def test_an_expert_by_itself_lies_in_the_tensor_of_all(name: str, projection: str, expert: int, transposed: bool) -> None:
    tensor, values = experts(transposed, projection)
    module = f"{name}.experts.{expert}.{V4[projection] if name == OLD else projection}"
    expected = weight(values, transposed, projection, expert)
    found = place(module, expected.shape, {tensor: Spec("BF16", values.shape)}, "mixtral")
    assert found.tensor == tensor
    assert found.transposed == transposed
    height, width = expected.T.shape if transposed else expected.shape
    part = values.reshape(-1, values.shape[-1])[found.row : found.row + height, found.column : found.column + width]
    assert np.array_equal(part.T if transposed else part, expected)


def test_all_experts_find_places_that_do_not_overlap() -> None:
    shapes = {"gate_proj": (I, H), "up_proj": (I, H), "down_proj": (H, I)}
    modules = {f"{NEW}.experts.{expert}.{projection}": shape for expert in range(E) for projection, shape in shapes.items()}
    tensors = {f"{NEW}.experts.gate_up_proj": Spec("BF16", (E, 2 * I, H)), f"{NEW}.experts.down_proj": Spec("BF16", (E, H, I))}
    counts = {name: np.zeros(spec.matrix, int) for name, spec in tensors.items()}
    for module, found in resolve(modules, tensors).items():
        height, width = modules[module]
        counts[found.tensor][found.row : found.row + height, found.column : found.column + width] += 1
    assert all((count == 1).all() for count in counts.values())


def test_an_expert_beyond_the_last_has_no_place() -> None:
    assert "[7, 5]" in str(refused({f"{NEW}.experts.{E}.gate_proj": (I, H)}, base(**{f"{NEW}.experts.gate_up_proj": (E, 2 * I, H)})))


def test_an_expert_of_another_size_has_no_place() -> None:
    refused({f"{NEW}.experts.0.gate_proj": (2 * I, H)}, base(**{f"{NEW}.experts.gate_up_proj": (E, 2 * I, H)}))


@pytest.mark.parametrize("projection", ["gate_proj", "up_proj"])
def test_a_hidden_size_of_twice_the_intermediate_one_cannot_be_told_apart(projection: str) -> None:
    """(2I, H) and (H, 2I) are then the same shape."""
    error = refused({f"{NEW}.experts.0.{projection}": (I, 2 * I)}, base(**{f"{NEW}.experts.gate_up_proj": (E, 2 * I, 2 * I)}), "qwen3_moe")
    assert isinstance(error, UnsupportedError)
    assert error.tensor == f"{NEW}.experts.0.{projection}"
    assert "rows and columns" in str(error)


def test_a_square_down_projection_cannot_be_told_apart() -> None:
    assert "rows and columns" in str(refused({f"{NEW}.experts.0.down_proj": (H, H)}, base(**{f"{NEW}.experts.down_proj": (E, H, H)})))


@pytest.mark.parametrize("turned", [False, True])
def test_the_other_parameter_tells_which_way_round_a_square_one_is(turned: bool) -> None:
    """As in gpt-oss, whose down_proj is square, and in models with H = 2I, whose gate_up_proj is."""

    def tensors(out: int, into: int, inner: int) -> dict[str, Spec]:
        shapes = {"gate_up_proj": (2 * inner, into), "down_proj": (out, inner)}
        return base(**{f"{NEW}.experts.{name}": (E, *(shape[::-1] if turned else shape)) for name, shape in shapes.items()})

    down = place(f"{NEW}.experts.1.down_proj", (H, H), tensors(H, H, H))
    assert down == Place(f"{NEW}.experts.down_proj", row=H, transposed=turned)
    square = tensors(2 * I, 2 * I, I)
    assert place(f"{NEW}.experts.1.gate_up_proj", (2 * I, 2 * I), square) == Place(
        f"{NEW}.experts.gate_up_proj", row=2 * I, transposed=turned
    )
    assert place(f"{NEW}.experts.1.up_proj", (I, 2 * I), square) == Place(
        f"{NEW}.experts.gate_up_proj", row=2 * I + (0 if turned else I), column=I if turned else 0, transposed=turned
    )


def test_two_square_parameters_tell_nothing() -> None:
    refused({f"{NEW}.experts.0.down_proj": (H, H)}, base(**{f"{NEW}.experts.{name}": (E, H, H) for name in ("down_proj", "gate_up_proj")}))


@pytest.mark.parametrize("model_type", ["qwen3_moe", "gpt_oss"])
@pytest.mark.parametrize("shape", [(E, 2 * I, H), (E, H, 2 * I)])
def test_gate_and_up_of_an_expert_together(shape: tuple[int, ...], model_type: str) -> None:
    found = place(f"{NEW}.experts.2.gate_up_proj", (2 * I, H), base(**{f"{NEW}.experts.gate_up_proj": shape}), model_type)
    assert found == Place(f"{NEW}.experts.gate_up_proj", row=2 * shape[1], transposed=shape[1] == H)


@pytest.mark.parametrize("part", ["gate_proj", "up_proj"])
def test_gate_and_up_together_and_apart_lie_in_each_other(part: str) -> None:
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


def test_a_convolution_is_no_place_for_a_matrix() -> None:
    refused({"layers.0.mixer.conv1d": (6, 4)}, stored("model.layers.0.mixer.conv1d.weight", shape=(6, 1, 4)))
    refused({"visual.patch_embed.proj": (6, 12)}, stored("visual.patch_embed.proj.weight", shape=(6, 3, 2, 2)))


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
    found = resolve(GPT2, STORED, {"model_type": model_type})
    assert found == {name: Place(f"{name}.weight", transposed=True) for name in GPT2}


def test_a_square_linear_of_a_model_with_conv1d_is_not_transposed() -> None:
    assert place("score", (4, 4), stored("score.weight", shape=(4, 4)), "gpt2") == Place("score.weight")


def test_other_shapes_say_how_they_are_stored() -> None:
    shapes = {name: shape for name, shape in GPT2.items() if shape != (4, 4)}
    assert all(found.transposed for found in resolve(shapes, STORED).values())


def test_a_square_weight_among_transposed_ones_is_refused_where_the_model_is_unknown() -> None:
    error = refused(GPT2, STORED)
    assert error.code == "E-ORIENTATION"
    assert error.tensor == "transformer.h.0.attn.c_proj"
    assert "model_type" in str(error)


def test_a_square_conv1d_alone_is_refused_where_the_model_is_unknown() -> None:
    """Nothing in the files says how it is stored, and half of the guesses would be wrong."""
    refused({"transformer.h.0.attn.c_proj": (4, 4)}, STORED)
    refused({"h.0.attn.c_proj": (4, 4)}, STORED)


def test_a_square_c_proj_of_a_model_without_conv1d_is_not_transposed() -> None:
    name = "transformer.h.0.attn.c_proj"
    assert place(name, (4, 4), stored(f"{name}.weight", shape=(4, 4)), "gpt_bigcode") == Place(f"{name}.weight")


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
    assert place(module, (6, 4), tensors) == Place(head, copied=embedding)


def test_a_head_of_its_own_is_no_copy() -> None:
    tensors = stored("lm_head.weight", "model.embed_tokens.weight")
    assert place("lm_head", (6, 4), tensors) == Place("lm_head.weight")


def test_a_tied_head_has_the_shape_of_the_embedding() -> None:
    error = refused({"lm_head": (7, 4)}, stored("model.embed_tokens.weight"))
    for said in ("lm_head", "[7, 4]", "[6, 4]"):
        assert said in str(error)


def test_a_square_tied_head_is_no_conv1d() -> None:
    found = resolve({**GPT2, "lm_head": (4, 4)}, {**STORED, "transformer.wte.weight": Spec("F32", (4, 4))}, {"model_type": "gpt2"})
    assert found["lm_head"] == Place("lm_head.weight", copied="transformer.wte.weight")


def test_a_quantized_embedding_is_no_head() -> None:
    with pytest.raises(UnsupportedError, match="quantized"):
        resolve({"lm_head": (6, 4)}, {"model.embed_tokens.weight": Spec("I8", (6, 4))})


def test_a_model_that_ties_nothing_and_has_no_head_is_not_given_one() -> None:
    """Its head is missing from the files, not shared."""
    with pytest.raises(IncompatibleError, match="lm_head"):
        resolve({"lm_head": (6, 4)}, stored("model.embed_tokens.weight"), {"model_type": "llama", "tie_word_embeddings": False})


def test_a_config_is_untied_wherever_it_says_that_it_is_tied() -> None:
    config = {"model_type": "x", "tie_word_embeddings": True, "text_config": {"tie_word_embeddings": True, "a": 1}, "vision_config": {}}
    assert untied(config) == {
        "model_type": "x",
        "tie_word_embeddings": False,
        "text_config": {"tie_word_embeddings": False, "a": 1},
        "vision_config": {},
    }
    assert untied({}) == {"tie_word_embeddings": False}
    assert config["tie_word_embeddings"] is True


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.q_proj", "language_model.model.layers.3.mlp.experts.2.w1", "transformer.h.0.attn.c_attn", "lm_head", "model", "a.b"],
)
def test_the_canonical_name_of_a_canonical_name_is_itself(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)


@pytest.mark.parametrize("architectures", [5, "LlamaForCausalLM", {"a": 1}, None, [], [5]])
def test_architectures_that_are_none(architectures: object) -> None:
    config = {"architectures": architectures}
    assert head_of({"model.embed_tokens.weight": Spec("F32", (4, 2))}, config) is None


def test_whose_embeddings_can_be_untied() -> None:
    embedding = {"model.decoder.embed_tokens.weight": Spec("F32", (4, 2))}
    config = {"architectures": ["OPTForCausalLM"], "vocab_size": 4, "tie_word_embeddings": True}
    assert head_of(embedding, config) == ("lm_head.weight", "model.decoder.embed_tokens.weight")
    check_untied(embedding, embedding, config)
    for shared in ({"is_encoder_decoder": True}, {"architectures": ["BartForConditionalGeneration"], "is_encoder_decoder": True}):
        with pytest.raises(UnsupportedError, match="is tied to other tensors"):
            check_untied(embedding, embedding, config | shared)
        with pytest.raises(UnsupportedError):
            check_untied(embedding, {**embedding, "lm_head.weight": Spec("F32", (4, 2))}, config | shared)
    check_untied(embedding, embedding, config | {"is_encoder_decoder": True, "architectures": ["BartForSequenceClassification"]})
    check_untied(embedding, embedding, config | {"is_encoder_decoder": True, "tie_word_embeddings": False})
    other = {"model.tokens.weight": Spec("F32", (4, 2))}
    with pytest.raises(UnsupportedError):
        check_untied(other, other, config)
    check_untied({"model.layers.0.up_proj.weight": Spec("F32", (8, 2))}, other, config)
