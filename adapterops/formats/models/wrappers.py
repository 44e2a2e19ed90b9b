"""What training puts around a model, and leaves in the names of its tensors. No model has a module of these names."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from itertools import takewhile

from adapterops.errors import InputError
from adapterops.formats.models.architectures import FAMILIES
from adapterops.regex import Regex

WRAPPERS = {
    "_orig_mod",  # torch.compile
    "_fsdp_wrapped_module",  # FSDP
    "_fpw_module",  # FSDP of fairscale and of XLA
    "_checkpoint_wrapped_module",  # activation checkpointing, offloading
    "_forward_module",  # Lightning Fabric
    "_original_module",  # ONNX Runtime
}
"""Parts of a name that stand for nothing, wherever they are."""

OUTER = {"module", "model", "pretrained_model", "policy", "actor", "actor_module", "policy_model", "base_model"}
"""Names under which trainers hold a whole model: DDP and DeepSpeed, Lightning, those of reinforcement learning."""

PEFT = ["base_model", "model"]
"""What PEFT calls the model that it wraps; twice, where it was wrapped twice. Whatever comes before holds PEFT's model, which
may be a part of another: `language_model.base_model.model.model.layers` of a model that sees.
"""

TINKERS_HEAD = Regex(r"^(?:model\.)?unembed_tokens(?=\.|$)")
"""What Tinker calls the head of a model in its adapters, and no model does."""

ROOTS = """
action_out_proj audio_tower backbone blocks classification_head classifier cls decoder embed_action_time embed_out
encoder entity_predictions generator_lm_head generator_predictions h head image_to_text_projection language_model
language_projection layers llm lm_head lm_heads lm_loss multi_modal_projector output output_projection
post_projection pre_projection pred_layer predictions proj_out projection_head qa_outputs qformer resampler score
talker text_decoder text_encoder text_model thinker token2wav vision_model vision_tower visual vocab_projector
vocab_transform vpm
"""
"""What the names begin with, besides `model` and `transformer`, of models for words that name no family: those of transformers,
and known ones of others.
"""

INNER = {"transformer", "language_model"}
AROUND = {
    "", "model", "transformer", "language_model", "language_model.model", "model.language_model", "model.transformer",
    "model.language_model.model", "language_model.transformer",
}  # fmt: skip
"""What models for words call what is around their layers: all that classes of transformers have, and code next to models."""


def held(name: str) -> bool:
    """Whether a name begins with what a trainer holds a model in: no model for words has such a name.

    >>> held("policy_model.model.layers.0.mlp"), held("model.model.layers.0.mlp"), held("model.layers.0.mlp")
    (True, True, False)
    """
    return ".".join(takewhile((OUTER | INNER).__contains__, name.split("."))) not in AROUND


def holder(names: Collection[str]) -> str:
    """What all of some names begin with where no model for words does; empty where one may.

    >>> holder(["my_wrapper.model.layers.0.q_proj", "my_wrapper.lm_head"]), holder(["gpt_neox.layers.0.dense", "embed_out"])
    ('my_wrapper', '')
    """
    first = {name.partition(".")[0] for name in names}
    known = {*OUTER, *INNER, *ROOTS.split(), *FAMILIES.split()}
    return "" if len(first) != 1 or not first.isdisjoint(known) else first.pop()


def _parts(name: str) -> list[str]:
    return [part for part in name.split(".") if part not in WRAPPERS]


def _joined(parts: list[str]) -> str:
    """A name of these parts, without PEFT's prefix around a part of the model."""
    while place := next((at for at in range(1, len(parts) - len(PEFT)) if parts[at : at + len(PEFT)] == PEFT), 0):
        parts = parts[:place] + parts[place + len(PEFT) :]
    return ".".join(parts)


