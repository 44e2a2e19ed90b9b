"""Rows of embeddings that were trained by themselves, as a config names them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from adapterops.errors import InputError, in_json
from adapterops.formats.models.vocabulary import TOKEN_ROWS, is_input, is_output


def of_rows(fields: Any) -> Any:
    """A config as that of LoRA: where rows of embeddings alone are trained, of LoRA on nothing that has them, too.

    >>> of_rows({"peft_type": "TRAINABLE_TOKENS", "token_indices": [3], "target_modules": ["wte"]})["trainable_token_indices"]
    [3]
    """
    if not isinstance(fields, dict) or fields.get("peft_type") != "TRAINABLE_TOKENS":
        return fields
    own = ("token_indices", "target_modules", "init_weights")
    rest = {name: value for name, value in fields.items() if name not in own}
    return {
        **rest,
        "peft_type": "LORA",
        "r": 1,
        "lora_alpha": 1,
        "trainable_token_indices": fields.get("token_indices"),
    }


def token_indices(fields: Any, names: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Which rows the full tensors of these names are, by the config.

    Raises:
        InputError: it names none, or no rows; or rows of a module that the file has not.
    """
    stated = fields.get("trainable_token_indices") if isinstance(fields, dict) else None
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        module, rows = name.removesuffix(TOKEN_ROWS), stated
        if isinstance(stated, dict):
            rows = _rows(module, stated)
            if rows is None and is_output(f"{module}.weight"):  # which PEFT keeps tied to the input embedding
                inputs = [name.removesuffix(TOKEN_ROWS) for name in names]
                rows = next((_rows(each, stated) for each in inputs if is_input(f"{each}.weight")), None)
        whole = isinstance(rows, list) and all(type(row) is int and row >= 0 for row in rows)
        if not whole or not rows or len(set(rows)) != len(rows):
            raise InputError(
                f"trainable_token_indices is {in_json(stated)}, expected the numbers of the rows that {name} has, each once",
                hint="give the config that was saved with the adapter",
                code="E-CONFIG",
            )
        found[name] = tuple(rows)
    keys = stated.items() if isinstance(stated, dict) else [("the input embedding", stated)] if stated else []
    for key, rows in keys:
        there = isinstance(key, str) and any(name.removesuffix(TOKEN_ROWS).endswith(key) for name in names)
        if not (there or (not isinstance(stated, dict) and names)) and rows not in map(list, found.values()):
            raise InputError(
                f"trainable_token_indices names rows of {key}, and no tensor holds them",
                hint="save it again",
                code="E-KEY",
            )
    return found


def _rows(module: str, stated: Mapping[Any, Any]) -> Any:
    """What is stated for a module, by PEFT's rule: a name, or the end of one."""
    return next((each for key, each in stated.items() if isinstance(key, str) and module.endswith(key)), None)
