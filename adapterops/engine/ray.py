"""Jobs as tasks of Ray, on the machines of a cluster or on this one. Texts travel, tensors do not.

What ends a job with an error ends the work: it would end so again. A job whose worker or machine was lost is done again.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import NotFoundError, ResourceError

RETRIES = 5
"""How often a job is done again whose worker or machine was lost; what kills a worker each time is not tried for ever."""

LOCAL = "local"
STORE = 100 << 20
"""Bytes for objects on this machine; no tensor is one."""

PATIENCE = 1.0
"""Seconds between two looks at whether somebody wants to stop."""


def run(
    function: Callable[[str], str],
    items: Sequence[str],
    *,
    memory: int,
    address: str | None = None,
    how: Execution = DEFAULT,
) -> Generator[str, None, None]:
    """`function(item)` for each item, each in a process with one processor, as they are done.

    Args:
        function: one that other processes can import.
        memory: bytes that one call takes.
        address: of the cluster, or `auto`; None is what `RAY_ADDRESS` says, or a new one on this machine, with
            `how.workers` processors.

    Raises:
        NotFoundError: Ray is not installed, or there is no cluster at that address.
        ResourceError: workers were lost again and again.
        Exception: the first that a call raised; what is not begun by then is not done.

    Cost: starting Ray, some seconds; and of each worker, its imports.
    """
    if not items:
        return
    with _connected(address, how) as ray:
        task = ray.remote(
            num_cpus=1, memory=memory, max_retries=RETRIES, retry_exceptions=False, scheduling_strategy="SPREAD"
        )(function)
        waiting = [task.remote(item) for item in items]
        try:
            while waiting:
                done, waiting = ray.wait(waiting, timeout=PATIENCE)
                for each in done:
                    yield _result(ray, each)
        finally:
            for each in waiting:
                ray.cancel(each, force=True)


def _result(ray: Any, task: Any) -> str:
    from ray import exceptions

    try:
        result: str = ray.get(task)
        return result
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise
    except exceptions.RayError as error:
        raise ResourceError(
            f"a worker of Ray was lost {RETRIES + 1} times: {str(error).splitlines()[0]}",
            hint="finished files are kept: look at the memory of the machines, and run the same command again",
        ) from error


@contextmanager
def _connected(address: str | None, how: Execution) -> Iterator[Any]:
    """Ray, connected for as long as the block takes."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a command sends nothing that it was not asked to
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        hint = "pip install 'adapterops[ray]'"
        raise NotFoundError("this needs Ray, which is not installed", hint=hint, code="E-NOT-INSTALLED") from error
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    own = {"num_cpus": how.threads, "object_store_memory": STORE, "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **(own if address == LOCAL else {}))
    except ConnectionError as error:
        raise NotFoundError(
            f"there is no cluster of Ray at {address}",
            hint="start one with `ray start --head`; without --address one is started on this machine",
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray has put its own in its place
    try:
        yield ray
    finally:
        ray.shutdown()
