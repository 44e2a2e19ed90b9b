"""Jobs as tasks of Ray, on the machines of a cluster or on this one. Texts travel, tensors do not.

What ends a job with an error ends the work: it would end so again. A job whose worker or machine was lost is done again.
"""

from __future__ import annotations

import os
import socket
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from importlib.util import find_spec
from typing import Any

from adapterops.engine.execution import DEFAULT, Execution
from adapterops.engine.local import background
from adapterops.engine.process import tune
from adapterops.engine.registry import ENGINES, RETRIES
from adapterops.errors import AdapterWarning, NotFoundError, ResourceError

LOCAL = "local"
START = "start one with `ray start --head`; without --address one is started on this machine"
STORE = 100 << 20
"""Bytes for objects on this machine; no tensor is one."""

REACHED = 10.0
"""Seconds in which a cluster has to answer: Ray tries for many minutes, and writes to the terminal meanwhile."""

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
        ResourceError: one call takes more memory than this machine has; or workers were lost again and again.
        Exception: the first that a call raised; what is not begun by then is not done.

    Cost: starting Ray, some seconds; and of each worker, its imports.
    """
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    if not items:
        if find_spec("ray") is None:
            raise _not_installed()
        _reach(address)
        return
    with background() as pool:  # what a signal raises in this thread must not be raised within Ray

        def there(call: Callable[..., Any], *arguments: Any) -> Any:
            return pool.submit(call, *arguments).result()

        ray = there(_connect, address, how)
        try:
            _check_room(memory, there(_most, ray), own=address == LOCAL)
            options = {"num_cpus": 1, "memory": memory, "scheduling_strategy": "SPREAD"}
            task = ray.remote(**options, max_retries=RETRIES, retry_exceptions=False)(_call)
            waiting = there(lambda: [task.remote(function, item) for item in items])
            while waiting:
                done, waiting = there(_done, ray, waiting)
                yield from done
        finally:
            there(ray.shutdown)  # which ends what still runs; cancelling a task that is just done kills the driver


def _most(ray: Any) -> int:
    """The most memory for jobs that a machine with a processor has."""
    machines = [each["Resources"] for each in ray.nodes() if each["Alive"]]
    return int(max((each.get("memory", 0) for each in machines if each.get("CPU", 0) >= 1), default=0))


def _check_room(memory: int, most: int, own: bool) -> None:
    """Raise ResourceError where no job could ever begin; on a cluster, which others may join, that is a warning. Ray would
    wait, and say nothing.
    """
    if memory <= most:
        return
    fact = f"one job takes {memory} bytes of memory, and Ray has {most} bytes on"
    if own:
        raise ResourceError(f"{fact} this machine", hint="use threads: leave --engine out")
    warnings.warn(
        f"{fact} the largest machine of the cluster with a processor: jobs wait until a larger one joins",
        AdapterWarning,
        stacklevel=2,
    )


def _call(function: Callable[[str], str], item: str) -> str:
    """One call, in a process of Ray."""
    tune()
    return function(item)


def _connect(address: str, how: Execution) -> Any:
    """Ray, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a command sends nothing that it was not asked to
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    hook = sys.excepthook
    try:
        import ray
    except ModuleNotFoundError as error:
        raise _not_installed() from error
    sys.excepthook = hook  # Ray's tells a cluster of what nobody caught, first; if that is gone, it tries for a minute
    own = {"num_cpus": how.threads, "object_store_memory": STORE, "include_dashboard": False}
    try:
        _reach(address)
        ray.init(address, log_to_driver=False, logging_level="ERROR", **(own if address == LOCAL else {}))
    except ConnectionError as error:
        raise NotFoundError(f"there is no cluster of Ray at {address}", hint=START) from error
    return ray


def _not_installed() -> NotFoundError:
    hint = "pip install 'adapterops[ray]'"
    return NotFoundError("this needs Ray, which is not installed", hint=hint, code="E-NOT-INSTALLED")


def _reach(address: str) -> None:
    """Raise NotFoundError where nobody answers at HOST:PORT; other addresses are looked up by Ray itself."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED).close()
    except (ConnectionError, socket.gaierror) as error:
        raise NotFoundError(f"there is no cluster of Ray at {address}: {error.strerror}", hint=START) from error
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NotFoundError(f"{address} did not answer: {reason}", hint=START) from error


def _done(ray: Any, waiting: list[Any]) -> tuple[list[str], list[Any]]:
    """What calls returned that are done now, and the calls that are not; after `PATIENCE` none may be."""
    from ray import exceptions

    done, waiting = ray.wait(waiting, timeout=PATIENCE)
    try:
        return ray.get(done), waiting
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise
    except exceptions.RayError as error:
        raise ResourceError(
            f"a job was given up: {str(error).splitlines()[0]}",
            hint="finished files are kept: look at the memory of the machines, and run the same command again",
        ) from error


ENGINES.add("ray", run)
