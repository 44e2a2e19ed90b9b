"""Many adapters as one collection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collections_of import MODULES, adapters, collection, factors

import adapterops as ao
from adapterops.adapters import compressing
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError, OutputExistsError, ResourceError
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.spool import Spool
from adapterops.storage.writer import SafetensorsWriter


def relative(opened: ao.Adapter, original: ao.Adapter, module: str) -> float:
    exact = original.updates[module].dense()
    return float(np.linalg.norm(opened.updates[module].dense() - exact) / np.linalg.norm(exact))


def test_every_adapter_is_there_again_within_its_error(tmp_path: Path) -> None:
    paths = adapters(tmp_path)
    originals = {name: ao.open_adapter(path) for name, path in paths.items()}
    done = ao.compress(originals, tmp_path / "coll", error=0.02)
    assert sorted(path.name for path in done.path.iterdir()) == ["adapterops.json", "collection.safetensors"]
    assert done.bytes == (tmp_path / "coll" / "collection.safetensors").stat().st_size
    errors = {}
    for name, original in originals.items():
        opened = ao.open_adapter(f"{tmp_path / 'coll'}#{name}")
        assert opened.config.base_model == "owner/base"
        assert opened.config.fields == original.config.fields
        assert opened.layout.keys() == original.layout.keys()
        errors[name] = {module: relative(opened, original, module) for module in MODULES}
        squares = sum((e * original.updates[m].norm()) ** 2 for m, e in errors[name].items())
        total = sum(original.updates[module].norm() ** 2 for module in MODULES)
        assert done.errors[name] == pytest.approx((squares / total) ** 0.5, rel=1e-3)
    error, member, module = done.worst
    assert error == pytest.approx(errors[member][module], rel=1e-3)
    assert max(max(each.values()) for each in errors.values()) <= error * 1.001 <= 0.02


def test_what_would_be_written_is_what_is_written(tmp_path: Path) -> None:
    originals = {name: ao.open_adapter(path) for name, path in adapters(tmp_path).items()}
    planned, done = ao.compress(originals, None), ao.compress(originals, tmp_path / "coll")
    assert planned.path is None
    assert {**planned.as_json(), "path": str(done.path)} == done.as_json()


def test_workers_change_no_byte(tmp_path: Path) -> None:
    originals = {name: ao.open_adapter(path) for name, path in adapters(tmp_path).items()}
    for workers in (1, 3):
        ao.compress(originals, tmp_path / str(workers), how=Execution(workers=workers))
    one, three = (tmp_path / each / "collection.safetensors" for each in "13")
    assert one.read_bytes() == three.read_bytes()


def test_adapters_may_have_different_modules_and_ranks(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    parts = {"a": ["model.layers.0.q_proj"], "b": [*MODULES], "c": ["model.layers.1.k_proj", "model.layers.0.q_proj"]}
    originals = {
        name: ao.Adapter.of({module: factors(random, MODULES[module], rank) for module in modules})
        for rank, (name, modules) in enumerate(parts.items(), 1)
    }
    ao.compress(originals, tmp_path / "coll")
    for name, modules in parts.items():
        opened = ao.open_adapter(f"{tmp_path / 'coll'}#{name}")
        assert set(opened.layout) == set(modules)
        assert all(relative(opened, originals[name], module) <= 0.01 for module in modules)


def test_equal_adapters_in_other_factors_are_stored_once(tmp_path: Path) -> None:
    first = ao.open_adapter(adapters(tmp_path, 1)["task0"])
    G = np.random.default_rng(3).standard_normal((4, 4))
    other = {
        module: ao.LowRank(each.B @ G, np.linalg.inv(G) @ each.A, each.scale)
        for module in MODULES
        for each in [first.updates[module]]
    }
    done = ao.compress({"a": first, "b": ao.Adapter.of(other, first.config)}, tmp_path / "coll")
    assert set(done.modules.values()) == {1}
    assert done.errors["b"] <= 0.01


def test_an_update_of_zeros_is_carried(tmp_path: Path) -> None:
    zero = ao.LowRank(np.zeros((24, 2)), np.ones((2, 20)))
    ao.compress({"a": ao.Adapter.of({"model.layers.0.q_proj": zero})}, tmp_path / "coll")
    assert not ao.open_adapter(f"{tmp_path / 'coll'}#a").updates["model.layers.0.q_proj"].dense().any()


@pytest.mark.parametrize(
    ("options", "message"), [({"error": 0.0}, "error"), ({"error": 1.0}, "error"), ({"rank": 0}, "rank")]
)
def test_what_is_not_possible_is_refused(tmp_path: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ao.compress({"a": ao.open_adapter(adapters(tmp_path, 1)["task0"])}, tmp_path / "coll", **options)
    assert not (tmp_path / "coll").exists()


def test_the_output_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = adapters(tmp_path)
    before = sorted(tmp_path.iterdir())
    calls = []

    def fails(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return code(*arguments)

    code = compressing.code
    monkeypatch.setattr(compressing, "code", fails)
    with pytest.raises(KeyboardInterrupt):
        ao.compress({n: ao.open_adapter(p) for n, p in paths.items()}, tmp_path / "coll", how=Execution(workers=1))
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_is_not_as_measured_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(self: SafetensorsWriter) -> None:
        entry = SafetensorsFile(out).entries["model.layers.1.q_proj:left.16"]
        data = bytearray(out.read_bytes())
        begin = 8 + int.from_bytes(data[:8], "little") + entry.begin
        data[begin : begin + 8] = bytes(8)
        out.write_bytes(data)

    def into(self: Spool, path: Path, *others: Any) -> None:
        nonlocal out
        out = path
        write(self, path, *others)

    out, write = tmp_path, Spool.into
    monkeypatch.setattr(Spool, "into", into)
    monkeypatch.setattr(SafetensorsWriter, "check", spoiled)
    with pytest.raises(ao.AdapterOpsError, match="another update than was measured"):
        collection(tmp_path, adapters(tmp_path))
    assert not (tmp_path / "coll").exists()


def test_an_output_that_is_there_is_kept_without_force(tmp_path: Path) -> None:
    paths = adapters(tmp_path, 2)
    place = collection(tmp_path, paths)
    originals = {name: ao.open_adapter(path) for name, path in paths.items()}
    with pytest.raises(OutputExistsError):
        ao.compress(originals, place)
    ao.compress(originals, place, error=0.1, force=True)
    assert ao.inspect_collection(place).error == 0.1


def test_memory_is_bounded_by_a_module(tmp_path: Path) -> None:
    originals = {name: ao.open_adapter(path) for name, path in adapters(tmp_path).items()}
    with pytest.raises(ResourceError, match="one worker takes"):
        ao.compress(originals, None, how=Execution(memory=1000))


def test_the_manifest_says_what_was_compressed_and_how_far_it_moved(tmp_path: Path) -> None:
    place = collection(tmp_path, adapters(tmp_path, 2))
    manifest = json.loads((place / "adapterops.json").read_text())
    assert manifest["operation"]["operation"] == "compress"
    assert [each["path"] for each in manifest["inputs"]] == ["task0", "task1"]
    assert manifest["errors"].keys() == {"task0", "task1"}
    assert list(manifest["outputs"]) == ["collection.safetensors"]
