"""What goes to the Hub, and the card of it, after a check of how the manifest says that it was made."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from adapterops.errors import AdapterWarning, OptionError, printable
from adapterops.hub.card import render
from adapterops.hub.package import Payload, files, made
from adapterops.hub.pushing import Push, Pushed, check_token, looked_at, may_write_card
from adapterops.hub.references import Reference, referred
from adapterops.requests.verifying import recorded
from adapterops.storage.documents import check_documents, write_documents
from adapterops.storage.outputs import CARD, MARK
from adapterops.storage.place import Place


def push(
    folder: str | os.PathLike[str],
    repo: Reference | str,
    *,
    private: bool | None = None,
    create_pr: bool = False,
    message: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Make a repository have what is in a folder of adapterops or PEFT: weights, config, tokenizer, manifest and card,
    in one commit.

    Args:
        repo: the repository, and a branch of it where that is not its main one.
        private: whether it has to be private; None: as it is, or as the Hub makes new ones.
        create_pr: propose the change, and leave the branch as it is.
        message: of the commit.
        dry_run: send nothing, and do not wait for the Hub: what it has is compared if it answers in three seconds.

    Raises:
        OptionError, InputError: the folder holds neither an adapter nor a model, or is damaged, or its manifest has a
            request that is not understood, which nobody could do again.
        OutputExistsError: the repository is public, and was to be private, or the reverse.
        NotFoundError: the Hub refuses, cannot be reached, or the branch changed meanwhile.

    Cost: the files are read once for their checksums; what the Hub has already is not sent again.
    """
    folder, target = Path(folder), referred(repo)
    recorded(folder)
    if target.inner or (create_pr and target.revision):
        raise OptionError(
            "names a folder inside, or a branch with --create-pr", path=target, hint="name the repository: owner/name"
        )
    found, left_out = files(folder)
    if not dry_run:
        check_token(target)
    contents = {name: Payload.of(path) for name, path in found.items()}
    about = made(folder, target.repo, contents, licensed=not dry_run)
    there, reason = looked_at(target, private, dry_run)
    if CARD not in contents and may_write_card(target, there):
        contents[CARD] = Payload.of(render(about).encode())
    message = message or f"Upload {printable(folder.resolve().name)} with adapterops"
    return Push(target, contents, there, left_out, create_pr, message, reason).run(dry_run)


def card(
    folder: str | os.PathLike[str],
    *,
    repo: str | None = None,
    base: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> str:
    """The card of a folder of adapterops, PEFT or diffusers, or of a file of an image adapter, as `push` would write it;
    nothing is sent.

    Args:
        repo: the repository that it is for; left out, the card loads from the folder.
        base: the model of an adapter, whose config.json says what it is loaded with; of an image adapter the pipeline.
        out: a file to write it into, too.
        force: replace a card that adapterops wrote.

    Raises:
        OptionError, InputError, NotFoundError: as `push` does of a folder.
        OutputExistsError, ResourceError: as `write_documents` does.

    Warns:
        AdapterWarning: the folder has a card of its own, which `push` sends instead.
    """
    folder = Path(folder)
    recorded(folder)
    if out is not None:
        check_documents({Path(out): MARK.encode()}, [], force)
    found, _ = files(folder)
    if CARD in found:
        text = f"{folder / CARD} was not written by adapterops: push sends it as it is, and not this one"
        warnings.warn(text, AdapterWarning, stacklevel=2)
    contents = {name: Payload.of(path) for name, path in found.items()}
    place = str(folder if folder.is_dir() else folder.parent)
    text = render(made(folder, repo or place, contents, None if base is None else Place.of(base)))
    if out is not None:
        write_documents({Path(out): text.encode()}, force)
    return text
