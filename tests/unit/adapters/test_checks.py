"""What adapters are refused for, each by its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from corpus import MODULES, config, write_adapter

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import (
    check_linear,
    check_named,
    check_needs_no_base,
    check_ordered,
    check_replicated_alike,
    check_same_kind,
    name,
)
from adapterops.adapters.opening import open_adapter
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.updates.layout import DORA


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    return open_adapter(write_adapter(tmp_path / "a", fields=config(2)))


def test_a_plain_one_passes(adapter: Adapter) -> None:
    check_named([adapter, adapter])
    check_same_kind([adapter, adapter])
    check_linear(adapter, "added")
    check_needs_no_base(adapter, "merged")
    assert name(2 * adapter) == name(adapter) == str(adapter.history.path)


def test_rows_in_another_order(adapter: Adapter) -> None:
    with pytest.raises(IncompatibleError):
        check_ordered(replace(adapter, interleaved={MODULES[0]: "num_attention_heads"}))


def test_layers_of_one_number_that_are_different_ones(adapter: Adapter) -> None:
    other = replace(
        adapter, config=replace(adapter.config, fields={**adapter.config.fields, "layer_replication": [[0, 2], [1, 2]]})
    )
    with pytest.raises(IncompatibleError, match="layer_replication"):
        check_replicated_alike([adapter, other])


def test_a_model_beside_adapters(adapter: Adapter) -> None:
    with pytest.raises(IncompatibleError):
        check_same_kind([adapter, replace(adapter, task_vector=True)])


def test_what_is_not_linear_or_needs_its_base(adapter: Adapter) -> None:
    layout = {module: replace(each, kind=DORA, reads="weight") for module, each in adapter.layout.items()}
    dora = replace(adapter, layout=layout)
    with pytest.raises(UnsupportedError, match="added"):
        check_linear(dora, "added")
    with pytest.raises(UnsupportedError, match="merged"):
        check_needs_no_base(dora, "merged")
