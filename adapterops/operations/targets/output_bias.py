"""The bias of an encoder-decoder's logits, which is never trained, where the vocabulary gets another size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapterops.formats.models.vocabulary import is_buffer
from adapterops.storage.tensors import Spec

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Rows
    from adapterops.updates.survival import Block


def output_biases(layout: Mapping[str, Spec], words: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Name → shape, of the biases that follow the size of a vocabulary.

    Args:
        words: the size before and after.
    """
    before, after = words
    return {name: (1, after) for name, spec in layout.items() if is_buffer(name) and spec.shape == (1, before)}


def with_words(before: Rows, words: int) -> Rows:
    """The bias cut to the first words, or with zeros for new ones: what transformers' resize_token_embeddings does."""

    def rows(begin: int, end: int) -> Block:
        import numpy as np

        from adapterops.updates.survival import Block

        values = before(begin, end).values[:, :words]
        return Block(np.pad(values, ((0, 0), (0, words - values.shape[1]))), [])

    return rows
