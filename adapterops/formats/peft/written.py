"""The config that is written: derived from the tensors, and the same for every version of PEFT."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from adapterops.errors import AdapterWarning
from adapterops.formats.models.vocabulary import TOKEN_ROWS
from adapterops.formats.peft.config import SIDES, AdapterConfig, Suffixes
from adapterops.formats.peft.patterns import one_each
from adapterops.formats.peft.selection import uncovered

SHOWN = 5
"""Names that a warning lists."""


def write_config(
    config: AdapterConfig, ranks: Mapping[str, int], full: Collection[str] = (), r: int | None = None
) -> dict[str, Any]:
    """The fields of a config under which PEFT loads factors of these ranks with a scale of 1, whatever its version.

    Args:
        ranks: by the names of modules, of the parameters in `config.experts`, and of biases of LoRA.
        full: the names of full tensors that go along.
        r: the rank of what no pattern of a module can name: experts that PEFT stacks; by default the largest.

    Where the ranks differ every module has its own pattern, which no other matches, so that no order of them can change
    their meaning.
    """
    lora_bias = any(name.endswith(".bias") for name in ranks)
    ranks = {name: rank for name, rank in ranks.items() if not name.endswith(".bias")}
    r = r or max(ranks.values())
    parameters = [name for name in ranks if name in config.experts]
    announced = [tensor for tensor in full if tensor not in {*config.unannounced, *config.tokens}]
    tokens = {name.removesuffix(TOKEN_ROWS): list(rows) for name, rows in config.tokens.items() if name in full}
    modules = {tensor: config.replaced(tensor) or _module_of(tensor) for tensor in announced}
    saved_in = {module for tensor, module in modules.items() if not tensor.endswith(".bias")}
    saved_in -= {name.removesuffix(".weight") if name in config.experts else name for name in ranks}
    saved = sorted(name for name in saved_in if not any(name.startswith(f"{above}.") for above in saved_in))
    biases = any(tensor.endswith(".bias") and modules.get(tensor) not in saved for tensor in full)
    names = one_each(ranks, config.model is not None) if len(set(ranks.values())) > 1 else {}
    patterns = {names[module]: ranks[module] for module in names}
    return dict(
        sorted(
            {
                **config.fields,
                "peft_type": "LORA",
                "base_model_name_or_path": config.base_model,
                "revision": config.revision,
                "inference_mode": True,
                "r": r,
                "lora_alpha": r,
                "rank_pattern": patterns,
                "alpha_pattern": patterns,
                "use_rslora": False,
                "init_lora_weights": True,
                "bias": "all" if biases else "none",
                **({"modules_to_save": saved} if saved else {}),
                **({"lora_bias": True} if lora_bias else {}),
                **({"trainable_token_indices": tokens} if tokens else {}),
                "target_modules": _targets(config.targets, [name for name in ranks if name not in config.experts]),
                **({"target_parameters": _targets(config.target_parameters, parameters)} if parameters else {}),
                **({"peft_version": ".".join(map(str, (*SIDES, 0)))} if parameters else {}),
            }.items()
        )
    )


def _targets(targets: Suffixes | str | None, modules: Sequence[str]) -> list[str] | str:
    left = sorted(uncovered(targets, modules)) if targets else []
    if left:
        warnings.warn(
            f"the adapter's target_modules do not name {', '.join(left[:SHOWN])}: where the model has another name for it, PEFT "
            "leaves it out; name the model with --base, whose names are taken then",
            AdapterWarning,
            stacklevel=4,
        )
    if not targets or left:
        return sorted(modules)
    return targets if isinstance(targets, str) else list(targets)


def _module_of(tensor: str) -> str:
    """The module that a tensor is a parameter of, or that computes one from it.

    >>> _module_of("encoder.norm.weight"), _module_of("encoder.conv.parametrizations.weight.original0")
    ('encoder.norm', 'encoder.conv')
    """
    return tensor.partition(".parametrizations.")[0] if ".parametrizations." in tensor else tensor.rpartition(".")[0]
