"""The files of a tokenizer, by their names."""

from __future__ import annotations

from pathlib import Path

from adapterops.storage.place import Place, check_inside

TOKENIZER = {
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model"),
    *("vocab.json", "vocab.txt", "merges.txt", "bpe.codes", "spiece.model", "sentencepiece.bpe.model", "spm.model"),
    *("source.spm", "target.spm", "tekken.json", "chat_template.jinja", "chat_template.json"),
}
"""What transformers saves of a tokenizer, and reads."""


def tokenizer_files(place: Place, weights: Path) -> tuple[Path, ...]:
    """Those in the folder of an adapter, whose vocabulary they are; none where a file is named and no folder.

    Raises:
        InputError: one is a link that leads out of the folder.
    """
    if not place.folder:
        return ()
    folder = Place(weights.parent, place.remote)
    elsewhere = folder.missing()
    named = [path for path in folder.entries() if path.name in TOKENIZER]
    for path in named:
        if path not in elsewhere and path.is_symlink():
            check_inside(path)
    return tuple(path for path in named if path in elsewhere or path.is_file())
