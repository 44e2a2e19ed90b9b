"""Which adapters a collection can hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collections_of import CONFIG, MODULES, adapters, factors
from peft_folders import adapter

import adapterops as ao
from adapterops.adapters.compressible import check_compressible
from adapterops.errors import IncompatibleError, InputError, OptionError, ShapeError, UnsupportedError
from adapterops.formats.peft.config import AdapterConfig

RANDOM = np.random.default_rng(0)


def of(
    config: AdapterConfig = CONFIG, shape: tuple[int, int] = (24, 20), module: str = "model.layers.0.q_proj"
) -> ao.Adapter:
    return ao.Adapter.of({module: factors(RANDOM, shape, 2)}, config)


def test_lora_of_one_base_is_taken(tmp_path: Path) -> None:
    check_compressible({name: ao.open_adapter(path) for name, path in adapters(tmp_path).items()})
    check_compressible({"a": of(), "b": of(AdapterConfig())})


def test_another_base_is_refused_by_name() -> None:
    with pytest.raises(IncompatibleError, match=r"is for owner/other, and .* for owner/base"):
        check_compressible({"a": of(), "b": of(AdapterConfig("owner/other"))})


def test_other_shapes_and_spellings_are_refused() -> None:
    with pytest.raises(ShapeError):
        check_compressible({"a": of(), "b": of(shape=(12, 20))})
    with pytest.raises(IncompatibleError, match="two names"):
        check_compressible({"a": of(), "b": of(module="layers.0.q_proj")})


@pytest.mark.parametrize("name", ["", "a#b", "a/b", "a=b", " a", "a\nb"])
def test_a_name_that_could_not_be_given_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        check_compressible({name: of()})


def test_nothing_is_not_compressed() -> None:
    with pytest.raises(OptionError, match="no adapter"):
        check_compressible({})


def full(folder: Path) -> ao.Adapter:
    tensors: dict[str, Any] = {"score.weight": np.ones((2, 4), np.float32)}
    return ao.open_adapter(adapter(folder, {"modules_to_save": ["score"]}, **tensors))


def dora(folder: Path) -> ao.Adapter:
    magnitude: dict[str, Any] = {"q.lora_magnitude_vector": np.ones(6, np.float32)}
    return ao.open_adapter(adapter(folder, {"use_dora": True}, **magnitude))


def dense(folder: Path) -> ao.Adapter:
    return ao.Adapter.of({"q": ao.Dense(np.ones((3, 2)))})


def kohya(folder: Path) -> ao.Adapter:
    updates = {
        f"unet.down_blocks.0.attentions.{module.replace('.', '_')}": factors(RANDOM, (4, 3), 1) for module in MODULES
    }
    return ao.Adapter.of(updates, AdapterConfig(format="kohya"))


@pytest.mark.parametrize(
    ("made", "message"), [(full, "full tensor"), (dora, "DoRA"), (dense, "no factors"), (kohya, "format kohya")]
)
def test_what_a_collection_does_not_hold_is_named(
    tmp_path: Path, made: Callable[[Path], ao.Adapter], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        check_compressible({"a": made(tmp_path)})
    assert caught.value.hint


def test_embeddings_and_experts_are_named() -> None:
    module = "model.layers.0.q_proj"
    for config in (AdapterConfig(embeddings=frozenset({module})), AdapterConfig(experts={module: 4})):
        with pytest.raises(UnsupportedError, match=r"embedding|experts"):
            check_compressible({"a": of(config)})
