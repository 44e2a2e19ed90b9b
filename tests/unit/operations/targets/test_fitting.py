"""Where in one tensor of a base a weight of a shape is."""

from __future__ import annotations

import pytest

from adapterops.errors import UnsupportedError
from adapterops.formats.models.naming import Candidate, Names
from adapterops.operations.targets.fitting import check_dtype, fit
from adapterops.operations.targets.target import RowShare, Target
from adapterops.storage.tensors import Spec

MODULE, TENSOR = "h.0.attn.c_attn", "h.0.attn.c_attn.weight"


def placed(shape: tuple[int, int], stored: tuple[int, ...], model_type: str) -> Target | None:
    base = {TENSOR: Spec("F32", stored)}
    names = Names(base, {"model_type": model_type}, {MODULE: shape})
    return fit(Candidate(TENSOR, TENSOR), RowShare(MODULE, MODULE, shape), names)


def test_a_linear_layer_is_stored_as_its_module_is() -> None:
    assert placed((6, 4), (6, 4), "llama") == Target(TENSOR, MODULE, MODULE, (6, 4))


def test_the_other_way_round_is_conv1d() -> None:
    assert placed((6, 4), (4, 6), "gpt2") == Target(TENSOR, MODULE, MODULE, (4, 6), transposed=True)


def test_of_a_square_one_the_type_of_the_model_decides() -> None:
    for model_type, transposed in (("gpt2", True), ("llama", False)):
        found = placed((4, 4), (4, 4), model_type)
        assert found is not None
        assert found.transposed == transposed


def test_a_kernel_of_one_input_is_a_matrix_as_it_is() -> None:
    """Of a convolution that is depthwise in one dimension, and of an update that is one: no matrix is."""
    names = Names({TENSOR: Spec("F32", (8, 1, 3))}, {}, {MODULE: (8, 3)})
    found = fit(Candidate(TENSOR, TENSOR), RowShare(MODULE, MODULE, (8, 3), kernel=(1, 3)), names)
    assert found == Target(TENSOR, MODULE, MODULE, (8, 3))
    assert placed((8, 3), (8, 1, 3), "") is None


def test_codes_are_not_added_to() -> None:
    with pytest.raises(UnsupportedError, match="stored as U8"):
        check_dtype(Candidate(TENSOR, TENSOR), {TENSOR: Spec("U8", (4, 4))})
