"""The model in one with a head: a file of the one is loaded as the other, by other names.

transformers loads `h.0.attn.c_attn` as `transformer.h.0.attn.c_attn` where the class has a head, and the other way round where it
has none; PEFT has the names in memory. `tables/inner.txt` has what the classes of each type hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from adapterops.regex import Regex
from adapterops.tables import ruled

TABLE = Path(__file__).parent / "tables" / "inner.txt"

LANGUAGE_MODEL = {"layers", "embed_tokens", "norm"}
"""What a language model that is called `model` consists of."""

HEADS = {"lm_head", "score", "classifier", "cls", "qa_outputs", "predictions", "generator_predictions", "embed_out"}
"""What is next to the inner model and not in it."""

TASKS = {
    "SEQ_CLS": "ForSequenceClassification",
    "TOKEN_CLS": "ForTokenClassification",
    "QUESTION_ANS": "ForQuestionAnswering",
    "FEATURE_EXTRACTION": "Model",
    "CAUSAL_LM": "ForCausalLM",
    "SEQ_2_SEQ_LM": "ForConditionalGeneration",
}
"""The tasks of PEFT's configs, and how the classes for them are called."""

GENERATING = {"CAUSAL_LM", "SEQ_2_SEQ_LM"}
"""Tasks which adapters of classes with another name state, too."""

HEAD = Regex(r"For[A-Z]|LMHeadModel$")

END = Regex(r"(For[A-Z]\w*|LMHeadModel|DoubleHeadsModel|Model)$")


@dataclass(frozen=True)
class Inner:
    """What the model that others of its type hold is in memory.

    Attributes:
        prefix: what is before its names in a model with a head.
        children: what its names begin with; none where that is not known.
        headed: whether this model is one with a head; None where that is not known, and names stay as they are.
    """

    prefix: str
    children: frozenset[str]
    headed: bool | None

    def __call__(self, name: str) -> str:
        """The name in this model of a tensor of a file of either.

        >>> Inner("transformer.", frozenset({"h", "wte"}), True)("h.0.mlp.c_fc.weight")
        'transformer.h.0.mlp.c_fc.weight'
        >>> Inner("bert.", frozenset({"encoder"}), False)("bert.encoder.layer.0.output.dense.weight")
        'encoder.layer.0.output.dense.weight'
        """
        own = name.removeprefix(self.prefix)
        if self.headed is None or (own == name) != self.headed or not self._has(own):
            return name
        return self.prefix + name if self.headed else own

    def _has(self, name: str) -> bool:
        first = name.partition(".")[0]
        return first in self.children if self.children else first not in HEADS


NOTHING = Inner("", frozenset(), False)
"""Of a model that is in no other."""


def inner(names: Callable[[], Iterable[str]], config: Mapping[str, Any] | None) -> Inner:
    """What the names of a file become by the class that its config states.

    Args:
        names: those in the file, after what transformers renames in it; asked for where nothing is known of the type.
    """
    stated = (config or {}).get("architectures")
    found = [str(name) for name in stated] if isinstance(stated, list) else []
    if not found:
        return NOTHING
    if not ruled(TABLE, "NONE").keys().isdisjoint(found):
        return NOTHING
    own = next(filter(None, map(rule, found)), None)
    known = own or rule(str((config or {}).get("model_type")))
    bare = not ruled(TABLE, "BARE").keys().isdisjoint(found)
    headed = True if own or any(map(has_head, found)) else (False if bare else None)
    if known is None:
        first = {name.partition(".")[0] for name in names()} if headed else set()
        return Inner("model.", frozenset(), headed) if first >= LANGUAGE_MODEL and "model" not in first else NOTHING
    return Inner(*known, headed)


@cache
def rule(word: str) -> tuple[str, frozenset[str]] | None:
    """What is before the names of the inner model of a type, or of a class that has its own, and what these begin with; None
    where none is known.
    """
    for line in ruled(TABLE, "INNER").get(word, ()):
        prefix, *children = line.split()
        return prefix, frozenset(children)
    return None


def has_head(name: str) -> bool:
    """Whether a class holds a model that has a class of its own.

    >>> has_head("GPT2LMHeadModel"), has_head("T5ForSequenceClassification"), has_head("T5ForConditionalGeneration")
    (True, True, False)
    """
    return name in ruled(TABLE, "HEADS") or (named_with_head(name) and name not in ruled(TABLE, "NONE"))


def named_with_head(name: str) -> bool:
    """Whether a class is called as those with a head are.

    >>> named_with_head("BertForMaskedLM"), named_with_head("MaskFormerModel")
    (True, False)
    """
    return bool(HEAD.search(name))


def same_family(one: str, other: str) -> bool:
    """Whether two classes are of one family, as their names say.

    >>> same_family("BertModel", "BertForMaskedLM"), same_family("Dots3NoteTextModel", "Dots3NoteForCausalLM")
    (True, False)
    """
    return END.sub("", one) == END.sub("", other)


def is_of_words(name: str | None, whole: str) -> bool:
    """Whether a class is the one for words alone of a family whose models have other parts, too: of `whole`; or where it is not
    stated, whether there is such a class.

    >>> is_of_words("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"), is_of_words(None, "LlavaForConditionalGeneration")
    (True, False)
    """
    words = f"{END.sub('', whole)}ForCausalLM"
    return name in (None, words) and whole != words and words in ruled(TABLE, "WORDS")


def with_class(config: Mapping[str, Any] | None, stated: str | None, task: object) -> dict[str, Any]:
    """The config of a base with the class that an adapter of it is for, where that is another.

    Args:
        stated: the class that PEFT noted.
        task: the task that it noted.

    >>> with_class({"architectures": ["BertModel"]}, None, "SEQ_CLS")["architectures"]
    ['BertForSequenceClassification']
    >>> with_class({"architectures": ["LlavaForConditionalGeneration"]}, None, "CAUSAL_LM")["architectures"]
    ['LlavaForConditionalGeneration']
    """
    own = dict(config or {})
    classes = own.get("architectures")
    if not isinstance(classes, list) or not classes:
        return own
    base = str(classes[0])
    if stated:  # one of another family is a part of the base, as a tower is, or holds it
        return {**own, "architectures": [stated]} if same_family(stated, base) else own
    if str(task) not in TASKS or (str(task) in GENERATING and named_with_head(base)):
        return own
    return {**own, "architectures": [END.sub("", base) + TASKS[str(task)]]}


def with_head(config: Mapping[str, Any] | None, stated: str | None, task: object) -> dict[str, Any] | None:
    """The config of a base, with the class that an adapter of it is for where that has a head and the base has none: what such a
    class shares is in the files of the base once, too.

    >>> with_head({"architectures": ["WhisperModel"]}, "WhisperForConditionalGeneration", None)["architectures"]
    ['WhisperForConditionalGeneration']
    >>> with_head({"architectures": ["LlamaForCausalLM"]}, "LlamaModel", None)["architectures"]
    ['LlamaForCausalLM']
    """
    several = str(task) in GENERATING and bool((config or {}).get("is_encoder_decoder"))
    found = with_class(config, stated, "SEQ_2_SEQ_LM" if several else task)
    own, its = (((each or {}).get("architectures") or [""])[0] for each in (config, found))
    return found if named_with_head(str(its)) and not named_with_head(str(own)) else dict(config or {})
