"""Ranges of layers of a base, for the adapters that say them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from corpus import config, factors, write_adapter
from mergekit_models import write

import adapterops as ao
from adapterops.errors import IncompatibleError
from adapterops.operations.replication import of_its_layers, replicated


def adapter(path: Path, ranges: Any) -> ao.Adapter:
    return ao.open_adapter(write_adapter(path, factors(), config(2, layer_replication=ranges)))


def test_layers_and_their_number(tmp_path: Path) -> None:
    base = ao.open_checkpoint(write(tmp_path / "base", "chat"))
    one, none = adapter(tmp_path / "one", [[0, 2], [1, 3]]), adapter(tmp_path / "none", None)
    found = replicated(base, [one, one])
    assert found.config is not None
    assert found.config["num_hidden_layers"] == 4
    name = "model.layers.{}.mlp.down_proj.weight"
    for there, here in enumerate((0, 1, 1, 2)):
        assert found.stored[name.format(there)] is base.stored[name.format(here)]
    assert replicated(base, [none]) is replicated(base, []) is base
    assert of_its_layers(none) is none
    assert not of_its_layers(one).config.replication
    assert replicated(found, [of_its_layers(one)]) is found


def test_what_does_not_fit(tmp_path: Path) -> None:
    base = ao.open_checkpoint(write(tmp_path / "base", "chat"))
    one, other = adapter(tmp_path / "one", [[0, 9]]), adapter(tmp_path / "other", [[0, 1]])
    with pytest.raises(IncompatibleError, match=r"its layer_replication is \[\[0, 9\]\]: .* the model has 3"):
        replicated(base, [one])
    for those in ([one, other], [other, one]):
        with pytest.raises(IncompatibleError, match="layers of one number are different ones"):
            replicated(base, those)
