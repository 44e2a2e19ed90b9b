"""Whole models side by side, for those who have transformers and PEFT: the fused one, and base and adapter unmerged."""

from __future__ import annotations

import math
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.saving import save_adapter
from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import NotFoundError, OptionError, VerificationError
from adapterops.formats.architectures import CAUSAL
from adapterops.formats.naming import classes

TOKENS = 32
SLACK = 8.0
"""How many times the rounding of one weight, times the square root of the number of layers, the logits may differ."""


def check_comparable(model: Checkpoint, adapter: Adapter) -> None:
    """Raise, before any work, what keeps `compare` from being done.

    Raises:
        NotFoundError: transformers or PEFT is not installed.
        OptionError: the model is quantized, or has no logits over a vocabulary, or no adapter has the same update as
            the merge.
    """
    for name in ("peft", "transformers"):
        if find_spec(name) is None:
            raise NotFoundError(
                f"--logits needs {name}, which is not installed",
                hint="pip install transformers peft",
                code="E-NOT-INSTALLED",
            )
    hint = "leave --logits out"
    if model.schemes:
        raise OptionError("--logits compares within the rounding of 16 bits, and this model is quantized", hint=hint)
    if not any(name.endswith(CAUSAL) for name in classes(model.config or {})):
        raise OptionError(
            "--logits runs causal language models, and config.json does not say that this is one", hint=hint
        )
    if any(layout.dense for layout in adapter.layout.values()):
        raise OptionError(
            "--logits runs the unmerged adapter, and this merge has the full rank of the weights", hint=hint
        )


def compare(model: Path, base: Path, adapter: Adapter, stored: str) -> dict[str, float]:
    """‖logits - logits'‖ / ‖logits'‖ on tokens of a fixed seed: `model` against the base with the adapter unmerged.

    Both are run in float32, so that they differ by the one rounding of the fused weights to the dtype `stored`.

    Raises:
        OptionError: transformers cannot load the model.
        VerificationError: they differ by more than rounding explains.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def loaded(path: Path) -> Any:
        try:
            return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            said = str(error).strip().partition("\n")[0]
            raise OptionError(
                f"transformers cannot load it for --logits: {said}", path=path, hint="leave --logits out"
            ) from error

    @torch.no_grad()
    def logits(network: Any) -> Any:
        tokens = torch.randint(network.config.vocab_size, (1, TOKENS), generator=torch.Generator().manual_seed(0))
        return network.eval()(input_ids=tokens.to(network.device)).logits.double().cpu()

    fused = loaded(model)
    found = logits(fused)
    del fused
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(adapter, Path(folder) / "adapter", dtype="F32")
        unmerged = PeftModel.from_pretrained(loaded(base), Path(folder) / "adapter")
        wanted = logits(unmerged)
        layers = unmerged.config.num_hidden_layers
    relative = float((found - wanted).norm() / wanted.norm())
    bound = SLACK * math.sqrt(layers) * torch.finfo(getattr(torch, FLOATS[stored])).eps + 1e-5
    if not relative <= bound:
        raise VerificationError(
            f"the logits differ by {relative:.3g} of their norm, rounding explains {bound:.3g}", path=model
        )
    return {"relative": relative, "bound": bound}
