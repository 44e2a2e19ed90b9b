"""What training puts around a model, and leaves in the names of its tensors. No model has a module of these names."""

from __future__ import annotations

WRAPPERS = {
    "_orig_mod",  # torch.compile
    "_fsdp_wrapped_module",  # FSDP
    "_fpw_module",  # FSDP of fairscale and of XLA
    "_checkpoint_wrapped_module",  # activation checkpointing, offloading
    "_forward_module",  # Lightning Fabric
    "_original_module",  # ONNX Runtime
}
"""Parts of a name that stand for nothing, wherever they are."""

OUTER = {"module", "model", "pretrained_model", "policy", "actor", "actor_module", "policy_model"}
"""Names under which trainers hold a whole model: DDP and DeepSpeed, Lightning, those of reinforcement learning. They
count before PEFT's own prefix, and the first everywhere at the beginning.
"""

PEFT = ["base_model", "model"]
"""What PEFT calls the model that it wraps; twice, where it was wrapped twice."""


def held(name: str) -> bool:
    """Whether a name begins with what a trainer holds a model in, which PEFT's prefix does not end: no model for words has
    such a name.

    >>> held("policy_model.model.layers.0.mlp"), held("model.model.layers.0.mlp"), held("model.layers.0.mlp")
    (True, True, False)
    """
    first, second, *_ = [*name.split("."), ""]
    return first in OUTER - {"model"} or (first == "model" and second in OUTER)


def unwrapped(name: str) -> str:
    """The name of a module or tensor in the model itself, without what was put around it.

    >>> unwrapped("module.base_model.model.model.layers.0._fsdp_wrapped_module.mlp.up_proj")
    'model.layers.0.mlp.up_proj'
    >>> unwrapped("base_model.model.base_model.model._orig_mod.lm_head"), unwrapped("model.layers.0.q_proj")
    ('lm_head', 'model.layers.0.q_proj')
    """
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    while True:
        first = next((place for place, part in enumerate(parts) if part not in OUTER), len(parts))
        if parts[first : first + 2] == PEFT and len(parts) > first + 2:
            parts = parts[first + 2 :]
        elif parts[0] == "module" and len(parts) > 1:
            parts = parts[1:]
        else:
            return ".".join(parts)
