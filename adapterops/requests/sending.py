"""What goes to the Hub, and the card of it, after a check of how the manifest says that it was made."""

from __future__ import annotations

import os
from pathlib import Path

from adapterops.hub import package, pushing
from adapterops.hub.pushing import Pushed
from adapterops.hub.references import Reference
from adapterops.requests.verifying import recorded


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
    recorded(Path(folder))
    return pushing.push(folder, repo, private=private, create_pr=create_pr, message=message, dry_run=dry_run)


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
    recorded(Path(folder))
    return package.card(folder, repo=repo, base=base, out=out, force=force)
