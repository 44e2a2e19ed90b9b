"""The laws of engines."""

from __future__ import annotations

from functools import partial

from adapterops.engine.execution import Execution
from adapterops.engine.registry import ENGINES
from adapterops.errors import AdapterOpsError, InputError

TEXTS = [f"text {number}" for number in range(7)]


def check_engine(name: str, address: str | None = None) -> None:
    """The laws of an engine, at an address.

    What each call returns comes back once, in any order, and for no texts nothing; what a call raises is raised.
    """
    run = partial(ENGINES[name], memory=1 << 20, address=address, how=Execution(workers=2))
    found = sorted(run(str.upper, TEXTS))
    assert found == sorted(map(str.upper, TEXTS)), f"{name}: the calls returned {found}"
    assert not list(run(str.upper, [])), f"{name}: something came back for no texts"
    raised = "nothing"
    try:
        list(run(fails, TEXTS))
    except AdapterOpsError as error:
        raised = error.message
    assert raised in TEXTS, f"{name}: each call raises, and {raised} is raised here"


def fails(text: str) -> str:
    """Raise InputError with the text."""
    raise InputError(text)
