from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adapterops.adapters.adapter import Adapter
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.models.vocabulary import TOKEN_ROWS
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.targets.token_rows import makes_two_weights, token_rows
from adapterops.storage.tensors import Spec
from adapterops.updates.layout import Layout

EMBEDDING, HEAD = "model.embed_tokens", "lm_head"
BASE = {f"{EMBEDDING}.weight": Spec("F32", (6, 4))}
TIED = {"tie_word_embeddings": True}


def adapter(module: str | None = None, **rows: tuple[int, ...]) -> Adapter:
    tokens = {{"takes": EMBEDDING, "gives": HEAD}[end] + TOKEN_ROWS: each for end, each in rows.items()}
    full: Any = {name: SimpleNamespace(spec=Spec("F32", (len(each), 4))) for name, each in tokens.items()}
    layout = {module: Layout((6, 4), 1, "F32")} if module else {}
    return Adapter({}, layout, AdapterConfig(tokens=tokens), full=full)


def test_when_tied_ends_become_two() -> None:
    assert not makes_two_weights(adapter())
    assert not makes_two_weights(adapter(takes=(1, 2)))
    assert not makes_two_weights(adapter(takes=(1, 2), gives=(1, 2)))
    assert makes_two_weights(adapter(gives=(1, 2)))
    assert makes_two_weights(adapter(takes=(1, 2), gives=(1,)))


def test_rows_of_both_ends_are_those_of_one_weight_or_of_two() -> None:
    takes, gives = EMBEDDING + TOKEN_ROWS, HEAD + TOKEN_ROWS
    weight = f"{EMBEDDING}.weight"
    assert token_rows(adapter(takes=(1,), gives=(1,)), BASE, TIED, True) == {weight: (weight, takes)}
    assert token_rows(adapter(takes=(1,), gives=(2,)), BASE, TIED, False) == {
        weight: (weight, takes),
        "lm_head.weight": (weight, gives),
    }


def test_rows_that_the_base_has_not() -> None:
    with pytest.raises(IncompatibleError, match="the last is 6"):
        token_rows(adapter(takes=(1, 6)), BASE, TIED, True)
    with pytest.raises(IncompatibleError, match="nothing there"):
        token_rows(adapter(takes=(1,)), {"norm.weight": Spec("F32", (4,))}, TIED, True)


def test_rows_and_an_update_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="and an update"):
        token_rows(adapter(EMBEDDING, takes=(1,)), BASE, {"tie_word_embeddings": False}, False)
    with pytest.raises(UnsupportedError, match="lm_head an update"):
        token_rows(adapter(HEAD, takes=(1,)), BASE, TIED, False)
