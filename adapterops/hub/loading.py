"""Which class loads what a card describes: as its configs name it, and never by a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapterops.regex import Regex

TASKS = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "FEATURE_EXTRACTION": "AutoModel",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
}
"""What transformers loads for PEFT's task types."""

GENERATING = Regex(r"AutoModelForCausalLM|\w+(ForCausalLM|(?<!With)LMHeadModel)")
"""Classes that servers of text generation load."""

LABELLED = {"AutoModelForSequenceClassification", "AutoModelForTokenClassification"}
"""What needs to know the number of labels, where a base has none."""

COMPONENTS = {"UNet": "unet", "Transformer": "transformer"}
"""Parts of the names of diffusers' classes, and where a pipeline has such a model."""

LIBRARIES = {"transformers", "diffusers"}


@dataclass(frozen=True)
class LoadingClass:
    """A class of a library. `component` is where a pipeline of diffusers has it; `labels` is the number of labels that
    it is loaded with, 0 for its own.
    """

    library: str
    name: str
    component: str = ""
    labels: int = 0

    @property
    def automatic(self) -> bool:
        """Whether it finds the class by itself, and a base by its adapter."""
        return self.name.startswith("AutoModel")

    @property
    def generates(self) -> bool:
        """Whether servers of text generation, such as vLLM, load it."""
        return GENERATING.fullmatch(self.name) is not None


def loading_model(config: Mapping[str, Any] | None) -> LoadingClass | None:
    """The class that a model's config.json names; None where it names none.

    >>> loading_model({"architectures": ["BertModel"]})
    LoadingClass(library='transformers', name='BertModel', component='', labels=0)
    """
    config = config or {}
    if isinstance(config.get("_class_name"), str):
        return _diffusers(config["_class_name"])
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not str(named[0]).isidentifier():
        return None
    return LoadingClass("transformers", str(named[0]))


def loading_base(
    adapter: Mapping[str, Any], config: Mapping[str, Any] | None = None, labels: int = 0
) -> LoadingClass | None:
    """What an adapter's base is loaded with: by adapter_config.json, and by the base's config.json where it is known;
    None where neither says. A task that adds a head to any base counts more than the class that the base was saved as.

    Args:
        labels: of the head that was trained with it, if any.
    """
    mapping = adapter.get("auto_mapping") or {}
    library, name = str(mapping.get("parent_library")).partition(".")[0], str(mapping.get("base_model_class"))
    if mapping and (library not in LIBRARIES or not name.isidentifier()):
        return None
    if mapping:
        return _diffusers(name) if library == "diffusers" else LoadingClass(library, name)
    auto = TASKS.get(str(adapter.get("task_type")))
    found = loading_model(config)
    if auto is None or (auto == TASKS["CAUSAL_LM"] and found is not None and not found.generates):
        return found
    return LoadingClass("transformers", auto, labels=labels if auto in LABELLED else 0)


def _diffusers(name: str) -> LoadingClass | None:
    component = next((where for part, where in COMPONENTS.items() if part in name), "")
    return LoadingClass("diffusers", name, component) if re.fullmatch(r"\w+", name) else None
