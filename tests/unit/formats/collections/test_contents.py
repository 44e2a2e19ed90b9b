"""The file of a collection, from a stranger: whatever is wrong in it is refused, and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collections_of import MODULES, adapters, collection
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import adapterops as ao
from adapterops.errors import AdapterOpsError, InputError
from adapterops.formats.collections.contents import listed, open_collection
from adapterops.storage.place import Place

Q = "model.layers.0.q_proj"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return collection(folder, adapters(folder)) / "collection.safetensors"


Spoil = Callable[[dict[str, Any], dict[str, Any]], None]


def spoiled(made: Path, folder: Path, spoil: Spoil) -> Path:
    """The collection with something else in its tensors, or its header."""
    tensors = load_file(made)
    with safe_open(made, "numpy") as file:
        metadata = dict(file.metadata())
    content = json.loads(metadata.pop("collection"))
    header = {"metadata": metadata, **content}
    spoil(tensors, header)
    metadata = header.pop("metadata")
    save_file(tensors, folder / "collection.safetensors", {**metadata, "collection": json.dumps(header)})
    return folder


def of(name: str, value: Any) -> Spoil:
    def spoil(tensors: dict[str, Any], header: dict[str, Any]) -> None:
        tensors[f"{Q}:{name}"] = value(tensors.get(f"{Q}:{name}"))

    return spoil


def without(name: str) -> Spoil:
    return lambda tensors, header: tensors.pop(f"{Q}:{name}")


def header(name: str, value: Any) -> Spoil:
    return lambda tensors, header: header.update({name: value})


def numbers(value: int) -> Spoil:
    return of("numbers", lambda there: np.where(np.arange(len(there)) == 1, np.int32(value), there))


SPOILED: dict[str, tuple[Spoil, str]] = {
    "another format": (header("metadata", {"format": "pt", "schema": "1"}), "does not say that it is a collection"),
    "another schema": (header("metadata", {"format": "adapterops-collection", "schema": "2"}), "schema '2'"),
    "a field more": (header("more", 1), "exactly error, members and modules"),
    "an error that is none": (header("error", "small"), "its error"),
    "an error of 0": (header("error", 0), "its error"),
    "no members": (header("members", {}), "its members"),
    "members that are a list": (header("members", ["a"]), "its members"),
    "a member with a sign in its name": (header("members", {"a#b": {}}), "cannot be the name"),
    "a module of one side": (header("modules", {Q: [3]}), "its modules"),
    "a module of negative sides": (header("modules", {Q: [-3, 4]}), "its modules"),
    "modules without tensors": (header("modules", {**{k: list(v) for k, v in MODULES.items()}, "x": [3, 4]}), "numbers is nothing"),
    "tensors without a module": (header("modules", {Q: [24, 20]}), "not one of its modules"),
    "another shape": (header("modules", {**{k: list(v) for k, v in MODULES.items()}, Q: [25, 20]}), "expected"),
    "a member more": (header("members", {name: {} for name in "abcdef"}), "expected"),
    "no numbers": (without("numbers"), "numbers is nothing"),
    "no table": (without("own"), "own is nothing"),
    "a number past the codes": (numbers(99), "expected"),
    "a number below none": (numbers(-2), "updates that are missing"),
    "numbers of another dtype": (of("numbers", lambda there: there.astype(np.int64)), "expected I32"),
    "an error that is not finite": (of("errors", lambda there: np.full_like(there, np.nan)), "errors that are not numbers"),
    "rows of 5 bits": (of("bits", lambda there: np.full_like(there, 5)), "an impossible number of bits"),
    "fewer than no rows": (of("own", lambda there: np.full_like(there, -1)), "an impossible number of bits"),
    "rows that are not there": (of("own", lambda there: there + 1), "expected"),
    "more rows than memory": (of("own", lambda there: np.full_like(there, 2**31 - 1)), "expected"),
    "a tensor more": (of("more", lambda _: np.zeros(3, np.float32)), "which does not belong to it"),
    "more directions than there are": (of("left.16", lambda _: np.zeros((25, 24), np.int16)), "shares 25 directions"),
    "a mean of another shape": (of("mean", lambda _: np.zeros((2, 3), np.float32)), "mean is"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED)
def test_what_is_wrong_is_named(made: Path, tmp_path: Path, spoil: Spoil, message: str) -> None:
    folder = spoiled(made, tmp_path, spoil)
    with pytest.raises(InputError, match=message):
        for _ in listed(open_collection(Place.of(folder))):
            pass
    with pytest.raises(AdapterOpsError):
        ao.open_adapter(f"{folder}#task1")


@pytest.mark.parametrize("part", ["left.16.step", "right.16.step", "mean"])
def test_numbers_that_are_not_finite_are_refused(made: Path, tmp_path: Path, part: str) -> None:
    folder = spoiled(made, tmp_path, of(part, lambda there: np.full_like(there, np.inf)))
    with pytest.raises(InputError, match="NaN or infinite"):
        ao.open_adapter(f"{folder}#task1").updates[Q]


def test_a_config_that_is_not_known_is_refused(made: Path, tmp_path: Path) -> None:
    folder = spoiled(made, tmp_path, lambda tensors, header: header["members"]["task1"].update(peft_type="OTHER"))
    with pytest.raises(AdapterOpsError, match="peft_type is 'OTHER'"):
        ao.open_adapter(f"{folder}#task1")


def test_a_header_that_is_no_json_is_refused(made: Path, tmp_path: Path) -> None:
    metadata = {"format": "adapterops-collection", "schema": "1"}
    for text in ("", "{", "[]", "null", "{" * 10_000):
        save_file(load_file(made), tmp_path / "collection.safetensors", {**metadata, "collection": text})
        with pytest.raises(InputError):
            open_collection(Place.of(tmp_path))


def test_a_file_that_is_cut_off_is_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "collection.safetensors").write_bytes(made.read_bytes()[:-5])
    with pytest.raises(InputError, match="cut off"):
        open_collection(Place.of(tmp_path))
