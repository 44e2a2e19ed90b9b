from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adapterops.arrays import parallel as module
from adapterops.arrays.parallel import Batch, Crew, in_parallel, matrix, working


@contextmanager
def helped(crew: Crew) -> Iterator[threading.Thread]:
    """By a thread that waits for something to help with, once."""

    def help_once() -> None:
        with crew.changed:
            crew.changed.wait_for(crew.open, timeout=10)
            work = crew.open()
        if work:
            work()

    thread = threading.Thread(target=help_once)
    thread.start()
    with working(crew):
        yield thread
    thread.join()


def test_alone_it_is_a_map() -> None:
    assert in_parallel(str, range(3)) == ["0", "1", "2"]
    assert in_parallel(str, []) == []


def test_what_others_did_comes_in_its_place() -> None:
    both = threading.Barrier(2)

    def where(item: int) -> tuple[int, int]:
        if item < 2:
            both.wait(timeout=10)  # each of two threads is at one
        return item, threading.get_ident()

    crew = Crew()
    with helped(crew) as helper:
        found = in_parallel(where, range(20))
    assert [item for item, _ in found] == list(range(20))
    assert {thread for _, thread in found[:2]} == {threading.get_ident(), helper.ident}
    assert crew.open() is None


@pytest.mark.parametrize("crew", [None, Crew()])
def test_the_first_error_is_raised_and_nothing_is_begun_after_one(crew: Crew | None) -> None:
    begun = list[int]()

    def fails(item: int) -> None:
        begun.append(item)
        if item in (2, 3):
            raise ValueError(item)

    with working(crew), pytest.raises(ValueError, match="2"):
        in_parallel(fails, range(9))
    assert begun == [0, 1, 2]
    assert crew is None or crew.open() is None


def test_nobody_waits_for_a_thread_that_was_interrupted() -> None:
    begun = threading.Barrier(2)

    def interrupted(item: int) -> None:
        begun.wait(timeout=10)
        if item == 1:
            raise KeyboardInterrupt

    batch, found = Batch(interrupted, [0, 1]), list[BaseException]()

    def owner() -> None:
        try:
            batch.results()
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=owner, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=5)
    assert [type(error) for error in found] == [KeyboardInterrupt] * 2


def test_a_large_matrix_is_one_threads_at_a_time_and_who_waits_for_it_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 100)
    crew, both, waiting = Crew(), threading.Barrier(2), threading.Event()
    places, order = list[int](), list[str]()

    def other() -> None:
        with working(crew):
            waiting.set()
            with matrix((5, 8), "float64") as W:
                order.append("other")
                places.append(W.ctypes.data)

    thread = threading.Thread(target=other)
    with working(crew), matrix((6, 10), "float32") as W:
        places.append(W.ctypes.data)
        thread.start()
        waiting.wait(timeout=10)
        assert len(set(in_parallel(lambda item: (both.wait(timeout=10), threading.get_ident())[1], range(2)))) == 2
        with matrix((6, 10), "float32") as inner, matrix((2, 2), "float32") as small:
            assert len({W.ctypes.data, inner.ctypes.data, small.ctypes.data}) == 3
        order.append("first")
    thread.join()
    assert order == ["first", "other"]
    assert places[0] != places[1], "it has grown"
    with working(crew), matrix((30, 1), "float32") as again:
        assert again.ctypes.data == places[1]
