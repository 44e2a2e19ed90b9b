from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.targets.classifiers import Classifier, classifier_of, made
from adapterops.storage.tensors import Spec

NAMES = ["model.embed_tokens.weight", "lm_head.weight"]


def adapter(**full: tuple[int, ...]) -> Adapter:
    found: Any = {name.replace("__", "."): SimpleNamespace(spec=Spec("F32", shape)) for name, shape in full.items()}
    return Adapter({}, {}, AdapterConfig(fields={"task_type": "SEQ_CLS"}), full=found)


def base(*names: str, model_type: str = "llama") -> Checkpoint:
    specs = {name: Spec("BF16", (6, 4)) for name in names}
    return Checkpoint(
        specs, {"1": names[:1], "2": names[1:]}, dict.fromkeys(names, None), config={"model_type": model_type}
    )


def test_a_head_that_the_base_lacks_makes_it_a_classifier() -> None:
    found = classifier_of(adapter(score__weight=(3, 4)), base(*NAMES))
    assert found == Classifier("LlamaForSequenceClassification", 3, frozenset({"lm_head.weight"}))
    result = made(base(*NAMES), found)
    assert list(result.layout) == NAMES[:1]
    assert result.shards == {"1": NAMES[:1]}
    assert result.config is not None
    assert result.config["architectures"] == ["LlamaForSequenceClassification"]


def test_a_head_that_the_base_has_changes_no_class() -> None:
    assert classifier_of(adapter(score__weight=(6, 4)), base(*NAMES, "score.weight")) is None
    assert classifier_of(adapter(norm__weight=(4,)), base(*NAMES)) is None


def test_what_the_class_needs_is_missed() -> None:
    with pytest.raises(IncompatibleError, match="'pooler', which neither"):
        classifier_of(adapter(classifier__weight=(3, 4)), base(*NAMES, model_type="bert"))
    with pytest.raises(IncompatibleError, match="a row for each label"):
        classifier_of(adapter(score__bias=(3,)), base(*NAMES))
