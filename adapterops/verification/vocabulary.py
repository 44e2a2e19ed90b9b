"""What a witness knows of vocabularies: which tensors have a row for each word, and which of them are one weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from adapterops.adapters.adapter import Adapter
from adapterops.verification.names import EMBEDDINGS, HEAD, Base, key

IN = EMBEDDINGS | {"embeddings"}
OUT = {(HEAD,), ("lm_head", "decoder"), ("predictions", "decoder"), ("vocab_projector",), ("generator_lm_head",)}
WHOLE = {("proj_out",), ("decoder",)}
"""Names of others, which in a longer name are those of other layers."""

TEXT = {"text_config", "decoder", "generator", "text_encoder", "thinker_config"}
"""Where the config of a composite model has that of its language model."""


LOGITS = "final_logits_bias"
"""What is added to all logits, and never trained."""

LABEL_HEADS = {"score", "classifier", "pre_classifier", "classification_head", "qa_outputs"}
NOT_OF_CLASSIFIERS = {
    *(HEAD, "cls", "embed_out", "predictions", "lm_predictions", "generator_predictions", "generator_lm_head"),
    *("discriminator_predictions", "vocab_transform", "vocab_layer_norm", "vocab_projector", "qa_outputs"),
    LOGITS,
}
"""What the tensors of other heads begin with."""


def is_label_head(tensor: str) -> bool:
    """Whether it belongs to the head of a classifier."""
    return tensor.split(".")[0] in LABEL_HEADS


def becomes_classifier(adapter: Adapter, base: Base) -> bool:
    """Whether a base gets a head of labels that it has not, or has for others."""
    heads = {name: stored.spec.shape for name, stored in adapter.full.items() if is_label_head(name)}
    found = {name: head_of(name, shape, base) for name, shape in heads.items()}
    return any((there := found[name]) is None or base.layout[there].shape != shape for name, shape in heads.items())


def head_of(name: str, shape: tuple[int, ...], base: Base) -> str | None:
    """The tensor of a base that a name means, where it is in the head of a classifier: none of another head that ends alike."""
    found = base.find(name, (shape,))
    return None if found and is_label_head(name) and key(found)[0] not in LABEL_HEADS else found


def left_out(base: Base) -> set[str]:
    """The tensors that a base loses where it becomes a classifier."""
    single = {"decoder.weight", "decoder.bias"}
    return {name for name in base.layout if name.split(".")[0] in NOT_OF_CLASSIFIERS or name in single}


def is_input(tensor: str) -> bool:
    return tensor.endswith(".weight") and key(tensor)[-1] in IN


def is_output(tensor: str) -> bool:
    """Whether it is an output embedding."""
    parts = key(tensor)
    ends = parts in WHOLE or any(parts[-len(end) :] == end for end in OUT)
    return tensor.endswith(".weight") and ends


def is_bias(tensor: str) -> bool:
    """Whether it is the bias of an output embedding."""
    *above, last = key(tensor)
    outputs = [list(end[: len(end) - cut]) for end in OUT for cut in (0, 1) if len(end) > cut]
    of_output = tuple(above) in WHOLE or any(above[-len(end) :] == end for end in outputs)
    return tensor.endswith(LOGITS) or (last == "bias" and of_output)


def one_weight(adapter: Adapter, base: Base) -> bool:
    """Whether both ends stay one tensor: they are, and nothing says that one of them has a weight of its own."""
    if base.stated_tied() is False:
        return False
    announced = [name for name in adapter.full if name not in adapter.config.unannounced]
    ends = [
        name
        for name in (*announced, *(f"{module}.weight" for module in adapter.layout))
        if is_input(name) or is_output(name)
    ]
    rows = {is_output(of_rows(name)): each for name, each in adapter.config.tokens.items()}
    return not ends and (True not in rows or rows.get(False) == rows[True])


def kept_one(adapter: Adapter, base: Base, model: Base) -> bool:
    """Whether a model has the one weight for both ends that an adapter has twice."""
    ends = [stored for name, stored in adapter.full.items() if is_input(name) or is_output(name)]
    moved = any(is_input(name) or is_output(name) for name in (f"{module}.weight" for module in adapter.layout))
    tied = base.tied() and model.tied() and not any(map(is_output, model.layout))
    return tied and not moved and len(ends) == 2 and ends[0].same_bytes(ends[1])


def of_rows(name: str) -> str:
    """The tensor that some rows of are replaced by a tensor of this name."""
    return name.partition(".token_adapter.")[0] + ".weight"


def shared(full: str, base: Base, joint: bool) -> str | None:
    """The tensor of a base which one that it has not is the same as; its input embedding where `joint`."""
    if is_input(full) or is_output(full):
        if not joint:
            return None
        taking = sorted(name for name in base.layout if is_input(name) and len(base.layout[name].shape) == 2)
        first = [name for name in taking if key(name)[-1] == "shared"] or taking
        return first[0] if len(first) == 1 else None
    *above, last = full.split(".")
    twin = ".".join([*above[:-1], last])
    return twin if last == "bias" and above[-1:] == ["decoder"] and twin in base.layout else None


def of_words(tensor: str) -> bool:
    """Whether it has a row for each word."""
    return is_input(tensor) or is_output(tensor) or is_bias(tensor)


def regrown(
    adapter: Adapter, base: Base, fulls: Mapping[str, tuple[str, str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Where full tensors change the number of words: what else of the base is the same tensor as one of them, and what
    keeps the old number, and why that is wrong.

    Args:
        fulls: tensor → what it was before, and the full tensor in its place.
    """
    shapes = {name: (base.layout[start].shape, adapter.full[full].spec.shape) for name, (start, full) in fulls.items()}
    changed = {name: each for name, each in shapes.items() if each[0] != each[1]}
    lost = {
        name: f"is {list(after)} in the adapter and {list(before)} in the base"
        for name, (before, after) in changed.items()
        if before[1:] != after[1:] or len(before) != len(after) or not (of_words(name) or is_label_head(name))
    }
    sizes = {(before[0], after[0]) for name, (before, after) in changed.items() if of_words(name)}
    if len(sizes) > 1:
        lost |= dict.fromkeys(changed, "has another number of words than the rest of the adapter")
    stated = base.stated_tied()
    held = stated or (stated is None and not any(is_output(name) and name not in fulls for name in base.layout))
    sources = [name for name in changed if fulls[name][1] in adapter.config.unannounced and not is_bias(name)]
    same: dict[str, str] = {}
    for before, _ in sizes:
        for name, spec in base.layout.items():
            if name in fulls or before not in spec.shape or not of_words(name) or name.endswith(LOGITS):
                continue
            joined = (each for each in sources if held or _joins(key(name), key(each)))
            source = _reader(name, changed) or next(joined, None)
            if source and spec.shape == base.layout[fulls[source][0]].shape:
                same[name] = fulls[source][1]
            else:
                lost[name] = "has the old number of words"
    return same, lost


