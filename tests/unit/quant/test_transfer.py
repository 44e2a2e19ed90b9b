"""On a processor nothing travels; a thread has one way to a device."""

from __future__ import annotations

import threading

import numpy as np

from adapterops.quant.transfer import transfer


def test_on_a_processor_numbers_stay_where_they_are() -> None:
    way, values = transfer("cpu"), np.arange(4.0)
    with way.working():
        there = way.there(values)
        values[0] = 9
        assert float(there[0]) == 9
        assert way.back({"codes": there})["codes"] is there


def test_each_thread_has_its_own() -> None:
    mine, theirs = transfer("cpu"), []
    thread = threading.Thread(target=lambda: theirs.extend([transfer("cpu"), transfer("cpu")]))
    thread.start()
    thread.join()
    assert transfer("cpu") is mine
    assert theirs[0] is theirs[1] is not mine
