"""Which tensors only an adapter has, by their names: of whatever kind, read here or not."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from adapterops.formats.peft.keys import updates
from adapterops.formats.peft.types import of_peft
from adapterops.regex import Regex

CERTAIN = Regex(
    r"lora|hada_|lokr_|\bb?oft_|ia3_|\b(?:on_input|dora_scale)$|\b(?:diff\w*|[wb]_norm|set_weight|reshape_weight)$"
    r"|\.(?:[qp]_layer)\.weight$|\.lambda_layer$|\.bias_(?:indices|values|size)$|^bundle_emb\.|^prompt_embeddings$"
)
"""What names of adapters have, and names of models do not."""

SHORT = Regex(r"\.(?:[ab][12]|bm)\.weight$|\.alpha$")
"""What a model may have, too."""


@lru_cache(1 << 16)
def is_of_adapter(name: str) -> bool:
    """Whether only an adapter has a tensor of this name.

    >>> is_of_adapter("x.vera_lambda_b"), is_of_adapter("x.fourierft_spectrum"), is_of_adapter("prompt_encoder.weight")
    (True, True, False)
    """
    return bool(CERTAIN.search(name) or of_peft().search(name) or updates().fullmatch(name))


def all_of_adapter(names: Collection[str]) -> bool:
    """Whether these are the tensors of an adapter, and none is that of a model.

    >>> all_of_adapter(["x.lora_A.weight", "x.alpha"]), all_of_adapter(["x.lora_A.weight", "y.weight"])
    (True, False)
    """
    return are_of_adapter(names) and all(is_of_adapter(name) or SHORT.search(name) for name in names)


def are_of_adapter(names: Collection[str]) -> bool:
    """Whether these are the tensors of an adapter, and not of a model.

    >>> are_of_adapter(["x.a1.weight", "x.b1.weight"]), are_of_adapter(["snake.alpha", "snake.weight"])
    (True, False)
    """
    return any(map(is_of_adapter, names)) or (bool(names) and all(map(SHORT.search, names)))
