"""Which of two models is the base of the other, as far as a manifest says."""

from __future__ import annotations

import os
import shlex
import warnings
from contextlib import suppress
from pathlib import Path

from adapterops.errors import AdapterOpsError, AdapterWarning, InputError, OptionError
from adapterops.formats.adapter_files import CONFIG
from adapterops.formats.models.model_files import holds_model, read_model
from adapterops.hub.references import SCHEME, referred
from adapterops.requests.verifying import fusion_of


def base_of(tuned: str, other: str | None, base: str | None) -> str:
    """The base of a difference TUNED - BASE, which was named as such, or is the other of two models.

    Norms do not show it: training may make weights larger or smaller.

    Raises:
        InputError, NotFoundError: one is no model.
        OptionError: none is named, two are, the order is the wrong one, or no manifest says which it is.

    Warns:
        AdapterWarning: what is named as the base was fused from the tuned model.
    """
    if (other is None) == (base is None):
        raise OptionError(
            "the base that it is compared with is missing, or named twice",
            path=tuned,
            hint=_command(tuned, "BASE"),
        )
    if base is not None:
        if fused_from(base, tuned):
            fact = f"{base} was fused from {tuned}: the difference is the negative of what was added"
            warnings.warn(fact, AdapterWarning, stacklevel=2)
        return base
    assert other is not None
    if _same(tuned, other):
        raise OptionError("is compared with itself", path=tuned, hint=f"name its base: {_command(tuned, 'BASE')}")
    if fused_from(tuned, other):
        return other
    if fused_from(other, tuned):
        raise OptionError(f"{tuned} is the base of {other}, which was fused from it", hint=_command(other, tuned))
    for each in (tuned, other):
        if os.path.lexists(os.path.join(each, CONFIG)):
            raise InputError(
                "is an adapter, where a model is expected: a difference is that of two models",
                path=each,
                hint=_command("TUNED", "BASE"),
                code="E-FOLDER",
            )
        if not each.startswith(SCHEME) and not holds_model(Path(each)):
            read_model(Path(each))  # says what is wrong with it
    raise OptionError(
        f"no manifest says which of {tuned} and {other} is the base",
        hint=f"if it is {other}: {_command(tuned, other)}",
    )


def _command(tuned: str, base: str) -> str:
    return shlex.join(["adapterops", "extract", tuned, "--base", base])


def fused_from(model: str, base: str) -> bool:
    """Whether the manifest of a model says that it was fused from this base. A damaged one says nothing."""
    with suppress(AdapterOpsError):
        record = fusion_of(model)
        return record is not None and record.base is not None and _same(record.base.path, base)
    return False


def _same(one: str, other: str) -> bool:
    if one.startswith(SCHEME) and other.startswith(SCHEME):
        return referred(one).place == referred(other).place
    return os.path.realpath(one) == os.path.realpath(other)
