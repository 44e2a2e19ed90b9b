"""Whole models side by side, for those who have transformers and PEFT: the fused one, and base and adapter unmerged."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from adapterops.adapter import Adapter
from adapterops.adapter_saving import save_adapter
from adapterops.dtypes import FLOATS
from adapterops.errors import NotFoundError, OptionError, VerificationError

TOKENS = 32
SLACK = 8.0
"""How many times the rounding of one weight, times the square root of the number of layers, the logits may differ."""


def compare(model: Path, base: Path, adapter: Adapter, stored: str) -> dict[str, float]:
    """‖logits - logits'‖ / ‖logits'‖ on tokens of a fixed seed: `model` against the base with the adapter unmerged.

    Both are run in float32, so that they differ by the one rounding of the fused weights to the dtype `stored`.

    Raises:
        NotFoundError: transformers or PEFT is not installed.
        OptionError: the merge is not one of adapters: no adapter has the same update.
        VerificationError: they differ by more than rounding explains.
    """
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise NotFoundError(
            f"--logits needs {error.name}, which is not installed", hint="pip install transformers peft", code="E-NOT-INSTALLED"
        ) from None
    if any(layout.dense for layout in adapter.layout.values()):
        raise OptionError("--logits runs the unmerged adapter, and this merge has the full rank of the weights", hint="leave --logits out")

    @torch.no_grad()
    def logits(network: Any) -> Any:
        tokens = torch.randint(network.config.vocab_size, (1, TOKENS), generator=torch.Generator().manual_seed(0))
        return network.eval()(input_ids=tokens.to(network.device)).logits.double().cpu()

    fused = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    found = logits(fused)
    del fused
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(adapter, Path(folder) / "adapter", dtype="F32")
        unmerged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), Path(folder) / "adapter")
        wanted = logits(unmerged)
        layers = unmerged.config.num_hidden_layers
    relative = float((found - wanted).norm() / wanted.norm())
    bound = SLACK * math.sqrt(layers) * torch.finfo(getattr(torch, FLOATS[stored])).eps + 1e-5
    if not relative <= bound:
        raise VerificationError(f"the logits differ by {relative:.3g} of their norm, rounding explains {bound:.3g}", path=model)
    return {"relative": relative, "bound": bound}
