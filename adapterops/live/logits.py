"""Whole models side by side, for those who have transformers and PEFT: the fused one, and base and adapter unmerged."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.saving import save_adapter
from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterOpsError, NotFoundError, OptionError, UnjudgedError, VerificationError
from adapterops.formats.models.naming import classes

TOKENS = 32
SLACK = 8.0
"""How many times the rounding of one weight, times the square root of the number of layers, the logits may differ."""


def reason(error: Exception) -> str:
    """What a library said, in one line, of a model that cannot be loaded, decoded or run with what is installed: any
    exception may say so, and libraries have classes of their own.

    Raises:
        MemoryError, AdapterOpsError: it was one.

    >>> reason(ValueError("the config is wrong:\\n  hidden_size is 12\\nTraceback of the library"))
    'the config is wrong: hidden_size is 12'
    """
    if isinstance(error, (MemoryError, AdapterOpsError)):
        raise error
    first, _, more = str(error).strip().partition("\n")
    return f"{first} {more.strip().partition(chr(10))[0]}" if first.endswith(":") else first or type(error).__name__


@contextmanager
def without_bars() -> Iterator[None]:
    """transformers shows no progress of its own: what a command prints is for the command to say."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def check_comparable(model: Checkpoint, adapter: Adapter) -> None:
    """Raise, before any work, what keeps `compare` from being done.

    Raises:
        NotFoundError: transformers or PEFT is not installed.
        OptionError: the model is no folder, or quantized, or no class of transformers, or no adapter has the same update as the
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
    check_loadable(path_of(model), hint)
    if model.schemes:
        raise OptionError("--logits compares within the rounding of 16 bits, and this model is quantized", hint=hint)
    if model_class(model) is None:
        raise OptionError(
            "--logits runs the model, and config.json names no class of transformers for it",
            path=path_of(model),
            hint=hint,
        )
    if any(layout.dense and not layout.vector for layout in adapter.layout.values()):
        raise OptionError(
            "--logits runs the unmerged adapter, and this merge has the full rank of the weights", hint=hint
        )


def check_loadable(path: Path, hint: str) -> None:
    """Raise OptionError for what transformers would take for a name on the Hub, and ask there: it loads folders."""
    if not (path / "config.json").is_file():
        fact = "transformers runs it, and loads folders with a config.json"
        raise OptionError(f"{fact}, which this is not", path=path, hint=hint)


def compare(model: Checkpoint, base: Path, adapter: Adapter, stored: str) -> dict[str, float]:
    """‖y - y'‖ / ‖y'‖ on inputs of a fixed seed: `model` against the base with the adapter unmerged. y are the logits,
    or where a model has none, its last hidden states.

    Where PEFT's own two differ, because the model reads the weight of an adapted layer without calling it, merged by PEFT.
    Both are run in float32, so that they differ by the one rounding of the fused weights to the dtype `stored`. A base in
    codes is decoded by transformers and the library that owns these.

    Raises:
        UnjudgedError: transformers or PEFT cannot load it, or it takes other inputs than tokens, images and sound.
        VerificationError: they differ by more than rounding explains.
    """
    import torch
    from peft import PeftModel

    check_loadable(base, "leave --logits out")
    path, kind = path_of(model), model_class(model)

    def loaded(path: Path, **labels: Any) -> Any:
        try:
            with without_bars():
                network = kind.from_pretrained(path, dtype=torch.float32, **labels)
            return _decoded(network) if getattr(network, "hf_quantizer", None) else network
        except Exception as error:  # transformers raises classes of many packages
            raise _not_run(error, path) from error

    def adapted(network: Any, adapter: Path, words: int) -> Any:
        try:
            if _words(network) != words:
                network.resize_token_embeddings(words, mean_resizing=False)
            return PeftModel.from_pretrained(network, adapter)
        except Exception as error:  # PEFT raises classes of many packages
            raise _not_run(error, base, "PEFT cannot put the adapter on it") from error

    @torch.no_grad()
    def answers(network: Any) -> Any:
        try:
            found = _answer(network.eval())
        except Exception as error:  # transformers raises classes of many packages
            raise _not_run(error, path) from error
        first = found[0] if getattr(found, "logits", None) is None else found.logits
        return first.double().cpu()

    fused = loaded(path)
    found, labels, words = answers(fused), _labels(fused.config), _words(fused)
    del fused
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(adapter, Path(folder) / "adapter", dtype="F32")
        unmerged = adapted(loaded(base, **labels), Path(folder) / "adapter", words)
        layers = _layers(unmerged.config)
        bound = SLACK * math.sqrt(layers) * torch.finfo(getattr(torch, FLOATS[stored])).eps + 1e-5
        relative = _far(found, answers(unmerged.get_base_model()))
        if not relative <= bound:  # unmerged, an adapter does nothing where a weight is read without calling its layer
            relative = min(relative, _far(found, answers(unmerged.merge_and_unload())))
    if not relative <= bound:
        raise VerificationError(
            f"the logits differ by {relative:.3g} of their norm, rounding explains {bound:.3g}", path=path
        )
    return {"relative": relative, "bound": bound}


def _far(found: Any, wanted: Any) -> float:
    return float((found - wanted).norm() / wanted.norm())


def path_of(model: Checkpoint) -> Path:
    """Where it is; nothing where it is in memory."""
    return model.files.path if model.files else Path()


def model_class(model: Checkpoint) -> Any:
    """The class of transformers that config.json names; of none there, what its type says."""
    import transformers

    config = model.config or {}
    found = [getattr(transformers, name, None) for name in classes(config)]
    return found[0] if found else transformers.AutoModel if "model_type" in config else None


def _decoded(network: Any) -> Any:
    """A quantized model in float32.

    Raises:
        ValueError: bitsandbytes would decode it to other numbers: on a CPU, 4-bit weights whose rows are no whole blocks.
    """
    for name, module in network.named_modules():
        if type(module).__name__ == "Linear4bit" and module.in_features % 64 and module.weight.device.type == "cpu":
            raise ValueError(f"bitsandbytes decodes 4-bit rows of {module.in_features} wrongly on a CPU, as in {name}")
    return network.dequantize().float()


def _labels(config: Any) -> dict[str, Any]:
    """What makes of a base the classifier that an adapter has the head of: as many labels, whatever its own head has."""
    return {"num_labels": config.num_labels, "ignore_mismatched_sizes": True}


def _words(network: Any) -> int:
    """The size of the vocabulary that a model has embeddings for; 0 for one without any."""
    try:
        return int(network.get_input_embeddings().weight.shape[0])
    except (NotImplementedError, AttributeError, IndexError):  # it has none, or one of several codebooks
        return 0


def _not_run(error: Exception, path: Path, what: str = "transformers cannot run it") -> UnjudgedError:
    return UnjudgedError(f"{what} for --logits: {reason(error)}", path=path, hint="leave --logits out")


def _answer(network: Any) -> Any:
    """What a model makes of the first inputs that it takes."""
    import torch

    first = None
    for inputs in _inputs(network):
        torch.manual_seed(0)
        try:
            return network(**inputs)
        except MemoryError:
            raise
        except Exception as error:  # of inputs of a wrong kind, maybe; the first is raised
            first = first or error
    raise first or ValueError(f"it takes {network.main_input_name}, and only tokens, images and sound can be made up")


def _inputs(network: Any) -> Iterator[dict[str, Any]]:
    """What a model may ask for: its own kind of input, for the decoder tokens, too, where there is one; then more kinds.

    The tokens stand for no image or sound.
    """
    makers = {"input_ids": _tokens, "pixel_values": _image, "input_features": _sound}
    main = network.main_input_name
    if main not in makers:
        return
    given = {main: makers[main](network.config)}
    decoder = {"decoder_input_ids": _tokens(network.config)} if network.config.is_encoder_decoder else {}
    yield {**given, **decoder}
    if main == "input_ids" and isinstance(end := getattr(network.config, "eos_token_id", None), int):
        ended = given[main].clone()
        ended[:, -1] = end
        yield {main: ended, **decoder}  # classifiers of encoders and decoders read what stands there
    if hasattr(network.config.get_text_config(), "vocab_size"):
        yield {"input_ids": _tokens(network.config), "pixel_values": _image(network.config), **given}


def _tokens(config: Any) -> Any:
    import torch

    text = config.get_text_config()
    fields = {**config.to_dict(), **text.to_dict()}
    special = {each for key, each in fields.items() if key.endswith(("token_id", "token_index")) and type(each) is int}
    plain = torch.tensor([each for each in range(text.vocab_size) if each not in special])
    return plain[torch.randint(len(plain), (1, TOKENS), generator=torch.Generator().manual_seed(0))]


def _image(config: Any) -> Any:
    import torch

    parts = [part for part in _parts(config) if hasattr(part, "image_size")]
    seen = parts[0] if parts else config
    size, channels = getattr(seen, "image_size", 224), getattr(seen, "num_channels", 3)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))


def _sound(config: Any) -> Any:
    """As Whisper and its kin take it: two frames for each position."""
    import torch

    return torch.randn(
        1, config.num_mel_bins, 2 * config.max_source_positions, generator=torch.Generator().manual_seed(0)
    )


def _parts(config: Any) -> list[Any]:
    """A config and those of its parts."""
    return [config, *(part for part in vars(config).values() if hasattr(part, "model_type"))]


def _layers(config: Any) -> int:
    """Layers that an input goes through, about: those of all parts."""
    names = ("num_hidden_layers", "num_decoder_layers", "decoder_layers")
    return max(1, sum(int(getattr(part, name, 0) or 0) for part in _parts(config) for name in names))
