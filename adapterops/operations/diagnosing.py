"""What is this model? Is my adapter in it?"""

from __future__ import annotations

from collections.abc import Mapping

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import OptionError, check_opened
from adapterops.operations.replication import replicated
from adapterops.operations.targets.based import on_base
from adapterops.verification.diagnosis.diagnosing import Diagnosis, diagnosed


def diagnose(
    model: Checkpoint,
    base: Checkpoint,
    adapters: Mapping[str, Adapter] | None = None,
    *,
    original: Checkpoint | None = None,
    how: Execution = DEFAULT,
) -> Diagnosis:
    """What `model` is: the base, the base and adapters with which weights, rounded how, and what is not so.

    Args:
        adapters: name → adapter; several may be in it with any weights, one with weight 1.
        original: the 16-bit model that the base was quantized from: updates may have been added to that.

    Raises:
        IncompatibleError, UnsupportedError: an adapter does not fit the base.

    It shares nothing with `fuse` but what reads files, and what finds in the base what an adapter leaves to it.

    Cost: bytes of both checkpoints are read once, sampled rows about three times; memory for the samples of one weight in
    each worker.
    """
    given = adapters or {}
    if not isinstance(given, Mapping):
        raise OptionError("the adapters are named", hint='ao.diagnose(model, base, {"style": style})')
    for each in (model, base):
        check_opened(each, Checkpoint, "open_checkpoint")
    for adapter in given.values():
        check_opened(adapter, Adapter, "open_adapter")
    layers = replicated(base, list(given.values()))
    settled = {name: on_base(each, layers) for name, each in given.items()}
    return diagnosed(model, base, settled, original, how)
