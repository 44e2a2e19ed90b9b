"""The tokenizer that a fused model is saved with, and whether the words of two models are the same."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterWarning, IncompatibleError, InputError, at
from adapterops.provenance.history import Source, Step, sources
from adapterops.storage.shapes import fits
from adapterops.storage.strict import parse_json, read_all

FAST = "tokenizer.json"
WORDS = ("vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "added_tokens.json")
"""Files that say which number a word has, where there is no `FAST`."""


def agreed_tokenizer(history: Step | Source) -> dict[str, Path]:
    """The files of the tokenizer that adapters were trained with, which may have words that the base's lacks: name →
    file. None where several adapters differ in one of them; the base keeps its own then.

    Warns:
        AdapterWarning: they differ.
    """
    found: dict[str, Path] = {}
    origin: dict[str, Source] = {}
    for source in sources(history):
        for path in source.tokenizer:
            first = found.setdefault(path.name, path)
            owner = origin.setdefault(path.name, source)
            if first != path and _content(owner, first) != _content(source, path):
                warnings.warn(
                    f"{path.name} next to {owner.name} and {source.name} differ: the model keeps the base's tokenizer",
                    AdapterWarning,
                    stacklevel=3,
                )
                return {}
    return found


def _content(source: Source, path: Path) -> bytes:
    return read_all(source.here(path))


def check_vocabulary(tuned: Checkpoint, base: Checkpoint) -> None:
    """Raise IncompatibleError where tokenizers are next to two models and give a number to different words: the rows of
    their embeddings are then not of the same words, and have no difference.
    """
    ours, theirs = _tokenizer(tuned), _tokenizer(base)
    for name in (
        [FAST] if FAST in ours and FAST in theirs else [name for name in WORDS if name in ours and name in theirs]
    ):
        (source, path), (other, there) = ours[name], theirs[name]
        one, two = _content(source, path), _content(other, there)
        if one == two:
            continue
        if fact := _words_differ(_words(path, one), _words(there, two)) if name == FAST else "differs from the base's":
            raise IncompatibleError(
                fact,
                path=path,
                hint="merge models with one vocabulary: those that were tuned from this base, without new words",
                code="E-VOCABULARY",
            )


def _tokenizer(model: Checkpoint) -> dict[str, tuple[Source, Path]]:
    return {path.name: (source, path) for source in sources(model.history) for path in source.others}


def _words_differ(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str | None:
    """What is different in the words of two tokenizer.json; None where these are the same."""
    if ours == theirs:
        return None
    here, there = sorted(ours.items() - theirs.items()), sorted(theirs.items() - ours.items())
    examples = [
        f"{word!r} is {number} in {place}"
        for place, each in (("it", here), ("the base", there))
        for word, number in each[:1]
    ]
    return f"has {len(ours)} words, the base {len(theirs)}, and they differ: {'; '.join(examples)}"


def _words(path: Path, text: bytes) -> dict[str, str]:
    """Word → its number, or its number and score, as a tokenizer.json says it.

    Raises:
        InputError: it is not JSON, or not what a tokenizer is saved as.
    """
    with at(path=path):
        content = parse_json(text)
        if not _of_tokenizer(content):
            raise InputError(
                "is not what a tokenizer is saved as: an object with a model of words and a list of added_tokens",
                hint="download it again",
                code="E-CONFIG",
            )
    vocabulary = (content.get("model") or {}).get("vocab") or {}
    pairs = vocabulary.items() if isinstance(vocabulary, dict) else ((each, i) for i, each in enumerate(vocabulary))
    more = {str(each.get("content")): str(each.get("id")) for each in content.get("added_tokens") or ()}
    return {**{str(word): str(number) for word, number in pairs}, **more}


def _of_tokenizer(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    model, added, nothing = content.get("model"), content.get("added_tokens"), type(None)
    if not fits(model, (dict, nothing)) or not fits(added, ([dict], nothing)):
        return False
    return fits((model or {}).get("vocab"), (dict, list, nothing))
