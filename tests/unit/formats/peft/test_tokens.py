"""Which rows of an embedding were trained."""

from __future__ import annotations

import pytest

from adapterops.errors import InputError
from adapterops.formats.models.vocabulary import TOKEN_ROWS
from adapterops.formats.peft.tokens import of_rows, token_indices

NAME = f"model.embed_tokens{TOKEN_ROWS}"


@pytest.mark.parametrize("stated", [[5, 3], {"embed_tokens": [5, 3]}])
def test_rows_in_the_order_of_the_config(stated: object) -> None:
    assert token_indices({"trainable_token_indices": stated}, [NAME]) == {NAME: (5, 3)}


@pytest.mark.parametrize("stated", [None, [], [1, 1], [-1], [True], {"other": [1]}])
def test_rows_that_are_not_stated(stated: object) -> None:
    with pytest.raises(InputError, match="trainable_token_indices"):
        token_indices({"trainable_token_indices": stated}, [NAME])


def test_rows_that_the_file_has_not() -> None:
    with pytest.raises(InputError, match="and no tensor holds them"):
        token_indices({"trainable_token_indices": {"embed_tokens": [1]}}, [])


def test_what_trains_rows_alone_is_lora_on_nothing() -> None:
    fields = of_rows({"peft_type": "TRAINABLE_TOKENS", "token_indices": [3], "target_modules": ["wte"]})
    assert (fields["peft_type"], fields["trainable_token_indices"]) == ("LORA", [3])
    assert "target_modules" not in fields
