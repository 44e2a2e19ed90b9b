"""What config.json of a fused model has to say: what the base's says, but for what the adapter changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.verification.addends import Wanted
from adapterops.verification.names import Base
from adapterops.verification.settings import differences, usual
from adapterops.verification.vocabulary import is_input, is_label_head, words_stated

TIED, QUANTIZED = "tie_word_embeddings", "quantization_config"

OF_LABELS = {"id2label", "label2id", "num_labels", "problem_type", "auto_map"}
"""Fields that a base gets new where it becomes a classifier."""

OTHER_WORDS = {"n_words", "decoder_vocab_size"}
"""Fields that say the size of the vocabulary once more, in some models."""

METHODS = {
    **{name: {"bitsandbytes"} for name in ("nf4", "fp4", "int8")},
    "fp8": {"fp8", "compressed-tensors", "fbgemm_fp8", "modelopt", "modelopt_mixed"},
    "mxfp4": {"mxfp4"},
    "nvfp4": {"compressed-tensors", "modelopt", "modelopt_fp4", "modelopt_mixed"},
    "int-quantized": {"compressed-tensors"},
    "mxfp4-pack-quantized": {"compressed-tensors"},
    "compressed-tensors": {"compressed-tensors"},
    **{name: {name, "auto-round", "intel/auto-round"} for name in ("awq", "gptq")},
}
"""Scheme of weights → what the config of a model in it may name as its method."""

IN_EIGHT = {"nf4": False, "fp4": False, "int8": True}
"""Of those of bitsandbytes: whether the config has to say 8 bits, and not 4."""


def config_doubts(
    model: Checkpoint,
    base: Checkpoint,
    adapter: Adapter,
    places: Mapping[str, Wanted],
    *,
    classifies: bool = False,
    own: bool = False,
) -> Iterator[str]:
    """What config.json says that makes another model than the base's and the adapter's, and than that of the tensors.

    Args:
        places: the tensors that the adapter changes, and those that the base does not have.
        classifies: the base becomes a classifier.
        own: the model has a manifest, so that no other program has written its config.
    """
    if base.gguf or model.gguf:
        return  # the files say all themselves
    if base.config is not None and model.config is None:
        if _is_folder(model) and _is_folder(base):
            yield "is missing, and the base has one"
        return
    found = model.config or {}
    if classifies:
        yield from _labels(found, adapter)
    yield from _words(model, base, places)
    if not found:
        return
    if base.config is not None:
        grown = has_other_words(model, base, places)
        for each in differences(found, base.config, own=own):
            words = grown and each.field.rpartition(".")[2] in OTHER_WORDS and each.found == words_stated(found)
            if not (words or (classifies and each.field in OF_LABELS)):
                yield str(each)
        yield from () if classifies else _task(found, base.config)
    yield from _ends(model, base, parted=bool(places.keys() - base.layout.keys()), classifies=classifies)
    yield from _codes(model, base, own)


def _is_folder(checkpoint: Checkpoint) -> bool:
    return checkpoint.files is not None and checkpoint.files.path.is_dir()


def _labels(config: Mapping[str, Any], adapter: Adapter) -> Iterator[str]:
    """A config that names no classifier, or not as many labels as a weight of its head has rows."""
    stated = config.get("id2label")
    heads = [each.spec.shape for name, each in adapter.full.items() if is_label_head(name) and name.endswith(".weight")]
    if not isinstance(stated, Mapping) or all(len(stated) != shape[0] for shape in heads):
        yield f"does not name the labels of its head, whose weights are {heads}"
    classes = config.get("architectures")
    if not isinstance(classes, list) or not all(
        str(each).endswith(("Classification", "Answering")) for each in classes
    ):
        yield f"names {classes} as its class, which is not a classifier"


def _task(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    """A class that ends in another task: classes of one type have several names, and programs choose by the name."""
    ends = []
    for config in (found, expected):
        classes = config.get("architectures")
        stated = [str(each) for each in classes] if isinstance(classes, list) else []
        tasks = {each.rpartition("For")[2] for each in stated if "For" in each}
        any_ = {"CausalLM", "ConditionalGeneration"} if any(each.endswith("LMHeadModel") for each in stated) else set()
        ends.append(tasks | any_)
    if all(ends) and found.get("model_type") == expected.get("model_type") and not ends[0] & ends[1]:
        yield f"architectures is {found['architectures']}, expected {expected['architectures']}"


def has_other_words(model: Checkpoint, base: Checkpoint, places: Mapping[str, Wanted]) -> bool:
    """Whether an input embedding that is trained whole has another number of rows than the base's."""
    return any(model.layout[name].shape != base.layout[name].shape for name in _embeddings(model, base, places))


