from __future__ import annotations

import threading

import pytest

from adapterops.arrays.parallel import Batch, in_parallel, offering


def test_alone_it_is_a_map() -> None:
    assert in_parallel(str, range(3)) == ["0", "1", "2"]
    assert in_parallel(str, []) == []


def test_what_others_did_comes_in_its_place() -> None:
    both, helpers = threading.Barrier(2), list[threading.Thread]()

    def where(item: int) -> tuple[int, int]:
        if item < 2:
            both.wait(timeout=10)  # each of two threads is at one
        return item, threading.get_ident()

    def offer(batch: Batch[int, tuple[int, int]]) -> None:
        helpers.append(threading.Thread(target=batch.help))
        helpers[0].start()

    with offering(offer):
        found = in_parallel(where, range(20))
    helpers[0].join()
    assert [item for item, _ in found] == list(range(20))
    assert {thread for _, thread in found[:2]} == {threading.get_ident(), helpers[0].ident}


@pytest.mark.parametrize("helped", [False, True])
def test_the_first_error_is_raised_and_nothing_is_begun_after_one(helped: bool) -> None:
    begun = list[int]()

    def fails(item: int) -> None:
        begun.append(item)
        if item in (2, 3):
            raise ValueError(item)

    with offering((lambda batch: batch.help()) if helped else None), pytest.raises(ValueError, match="2"):
        in_parallel(fails, range(9))
    assert begun == [0, 1, 2]
