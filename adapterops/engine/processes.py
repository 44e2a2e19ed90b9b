"""Jobs in processes of this machine. Texts travel, tensors do not.

Threads of one process take turns in Python's interpreter between any two kernels; processes do not. What ends a job with an
error ends the work: it would end so again. A job whose process was lost is done again.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from selectors import EVENT_READ, DefaultSelector
from signal import Signals
from threading import Thread
from typing import Any

from adapterops.engine.execution import DEFAULT, Execution
from adapterops.engine.process import tune
from adapterops.engine.registry import ENGINES, RETRIES
from adapterops.errors import AdapterOpsError, OptionError, ResourceError

START = f"import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from {__name__} import serve; serve()"


def run(
    function: Callable[[str], str],
    items: Sequence[str],
    *,
    memory: int,
    address: str | None = None,
    how: Execution = DEFAULT,
) -> Generator[str, None, None]:
    """`function(item)` for each item, in `how.workers` processes, as they are done.

    Args:
        function: one that other processes can import.

    Raises:
        OptionError: an address is given.
        ResourceError: a job loses its process again and again.
        Exception: the first that a call raised; what is not begun by then is not done, and what runs is killed.

    Cost: of each process Python's start, and the imports of the function.
    """
    if address is not None:
        raise OptionError("--address is that of a cluster, and processes are of this machine", hint="leave it out")
    waiting, lost, left = deque(items), Counter[str](), len(items)
    with ExitStack() as processes, DefaultSelector() as answers:

        def begin() -> None:
            process = processes.enter_context(_Process(function))
            answers.register(process.answers, EVENT_READ, process)
            process.ask(waiting.popleft())

        for _ in range(min(how.threads, len(items))):
            begin()
        while left:
            for ready, _ in answers.select():
                process: _Process = ready.data
                try:
                    error, found = process.answer()
                except (EOFError, pickle.UnpicklingError):  # nothing more, or half an answer
                    answers.unregister(process.answers)
                    lost[process.item] += 1
                    if lost[process.item] > RETRIES:
                        raise ResourceError(
                            f"a job was given up: its process {process.ended()}, {RETRIES + 1} times",
                            hint="finished files are kept: look at the memory of the machine, and run the same command again",
                        ) from None
                    waiting.append(process.item)
                    begin()
                    continue
                if error is not None:
                    raise error
                if waiting:
                    process.ask(waiting.popleft())
                left -= 1
                yield found


class _Process:
    """Another process, in a group of its own: Ctrl-C is for this one, which ends the others."""

    def __init__(self, function: Callable[[str], str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        self._asked: Any = self._process.stdin
        self.answers: Any = self._process.stdout
        self.item = ""
        self._send(sys.path)
        self._send(function)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self.ended()
        for pipe in (self._asked, self.answers):
            with suppress(OSError):  # what could not be sent is of no use any more
                pipe.close()

    def ask(self, item: str) -> None:
        """Have it do a job."""
        self.item = item
        self._send(item)

    def answer(self) -> tuple[Exception | None, str]:
        """What its job raised, or what it returned.

        Raises:
            EOFError, pickle.UnpicklingError: it was lost.
        """
        found: tuple[Exception | None, str] = pickle.load(self.answers)
        return found

    def ended(self) -> str:
        """How it ended, once it has."""
        code = self._process.wait()
        return f"was killed by {Signals(-code).name}" if code < 0 else f"ended with the exit code {code}"

    def _send(self, value: Any) -> None:
        with suppress(BrokenPipeError):  # it is lost, which whoever waits for its answer finds
            pickle.dump(value, self._asked)
            self._asked.flush()


def serve() -> None:
    """Do jobs as they come, until nobody is there to ask for more: then leave at once, whatever is being done."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed is no answer
    warnings.simplefilter("ignore")  # whoever divided the work gave them
    tune()
    asked: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_listen, args=(asked,), daemon=True).start()
    function = asked.get()
    while True:
        answers.write(_answer(function, asked.get()))
        answers.flush()


def _listen(asked: SimpleQueue[Any]) -> None:
    try:
        while True:
            asked.put(pickle.load(sys.stdin.buffer))
    finally:
        os._exit(1)


def _answer(function: Callable[[str], str], item: str) -> bytes:
    try:
        return pickle.dumps((None, function(item)))
    except Exception as error:  # whatever a job raises is for the process that asked
        if not isinstance(error, AdapterOpsError):
            error.add_note(traceback.format_exc())
        with suppress(Exception):
            pickle.loads(found := pickle.dumps((error, "")))
            return found
        return pickle.dumps((RuntimeError(traceback.format_exc()), ""))


ENGINES.add("processes", run)
