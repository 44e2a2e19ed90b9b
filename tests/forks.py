"""Workers that are forks: one process imports and collects all tests, and each worker runs whole files of them.

Most of what a worker of its own would do first is import torch and transformers, and compile and collect some hundred files.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

import pytest

NUMBER = 2
"""Bytes of the number of a file."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--workers", type=int, default=0, help="processes that run tests, each whole files of them")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    workers, config = session.config.option.workers, session.config
    if not workers or config.option.collectonly or session.testsfailed:
        return None
    files = [list(items) for _, items in groupby(session.items, key=lambda item: item.path)]
    numbers, feed = os.pipe()
    os.write(feed, b"".join(number.to_bytes(NUMBER) for number in range(len(files))))  # a pipe holds thousands
    os.close(feed)
    gc.freeze()  # what is there now is neither looked through nor copied again
    context, running, left = get_context("fork"), {}, len(session.items)
    for _ in range(workers):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(session, files, numbers, there))
        process.start()
        there.close()
        running[here] = process
    try:
        while running:
            for link in wait(list(running)):
                assert isinstance(link, Connection)
                try:
                    hook, values = link.recv()
                except EOFError:
                    process = running.pop(link)
                    process.join()
                    if process.exitcode:
                        session.shouldfail = f"a worker ended with {process.exitcode}"
                else:
                    if hook == "pytest_runtest_logreport":
                        values = {"report": config.hook.pytest_report_from_serializable(config=config, data=values)}
                    left -= hook == "pytest_runtest_logfinish"
                    getattr(config.hook, hook)(**values)
                if not running and left:
                    session.shouldfail = session.shouldfail or f"{left} tests were not run"
                if session.shouldfail:
                    raise session.Failed(session.shouldfail)
    finally:
        for process in running.values():
            process.terminate()
    return True


def _work(session: pytest.Session, files: Sequence[Sequence[pytest.Item]], numbers: int, link: Connection) -> None:
    """Run files, the next one that nobody has taken, until there is none."""
    plugins = session.config.pluginmanager
    capture = plugins.getplugin("capturemanager")
    capture.stop_global_capturing()  # into the same files as the other workers
    capture.start_global_capturing()
    plugins.unregister(name="terminalreporter")
    plugins.register(_Reports(session.config, link))
    del vars(sys.modules["__main__"])["__file__"]  # else each process that multiprocessing starts imports pytest first
    taken = chain.from_iterable(files[int.from_bytes(number)] for number in _until_empty(numbers))
    for item, following in pairwise(chain(taken, [None])):
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _until_empty(pipe: int) -> Iterator[bytes]:
    return iter(lambda: os.read(pipe, NUMBER), b"")


class _Reports:
    """What a worker tells of its tests."""

    def __init__(self, config: pytest.Config, link: Connection) -> None:
        self._config, self._link = config, link

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self._link.send(("pytest_runtest_logstart", {"nodeid": nodeid, "location": location}))

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        self._link.send(("pytest_runtest_logfinish", {"nodeid": nodeid, "location": location}))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._link.send(("pytest_runtest_logreport", data))
