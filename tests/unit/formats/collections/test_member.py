"""One adapter of a collection, as a file of factors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from collections_of import MODULES, adapters, collection

from adapterops.errors import NotFoundError
from adapterops.formats.collections.contents import open_collection
from adapterops.formats.collections.member import MemberFile
from adapterops.storage.place import Place


@pytest.fixture
def member(tmp_path: Path) -> MemberFile:
    return MemberFile(open_collection(Place.of(collection(tmp_path, adapters(tmp_path)))), "task3")


def test_its_tensors_are_those_of_its_header(member: MemberFile) -> None:
    assert set(member.entries) == {f"{module}.lora_{side}" for module in MODULES for side in "AB"}
    end = 0
    for name, entry in member.entries.items():
        array = member.array(name)
        assert (entry.dtype, entry.shape) == ("F32", array.shape)
        assert (entry.begin, entry.end) == (end, end + array.nbytes)
        end = entry.end


def test_parts_of_a_tensor_are_those_of_all_of_it(member: MemberFile) -> None:
    for name in member.entries:
        whole = member.array(name)
        np.testing.assert_array_equal(member.array(name, (1, 3)), whole[1:3])
        assert member.read(name, 4, 20) == whole.tobytes()[4:20]
        assert b"".join(map(bytes, member.chunks(name))) == whole.tobytes()


def test_what_is_read_is_a_copy(member: MemberFile) -> None:
    name = next(iter(member.entries))
    member.array(name)[:] = 0
    assert member.array(name).any()


def test_a_name_that_is_not_there_is_answered_with_a_near_one(tmp_path: Path) -> None:
    opened = open_collection(Place.of(collection(tmp_path, adapters(tmp_path))))
    with pytest.raises(NotFoundError, match="no adapter 'tsk1' among its 5") as caught:
        MemberFile(opened, "tsk1")
    assert "task1" in str(caught.value.hint)