def _reader(name: str, changed: Collection[str]) -> str | None:
    """The embedding of the encoder, where that and the decoder's are the adapter's: nothing reads what they shared then."""
    above, ends, _ = name.rpartition("shared.weight")
    own = [f"{above}{part}.embed_tokens.weight" for part in ("encoder", "decoder")]
    return own[0] if ends and all(each in changed for each in own) else None


def _joins(name: tuple[str, ...], source: tuple[str, ...]) -> bool:
    """Whether it is the input of an encoder or decoder, which a resize makes that of the whole model."""
    return {name[-1], source[-1]} <= IN and name[:-1] in {(*source[:-1], part) for part in ("encoder", "decoder")}


def untrained(adapter: Adapter, base: Base, fulls: Mapping[str, tuple[str, str]]) -> dict[str, int]:
    """The biases that no adapter has, and how many words they have where full tensors change that; as in `regrown`."""
    sizes = {
        base.layout[start].shape[0]: adapter.full[full].spec.shape[0]
        for name, (start, full) in fulls.items()
        if of_words(name)
    }
    biases = {name: spec.shape[-1] for name, spec in base.layout.items() if name.endswith(LOGITS)}
    return {name: sizes[before] for name, before in biases.items() if sizes.get(before, before) != before}


def words_stated(config: Mapping[str, object]) -> object:
    """The size of the vocabulary that a config says: that of its language model."""
    inner = next((config[part] for part in sorted(TEXT) if isinstance(config.get(part), Mapping)), None)
    return words_stated(inner) if isinstance(inner, Mapping) else config.get("vocab_size")
