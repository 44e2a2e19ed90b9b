"""What the names of a base mean, found anew: two names are one weight where they end alike without wrappers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterops.storage.safetensors import Spec

OUTER = {"base_model", "model", "module", "language_model", "transformer"}
OTHER_WORDS = {"block_sparse_moe": "mlp", "w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
HEAD = "lm_head"
EMBEDDINGS = {"embed_tokens", "wte", "embed_in", "word_embeddings"}
INSIDE = {(), ("decoder",), ("text_model",)}
"""What the input embedding of a model that generates may be in."""


class UnplacedError(Exception):
    """No tensor of the base is known for a name, or several are."""


def key(name: str) -> tuple[str, ...]:
    """What is left of a name without wrappers: those that begin with `_`, and the outer ones.

    >>> key("base_model.model.model.layers.0._fsdp_wrapped_module.block_sparse_moe.experts.1.w2.weight")
    ('layers', '0', 'mlp', 'experts', '1', 'down_proj')
    """
    parts = [part for part in name.removesuffix(".weight").split(".") if not part.startswith("_")]
    while len(parts) > 1 and parts[0] in OUTER:
        parts = parts[1:]
    kept = [part for i, part in enumerate(parts) if part != "vision_model" or not i or "_tower" not in parts[i - 1]]
    experts = "experts" in kept
    return tuple(OTHER_WORDS.get(part, part) if experts or part == "block_sparse_moe" else part for part in kept)


class Base:
    """The tensors of a base by what their names leave."""

    def __init__(self, layout: Mapping[str, Spec], config: Mapping[str, Any]) -> None:
        self.layout, self.config = layout, config
        self.type = str(config.get("model_type", ""))
        self.types = {self.type, *(str(part.get("model_type")) for part in config.values() if isinstance(part, dict))}
        self._keys: dict[tuple[str, ...], list[str]] = {}
        self._ends: dict[str, list[tuple[str, ...]]] = {}
        for name in layout:
            self._keys.setdefault(key(name), []).append(name)
        for each in self._keys:
            self._ends.setdefault(each[-1], []).append(each)

    def find(self, name: str, shapes: tuple[tuple[int, ...], ...] = ()) -> str | None:
        """The tensor that a name means; None where none does.

        Raises:
            UnplacedError: several do, also by their shapes.
        """
        for exact in (name, f"{name}.weight"):
            if exact in self.layout:
                return exact
        wanted = key(name)
        found = list(self._keys.get(wanted, ()))
        if not found:
            found = [
                tensor
                for there in self._ends.get(wanted[-1], ())
                if there[-len(wanted) :] == wanted or wanted[-len(there) :] == there
                for tensor in self._keys[there]
            ]
        if len(found) > 1 and shapes:
            found = [tensor for tensor in found if self.layout[tensor].shape in shapes] or found
        if len(found) > 1:  # two inputs of one name: the one whose tail is shared the farthest
            found = [tensor for tensor in found if tensor.endswith((name, f"{name}.weight"))] or found
        if len(found) > 1:
            raise UnplacedError(f"may be {' or '.join(found[:3])}")
        return found[0] if found else None

    def stated_tied(self) -> bool | None:
        """Whether config.json says that input and output embedding are one tensor; None where it does not say."""
        parts = [part for part in (self.config, self.config.get("text_config")) if isinstance(part, dict)]
        stated = [part["tie_word_embeddings"] for part in parts if "tie_word_embeddings" in part]
        return any(stated) if stated else None

    def tied(self) -> bool:
        """Whether input and output embedding are one tensor."""
        stated, classes = self.stated_tied(), self.config.get("architectures")
        causal = isinstance(classes, list) and any(str(c).endswith(("ForCausalLM", "LMHeadModel")) for c in classes)
        return causal if stated is None else stated

    def needs_head(self) -> bool:
        """Whether nothing but the input embedding is the output embedding of this model."""
        return not self.config.get("is_encoder_decoder") and not any(each[-1] == HEAD for each in self._keys)

    def embedding(self, shape: tuple[int, ...]) -> str | None:
        """The input embedding."""
        found = [
            name
            for name, spec in self.layout.items()
            if key(name)[-1] in EMBEDDINGS and spec.shape[1:] == shape[1:] and key(name)[:-1] in INSIDE
        ]
        return min(found, key=lambda name: len(key(name)), default=None)