@lru_cache(1 << 16)  # a name is asked for several times
def unwrapped(name: str) -> str:
    """The name of a module or tensor in the model itself, without what was put around it.

    >>> unwrapped("module.base_model.model.model.layers.0._fsdp_wrapped_module.mlp.up_proj")
    'model.layers.0.mlp.up_proj'
    >>> unwrapped("base_model.model.base_model.model._orig_mod.lm_head"), unwrapped("model.layers.0.q_proj")
    ('lm_head', 'model.layers.0.q_proj')
    >>> unwrapped("language_model.base_model.model.model.layers.0.q_proj")
    'language_model.model.layers.0.q_proj'
    """
    parts = _parts(name)
    while True:
        first = next((place for place, part in enumerate(parts) if part not in OUTER), len(parts))
        inner = next((place + 2 for place in range(first) if parts[place : place + 2] == PEFT), 0)
        if inner and len(parts) > inner:
            parts = parts[inner:]
        elif parts[0] == "module" and len(parts) > 1:
            parts = parts[1:]
        else:
            return _joined(parts)


def inner_name(name: str) -> str:
    """The name of a module or tensor in the model that PEFT wraps: whatever is before PEFT's prefix holds PEFT's model.
    A head is called as models call it.

    >>> inner_name("backend.base_model.model.model.layers.0.q_proj"), inner_name("model.layers.0.q_proj")
    ('model.layers.0.q_proj', 'model.layers.0.q_proj')
    >>> inner_name("base_model.model.model.unembed_tokens")
    'lm_head'
    """
    _, prefix, inner = f".{name}".partition(f".{'.'.join(PEFT)}.")
    return TINKERS_HEAD.sub("lm_head", unwrapped(inner if prefix else name))


def without_wrappers(names: Collection[str], own_class: bool = True) -> dict[str, str]:
    """Tensor of a whole model as the model itself calls it → as it is called; both are the same where nothing is around it.

    What no model has a module of is taken away: wrappers anywhere, PEFT's prefix around a part of the model, and `module`
    and PEFT's prefix where every name begins with it; of a class of transformers also under what name a trainer holds it
    (`model.model.layers`).

    Args:
        own_class: its class may be of another program, which may have a module of that name.

    Raises:
        InputError: two are one tensor then.

    >>> without_wrappers(["module.model.layers.0._orig_mod.q.weight", "module.lm_head.weight"])
    {'model.layers.0.q.weight': 'module.model.layers.0._orig_mod.q.weight', 'lm_head.weight': 'module.lm_head.weight'}
    >>> without_wrappers(["model.model.layers.0.q.weight", "model.lm_head.weight"])["model.lm_head.weight"]
    'model.lm_head.weight'
    >>> without_wrappers(["model.model.layers.0.q.weight", "model.lm_head.weight"], own_class=False)["lm_head.weight"]
    'model.lm_head.weight'
    """
    parts = {name: _parts(name) for name in names}
    while outer := next(
        (each for each in AROUND_ALL if parts and all(_inside(own, each) for own in parts.values())), None
    ):
        parts = {name: own[len(outer) :] for name, own in parts.items()}
    first = {own[0] if len(own) > 1 else "" for own in parts.values()}
    while not own_class and len(first) == 1 and first <= OUTER and any(held(".".join(own)) for own in parts.values()):
        parts = {name: own[1:] for name, own in parts.items()}
        first = {own[0] if len(own) > 1 else "" for own in parts.values()}
    found: dict[str, str] = {}
    for name, each in parts.items():
        other = found.setdefault(_joined(each), name)
        if other != name:
            raise InputError(
                f"and {other} are one tensor of the model: what is around it in their names differs",
                tensor=name,
                hint="keep one of the two in the file, the one that was trained",
                code="E-KEY",
            )
    return found


AROUND_ALL = (["module"], PEFT)
"""What all names of a whole model begin with, where something is around the model."""


def _inside(parts: list[str], outer: list[str]) -> bool:
    return parts[: len(outer)] == outer and len(parts) > len(outer)