def _embeddings(model: Checkpoint, base: Checkpoint, places: Mapping[str, Wanted]) -> list[str]:
    trained = [name for name, each in places.items() if each.full is not None and is_input(name)]
    return [name for name in trained if name in model.layout and name in base.layout]


def _words(model: Checkpoint, base: Checkpoint, places: Mapping[str, Wanted]) -> Iterator[str]:
    """A vocabulary of another size than the embedding of the adapter has, or than the base says where it has none."""
    stated, before = words_stated(model.config or {}), words_stated(base.config or {})
    for name in _embeddings(model, base, places):
        rows = model.layout[name].shape[0]
        if rows != base.layout[name].shape[0] and model.config and stated != rows:
            yield f"says that the vocabulary has {stated} words, and {name} has {rows}"
    if stated is None or has_other_words(model, base, places):
        return
    if before is not None and stated != before:
        yield f"says that the vocabulary has {stated} words, and the base's says {before}"
    inputs = {spec.shape[0] for name, spec in model.layout.items() if is_input(name) and len(spec.shape) == 2}
    if before is None and len(inputs) == 1 and stated not in inputs:
        yield f"says that the vocabulary has {stated} words, and the input embedding has {inputs.pop()}"


def _ends(model: Checkpoint, base: Checkpoint, *, parted: bool, classifies: bool) -> Iterator[str]:
    """Whether input and output embedding are said to be one, other than the tensors have it."""
    there, found = Base(base.layout, base.config or {}), Base(model.layout, model.config or {})
    if classifies:
        return  # which has no output embedding
    if parted:
        if found.tied():
            yield "says that the embeddings are tied, and there are two"
    elif there.tied() and there.needs_head() and not found.tied():
        yield "says that the embeddings are two, and there is one"
    elif base.config is not None:
        tied, before = _shares(found), _shares(there)
        stored = (
            not found.needs_head()
        )  # an output embedding that is stored is right under a config that shares nothing
        if None not in (tied, before) and tied != before and (tied or not stored):
            yield f"{TIED} is {tied}, expected {before}"


def _shares(model: Base) -> bool | None:
    """Whether a config shares the ends of a model, in itself or by its type; None where that is not known."""
    stated = model.stated_tied()
    return stated if stated is not None else usual(TIED, model.config)


def _codes(model: Checkpoint, base: Checkpoint, own: bool) -> Iterator[str]:
    """A quantization that the weights are not in. (A model that has no codes and says so is not opened.)"""
    stated, before = ((each.config or {}).get(QUANTIZED) for each in (model, base))
    if not model.schemes:
        return
    names = {str(getattr(each, "scheme", each).name) for each in model.schemes.values()} & METHODS.keys()
    if not isinstance(stated, Mapping):
        if names and (before is not None or not base.schemes):
            yield f"{QUANTIZED} is not there, and weights are in {', '.join(sorted(names))}"
    elif own and base.schemes == model.schemes and stated != before:
        yield f"{QUANTIZED} is {stated}, expected {before}"
    else:
        for name in sorted(names):
            if "quant_method" in stated and stated["quant_method"] not in METHODS[name]:
                yield f"{QUANTIZED} is of {stated['quant_method']!r}, and weights are in {name}"
            elif name in IN_EIGHT and bool(stated.get("load_in_8bit")) != IN_EIGHT[name]:
                yield f"{QUANTIZED} says load_in_8bit={bool(stated.get('load_in_8bit'))}, and weights are in {name}"
