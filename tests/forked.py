"""`python tests/forked.py N [OPTIONS]`: pytest, whose tests run in N processes that are forked when all are collected.

So torch, transformers and the tests are imported once. Each process takes one file after another.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import traceback
from collections.abc import Iterator
from itertools import groupby
from multiprocessing.connection import Connection, wait
from typing import Any

import pytest


class Reports:
    """A plugin that keeps what is reported."""

    def __init__(self) -> None:
        self.all: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.all.append(report)


class Forked:
    """A plugin that runs what was collected in so many processes."""

    def __init__(self, processes: int) -> None:
        self._processes, self._begun = processes, multiprocessing.get_context("fork").Value("i")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Whether it did; pytest itself says what is wrong with the collection."""
        hook = session.config.hook
        if session.testsfailed or session.config.option.collectonly:
            return None
        session.config._tmp_path_factory.getbasetemp()  # which is made new, once for all
        files = [list(items) for _, items in groupby(session.items, lambda item: item.path)]
        gc.collect()
        gc.freeze()  # what is shared is not written to, by looking for garbage
        running = dict(self._fork(session, files) for _ in range(self._processes))
        last = dict.fromkeys(running, "its first test")
        while running:
            for connection in wait(running):
                try:
                    said = connection.recv()
                except EOFError:
                    if os.waitpid(running.pop(connection), 0)[1]:
                        session.shouldfail = f"a process of the tests died after {last[connection]}"
                    continue
                for each in said:
                    report = hook.pytest_report_from_serializable(config=session.config, data=each)
                    hook.pytest_runtest_logreport(report=report)
                    last[connection] = report.nodeid
                if session.shouldfail:
                    self._begun.value = len(files)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        return True

    def _fork(self, session: pytest.Session, files: list[list[pytest.Item]]) -> tuple[Connection, int]:
        """Where a new process says what its tests do, and its number."""
        here, there = multiprocessing.Pipe(duplex=False)
        if process := os.fork():
            there.close()
            return here, process
        code, capture = 1, session.config.pluginmanager.getplugin("capturemanager")
        try:
            capture.stop_global_capturing()  # into files that are those of all processes
            capture.start_global_capturing()
            self._run(session, files, there)
            code = 0
        except KeyboardInterrupt:
            session._setupstate.teardown_exact(None)  # the fixtures that are in use
        except Exception:  # of pytest itself: a test's own is in its report
            traceback.print_exc()
        finally:
            capture.stop_global_capturing()
            os._exit(code)

    def _run(self, session: pytest.Session, files: list[list[pytest.Item]], there: Connection) -> None:
        """Run tests as pytest does, and send the reports of each."""
        config, reports, items = session.config, Reports(), self._taken(files)
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(reports)
        item = next(items, None)
        while item:
            following = None if session.shouldfail else next(items, None)
            config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            there.send([config.hook.pytest_report_to_serializable(config=config, report=each) for each in reports.all])
            reports.all.clear()
            item = following

    def _taken(self, files: list[list[pytest.Item]]) -> Iterator[Any]:
        """The tests of one file after another that no process has begun."""
        while True:
            with self._begun.get_lock():
                number, self._begun.value = self._begun.value, self._begun.value + 1
            if number >= len(files):
                return
            yield from files[number]


if __name__ == "__main__":
    del __file__  # each process that multiprocessing starts would run it again, and import pytest
    sys.exit(pytest.main(sys.argv[2:], [Forked(int(sys.argv[1]))]))
