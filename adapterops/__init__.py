"""Algebra and merging of LoRA adapters, and fusing them into checkpoints, on their files.

    >>> import adapterops as ao
    >>> a, b = ao.open_adapter("a"), ao.open_adapter("b")                            # doctest: +SKIP
    >>> ao.save_adapter(ao.truncate(0.7 * a - 0.2 * b, rank=8), "out")               # doctest: +SKIP
    >>> ao.save_checkpoint(ao.fuse(ao.open_checkpoint("base"), a), "fused")          # doctest: +SKIP

Names are imported when first used: torch takes a second, and plans do not need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Adapter": "adapters.adapter",
    "AdapterConfig": "formats.peft.config",
    "AdapterOpsError": "errors",
    "AdapterWarning": "errors",
    "Checkpoint": "checkpoints.checkpoint",
    "Dense": "updates.dense",
    "Diagnosis": "verification.diagnosis.diagnosing",
    "Execution": "engine.execution",
    "LowRank": "updates.lowrank",
    "METHODS": "methods",
    "Request": "requests.request",
    "Saved": "adapters.saved",
    "SavedCheckpoint": "checkpoints.saving",
    "Survival": "updates.survival",
    "Verification": "operations.verifying",
    "card": "requests.sending",
    "cast": "checkpoints.layouts",
    "check": "operations.serving",
    "compare": "operations.comparing.comparison",
    "Compressed": "adapters.compressed",
    "compress": "adapters.compressing",
    "dequantize": "operations.quantization",
    "diagnose": "operations.diagnosing",
    "evaluate": "expressions.calculator",
    "extract": "operations.extraction",
    "fuse": "operations.fusion",
    "in_components": "operations.targets.components",
    "inspect": "operations.comparing.analysis",
    "inspect_collection": "operations.collections",
    "inspect_model": "operations.models",
    "locate": "hub.snapshot",
    "merge": "operations.algebra",
    "method": "methods",
    "named_as": "operations.uniting",
    "normalize": "operations.normalization",
    "open_adapter": "adapters.opening",
    "open_checkpoint": "checkpoints.opening",
    "pull": "requests.deltas",
    "push": "requests.sending",
    "quantize": "operations.quantization",
    "report": "reports.writing",
    "read_recipe": "recipes.schema",
    "rounding": "operations.quantization",
    "run_recipe": "recipes.running",
    "save_adapter": "adapters.saving",
    "save_checkpoint": "checkpoints.saving",
    "drop": "operations.selection",
    "scale": "operations.selection",
    "select": "operations.selection",
    "spectra": "operations.comparing.analysis",
    "Split": "requests.splitting",
    "split": "requests.splitting",
    "task_vector": "operations.task_vectors",
    "truncate": "operations.truncation",
    "unfuse": "operations.fusion",
    "verify": "operations.verifying",
    "viewed": "operations.quantization",
    "__version__": "version",
}

__all__ = [*_HOMES]

if TYPE_CHECKING:
    from adapterops.adapters.adapter import Adapter as Adapter
    from adapterops.adapters.compressed import Compressed as Compressed
    from adapterops.adapters.compressing import compress as compress
    from adapterops.adapters.opening import open_adapter as open_adapter
    from adapterops.adapters.saved import Saved as Saved
    from adapterops.adapters.saving import save_adapter as save_adapter
    from adapterops.checkpoints.checkpoint import Checkpoint as Checkpoint
    from adapterops.checkpoints.layouts import cast as cast
    from adapterops.checkpoints.opening import open_checkpoint as open_checkpoint
    from adapterops.checkpoints.saving import SavedCheckpoint as SavedCheckpoint
    from adapterops.checkpoints.saving import save_checkpoint as save_checkpoint
    from adapterops.engine.execution import Execution as Execution
    from adapterops.errors import AdapterOpsError as AdapterOpsError
    from adapterops.errors import AdapterWarning as AdapterWarning
    from adapterops.expressions.calculator import evaluate as evaluate
    from adapterops.formats.peft.config import AdapterConfig as AdapterConfig
    from adapterops.hub.snapshot import locate as locate
    from adapterops.methods import METHODS as METHODS
    from adapterops.methods import method as method
    from adapterops.operations.algebra import merge as merge
    from adapterops.operations.collections import inspect_collection as inspect_collection
    from adapterops.operations.comparing.analysis import inspect as inspect
    from adapterops.operations.comparing.analysis import spectra as spectra
    from adapterops.operations.comparing.comparison import compare as compare
    from adapterops.operations.diagnosing import diagnose as diagnose
    from adapterops.operations.extraction import extract as extract
    from adapterops.operations.fusion import fuse as fuse
    from adapterops.operations.fusion import unfuse as unfuse
    from adapterops.operations.models import inspect_model as inspect_model
    from adapterops.operations.normalization import normalize as normalize
    from adapterops.operations.quantization import dequantize as dequantize
    from adapterops.operations.quantization import quantize as quantize
    from adapterops.operations.quantization import rounding as rounding
    from adapterops.operations.quantization import viewed as viewed
    from adapterops.operations.selection import drop as drop
    from adapterops.operations.selection import scale as scale
    from adapterops.operations.selection import select as select
    from adapterops.operations.serving import check as check
    from adapterops.operations.targets.components import in_components as in_components
    from adapterops.operations.task_vectors import task_vector as task_vector
    from adapterops.operations.truncation import truncate as truncate
    from adapterops.operations.uniting import named_as as named_as
    from adapterops.operations.verifying import Verification as Verification
    from adapterops.operations.verifying import verify as verify
    from adapterops.recipes.running import run_recipe as run_recipe
    from adapterops.recipes.schema import read_recipe as read_recipe
    from adapterops.reports.writing import report as report
    from adapterops.requests.deltas import pull as pull
    from adapterops.requests.request import Request as Request
    from adapterops.requests.sending import card as card
    from adapterops.requests.sending import push as push
    from adapterops.requests.splitting import Split as Split
    from adapterops.requests.splitting import split as split
    from adapterops.updates.dense import Dense as Dense
    from adapterops.updates.lowrank import LowRank as LowRank
    from adapterops.updates.survival import Survival as Survival
    from adapterops.verification.diagnosis.diagnosing import Diagnosis as Diagnosis
    from adapterops.version import __version__ as __version__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
