"""What the modules of a model take in over some texts, summed up: the Gram matrix of the inputs of each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.saving import save_adapter
from adapterops.arrays.floats import Array
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.engine.execution import Progress
from adapterops.errors import IncompatibleError, NotFoundError, OptionError, ResourceError, count
from adapterops.formats.stacks import GATE_UP, WRAPPED
from adapterops.live.experts import experts_of, taken_in, widths
from adapterops.live.logits import check_loadable, model_class, path_of, reason, without_bars

AT_ONCE = 8
"""Texts that are run together."""

LONGEST = 512
"""Tokens of a text that are used."""


@dataclass(frozen=True)
class Means:
    """Module → the mean of x xᵀ over the tokens of all texts, in float32, x being what the module takes in."""

    modules: Mapping[str, Array]
    tokens: int
    texts: int


def check_runnable(model: Checkpoint, adapter: bool = False) -> None:
    """Raise, before any work, what keeps a model from being run.

    Raises:
        NotFoundError: transformers is not installed.
        OptionError: config.json names no class of transformers.
    """
    for name in ("torch", "transformers", *(["peft"] if adapter else [])):
        if find_spec(name) is None:
            raise NotFoundError(
                f"running a model needs {name}, which is not installed",
                hint="pip install torch transformers peft",
                code="E-NOT-INSTALLED",
            )
    if model_class(model) is None:
        raise OptionError(
            "config.json names no class of transformers that runs it",
            path=path_of(model),
            hint="give the folder of a model with its config.json and tokenizer",
        )


def grams(
    model: Checkpoint, texts: Sequence[str], adapter: Adapter | None = None, progress: Progress | None = None
) -> Means:
    """The Gram matrices of the inputs of the Linear layers and experts of a model, of all but its output head; or, with an
    adapter at work in it, of those that it adapts. What a model takes in after training may be far from what it did before.

    Texts are cut after `LONGEST` tokens; padding does not count. Modules that take in the same share the work.

    Args:
        adapter: its modules have the names that the model has in memory.

    Raises:
        OptionError: transformers cannot load or run it.
        IncompatibleError: a module is not there, or is no Linear layer and no expert.
        ResourceError: the matrices need more than half of the memory of the machine.

    Cost: one forward pass over the texts, and for each token and input of n numbers n² operations; memory for the model
    and 8 n² bytes for each input.
    """
    import torch
    from transformers import AutoTokenizer

    path = path_of(model)
    check_loadable(path, "name the folder of a model in 16 or 32 bits, as transformers saves it")
    try:
        with without_bars():
            network = model_class(model).from_pretrained(path, dtype="auto").eval()
    except Exception as error:  # transformers raises classes of many packages
        raise _not_run(error, path) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:  # transformers raises classes of many packages
        raise _not_run(error, path, "transformers cannot load its tokenizer") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if adapter is not None:
        network = _with(adapter, network, path)
    layers, experts = _layers(network), experts_of(network)
    sizes = {name: _width(layer) for name, layer in layers.items()}
    sizes = {**sizes, **{key: size for name, each in experts.items() for key, size in widths(name, each).items()}}
    head = network.get_output_embeddings() if hasattr(network, "get_output_embeddings") else None
    body = [name for name in sizes if head is None or layers.get(name) is not head]
    wanted = _wanted(sizes, body if adapter is None else adapter.layout, path)
    seen = _Seen(wanted)
    with ExitStack() as hooks, torch.no_grad():
        for name, layer in layers.items():
            if name in wanted:
                hooks.callback(layer.register_forward_pre_hook(seen.hook(name)).remove)
        for name, each in experts.items():
            if any(key in wanted for key in widths(name, each)):
                hooks.callback(each.register_forward_pre_hook(seen.of_experts(name)).remove)
        for first in range(0, len(texts), AT_ONCE):
            some = list(texts[first : first + AT_ONCE])
            batch = tokenizer(some, return_tensors="pt", padding=True, truncation=True, max_length=LONGEST)
            known = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
            seen.mask = known["attention_mask"].bool()
            try:
                network(
                    **known, **({"decoder_input_ids": known["input_ids"]} if network.config.is_encoder_decoder else {})
                )
            except Exception as error:  # transformers raises classes of many packages
                raise _not_run(error, path) from error
            if progress:
                progress(min(first + AT_ONCE, len(texts)), len(texts))
    return Means(dict(seen.means()), seen.tokens, len(texts))


def _with(adapter: Adapter, network: Any, path: Path) -> Any:
    """The network with an adapter at work in it."""
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder:
        save_adapter(adapter, Path(folder) / "adapter", format="peft")
        try:
            return PeftModel.from_pretrained(network, Path(folder) / "adapter").eval().get_base_model()
        except Exception as error:  # PEFT raises classes of many packages
            raise _not_run(error, path, "PEFT cannot put the adapter on it") from error


class _Seen:
    """Sums of x xᵀ, by module; what several modules take in, one after the other, is summed once."""

    def __init__(self, modules: Collection[str]) -> None:
        self.mask: Any = None
        self._sums: dict[str, Any] = {}
        self._counts = dict.fromkeys(modules, 0)
        self._same: dict[str, str] = {}
        self._last: tuple[Any, str] = (None, "")

    def hook(self, name: str) -> Any:
        def listen(layer: Any, given: tuple[Any, ...]) -> None:
            x = given[0]
            last, first = self._last
            if x is last and self._same.setdefault(name, first) == first and name != first:
                self._counts[name] = self._counts[first]
                return
            self._last = x, name
            self._add(name, x[self.mask] if x.shape[:-1] == self.mask.shape else x.reshape(-1, x.shape[-1]))

        return listen

    def of_experts(self, name: str) -> Any:
        def listen(module: Any, given: tuple[Any, ...]) -> None:
            for each in taken_in(name, module, given, self.mask):
                if each.projection in self._counts:
                    self._add(each.projection, each.rows)

        return listen

    def _add(self, name: str, rows: Any) -> None:
        rows = rows.float()
        self._sums[name] = self._sums.get(name, 0) + (rows.T @ rows).double()
        self._counts[name] += len(rows)

    @property
    def tokens(self) -> int:
        return max(self._counts.values(), default=0)

    def means(self) -> Iterator[tuple[str, Array]]:
        """Of a module that no token reached, zeros would be no answer: it is left out."""
        for name, number in self._counts.items():
            total = self._sums.get(name, self._sums.get(self._same.get(name, name)))
            if number and total is not None:
                yield name, (total / number).float().numpy()


def _layers(network: Any) -> dict[str, Any]:
    import torch
    from transformers.pytorch_utils import Conv1D

    return {
        name.removesuffix(WRAPPED): each
        for name, each in network.named_modules()
        if isinstance(each, torch.nn.Linear | Conv1D) and ".lora_" not in name
    }


def _width(layer: Any) -> int:
    return int(layer.nx if hasattr(layer, "nx") else layer.in_features)


def _wanted(sizes: Mapping[str, int], modules: Collection[str], path: Path) -> set[str]:
    """The modules whose inputs are summed up: of gate and up of an expert what is both together."""
    names = {module: module if module in sizes else f"{module.rpartition('.')[0]}.{GATE_UP}" for module in modules}
    missing = [module for module, name in names.items() if name not in sizes]
    if missing:
        raise IncompatibleError(
            f"has no Linear layer or expert {missing[0]}, and {count(len(missing) - 1, 'more')} of the adapter's modules are not there",
            path=path,
            hint=f"its layers are called like {next(iter(sizes), 'none')}; leave --adapter out for all of them",
            code="E-NAMES",
        )
    wanted = set(names.values())
    needed = sum(8 * sizes[name] ** 2 for name in wanted)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there // 2:
        raise ResourceError(
            f"Gram matrices of {count(len(wanted), 'module')} need {needed} bytes, and half of the memory is {there // 2}",
            hint="name an adapter of few modules with --adapter, or use a larger machine",
        )
    return wanted


def _not_run(error: Exception, path: Path, what: str = "transformers cannot run it") -> OptionError:
    return OptionError(f"{what}: {reason(error)}", path=path)
