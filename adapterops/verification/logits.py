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
from adapterops.formats.naming import classes

TOKENS = 32
SLACK = 8.0
"""How many times the rounding of one weight, times the square root of the number of layers, the logits may differ."""


def check_comparable(model: Checkpoint, adapter: Adapter) -> None:
    """Raise, before any work, what keeps `compare` from being done.

    Raises:
        NotFoundError: transformers or PEFT is not installed.
        OptionError: the model is quantized, or no class of transformers, or no adapter has the same update as the
            merge.
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
    if _class(model) is None:
        raise OptionError(
            "--logits runs the model, and config.json names no class of transformers for it",
            path=_path(model),
            hint=hint,
        )
    if any(layout.dense for layout in adapter.layout.values()):
        raise OptionError(
            "--logits runs the unmerged adapter, and this merge has the full rank of the weights", hint=hint
        )


def compare(model: Checkpoint, base: Path, adapter: Adapter, stored: str) -> dict[str, float]:
    """‖y - y'‖ / ‖y'‖ on inputs of a fixed seed: `model` against the base with the adapter unmerged. y are the logits,
    or where a model has none, its last hidden states.

    Both are run in float32, so that they differ by the one rounding of the fused weights to the dtype `stored`.

    Raises:
        OptionError: transformers cannot load the model, or it takes other inputs than tokens and images.
        VerificationError: they differ by more than rounding explains.
    """
    import torch
    from peft import PeftModel

    path, kind = _path(model), _class(model)

    def loaded(path: Path) -> Any:
        try:
            return kind.from_pretrained(path, dtype=torch.float32)
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise _not_run(error, path) from error

    @torch.no_grad()
    def answers(network: Any) -> Any:
        torch.manual_seed(0)
        try:
            found = network.eval()(**_inputs(network))
        except (ValueError, RuntimeError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise _not_run(error, path) from error
        first = found[0] if getattr(found, "logits", None) is None else found.logits
        return first.double().cpu()

    fused = loaded(path)
    found = answers(fused)
    del fused
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(adapter, Path(folder) / "adapter", dtype="F32")
        unmerged = PeftModel.from_pretrained(loaded(base), Path(folder) / "adapter")
        wanted = answers(unmerged.get_base_model())
        layers = _layers(unmerged.config)
    relative = float((found - wanted).norm() / wanted.norm())
    bound = SLACK * math.sqrt(layers) * torch.finfo(getattr(torch, FLOATS[stored])).eps + 1e-5
    if not relative <= bound:
        raise VerificationError(
            f"the logits differ by {relative:.3g} of their norm, rounding explains {bound:.3g}", path=path
        )
    return {"relative": relative, "bound": bound}


def _path(model: Checkpoint) -> Path:
    return model.files.path if model.files else Path()


def _class(model: Checkpoint) -> Any:
    """The class of transformers that config.json names; of none there, what its type says."""
    import transformers

    config = model.config or {}
    found = [getattr(transformers, name, None) for name in classes(config)]
    return found[0] if found else transformers.AutoModel if "model_type" in config else None


def _not_run(error: Exception, path: Path) -> OptionError:
    said = str(error).strip().partition("\n")[0]
    return OptionError(f"transformers cannot run it for --logits: {said}", path=path, hint="leave --logits out")


def _inputs(network: Any) -> dict[str, Any]:
    """Tokens that stand for no image or sound, for the decoder, too, where there is one; or an image.

    Raises:
        ValueError: the model takes something else.
    """
    import torch

    text = network.config.get_text_config()
    if network.main_input_name == "pixel_values":
        size, channels = network.config.image_size, getattr(network.config, "num_channels", 3)
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return {"pixel_values": torch.randn(1, channels, height, width)}
    if network.main_input_name != "input_ids":
        raise ValueError(f"it takes {network.main_input_name}, and tokens or an image are what can be made")
    fields = {**network.config.to_dict(), **text.to_dict()}
    special = {each for key, each in fields.items() if key.endswith(("token_id", "token_index")) and type(each) is int}
    plain = torch.tensor([each for each in range(text.vocab_size) if each not in special])
    tokens = plain[torch.randint(len(plain), (1, TOKENS))]
    return {"input_ids": tokens, **({"decoder_input_ids": tokens} if network.config.is_encoder_decoder else {})}


def _layers(config: Any) -> int:
    """Layers that an input goes through, about: those of all parts."""
    names = ("num_hidden_layers", "num_decoder_layers", "decoder_layers")
    parts = [config, *(part for part in vars(config).values() if hasattr(part, "model_type"))]
    return max(1, sum(int(getattr(part, name, 0) or 0) for part in parts for name in names))
