from __future__ import annotations

import numpy as np
import pytest

from adapterops.operations.targets.output_bias import output_biases, with_words
from adapterops.storage.tensors import Spec
from adapterops.updates.survival import Block


def test_which_biases_follow_the_vocabulary() -> None:
    layout = {"final_logits_bias": Spec("F32", (1, 6)), "lm_head.bias": Spec("F32", (6,))}
    assert output_biases(layout, (6, 8)) == {"final_logits_bias": (1, 8)}
    assert output_biases(layout, (5, 8)) == {}


@pytest.mark.parametrize(("words", "expected"), [(2, [1, 2]), (3, [1, 2, 3]), (5, [1, 2, 3, 0, 0])])
def test_a_bias_of_more_words_or_fewer(words: int, expected: list[int]) -> None:
    bias = np.array([[1, 2, 3]], "float32")
    found = with_words(lambda begin, end: Block(bias[begin:end], []), words)(0, 1).values
    np.testing.assert_array_equal(found, [expected])
