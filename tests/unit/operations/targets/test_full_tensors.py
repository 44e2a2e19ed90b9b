from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from adapterops.adapters.adapter import Adapter
from adapterops.errors import IncompatibleError
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.targets.full_tensors import counterparts, replacements
from adapterops.storage.tensors import Spec

EMBEDDING, HEAD = Spec("F32", (6, 4)), Spec("F32", (6, 4))


def adapter(**full: Spec) -> Adapter:
    """Of full tensors alone; keyword arguments have no dots, so `__` stands for one."""
    full_tensors: Any = {name.replace("__", "."): SimpleNamespace(spec=spec) for name, spec in full.items()}
    return Adapter({}, {}, full=full_tensors)


@pytest.mark.parametrize("prefix", ["", "model.", "language_model.model."])
def test_the_counterpart_of_a_head_that_a_base_ties_is_its_input_embedding(prefix: str) -> None:
    base, config = {f"{prefix}embed_tokens.weight": EMBEDDING}, {"tie_word_embeddings": True}
    head = "language_model.lm_head.weight" if "language" in prefix else "lm_head.weight"
    found = counterparts(adapter(lm_head__weight=HEAD), base, config)
    assert found == {"lm_head.weight": (head, f"{prefix}embed_tokens.weight")}
    assert replacements(adapter(lm_head__weight=HEAD), base, config) == {
        head: (f"{prefix}embed_tokens.weight", "lm_head.weight")
    }


def test_a_head_that_is_tied_to_nothing_known_has_no_counterpart() -> None:
    """It may still be the adapter's own, to which an update is added."""
    base = {"model.embed_tokens.weight": EMBEDDING}
    assert counterparts(adapter(lm_head__weight=HEAD), base, None) == {"lm_head.weight": ("lm_head.weight", None)}
    with pytest.raises(IncompatibleError, match="the base has no output embedding"):
        replacements(adapter(lm_head__weight=HEAD), base, None)


def test_an_adapter_without_full_tensors_replaces_nothing() -> None:
    assert replacements(adapter(), {"model.embed_tokens.weight": EMBEDDING}, {"tie_word_embeddings": True}) == {}


def test_an_output_of_its_own_does_not_follow_where_no_config_says_that_it_is_tied() -> None:
    base = {"model.embed_tokens.weight": EMBEDDING, "lm_head.weight": HEAD}
    more = adapter(model__embed_tokens__weight=Spec("F32", (8, 4)))
    more = replace(more, config=AdapterConfig(unannounced=("model.embed_tokens.weight",)))
    with pytest.raises(IncompatibleError, match=r"lm_head.weight.*has 6 rows in the base and is not in the adapter"):
        replacements(more, base, {})
    embedding = "model.embed_tokens.weight"
    assert replacements(more, base, {"tie_word_embeddings": True}) == {
        embedding: (embedding, embedding),
        "lm_head.weight": ("lm_head.weight", embedding),
    }


def test_labels_change_only_where_the_class_is_known() -> None:
    base, more = {"score.weight": Spec("F32", (2, 4))}, adapter(score__weight=Spec("F32", (3, 4)))
    with pytest.raises(IncompatibleError, match="is a full tensor of shape"):
        counterparts(more, base, {"model_type": "llama"})
    known = replace(more, config=AdapterConfig(fields={"task_type": "SEQ_CLS"}))
    assert counterparts(known, base, {"model_type": "llama"}) == {"score.weight": ("score.weight", "score.weight")}
