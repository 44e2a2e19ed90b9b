"""What a person writes for an adapter or a model: a path, or a name on the Hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from adapterops.errors import OptionError
from adapterops.regex import Regex

NAME = r"[A-Za-z0-9][\w.-]{0,95}"
SHORT = Regex(rf"(?P<repo>{NAME}/{NAME})(?:@(?P<revision>[^:@\s]+))?(?::(?P<inner>[^:\s]+))?", re.ASCII)
LONG = Regex(
    rf"(?:models/)?(?P<repo>{NAME}/{NAME})(?:@(?P<revision>refs/(?:pr|convert)/[^/:\s]+|[^/:@\s]+))?(?:[/:](?P<inner>[^:\s]*))?",
    re.ASCII,
)
SCHEME = "hf://"
OTHERS = ("datasets/", "spaces/", "buckets/", "kernels/")
"""What is on the Hub and no model."""

COMMIT = Regex(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Reference:
    """A repository on the Hub, a revision of it (None: its main branch), and a folder or file inside ("": all)."""

    repo: str
    revision: str | None = None
    inner: str = ""

    def __str__(self) -> str:
        """
        >>> str(Reference("me/a", "v2", "sub"))
        'me/a@v2:sub'
        """
        return self.repo + (f"@{self.revision}" if self.revision else "") + (f":{self.inner}" if self.inner else "")

    @property
    def uri(self) -> str:
        """
        >>> Reference("me/a", "v2", "sub").uri
        'hf://me/a@v2/sub'
        """
        return (
            SCHEME
            + self.repo
            + (f"@{self.revision}" if self.revision else "")
            + (f"/{self.inner}" if self.inner else "")
        )

    @property
    def place(self) -> str:
        """Without the revision."""
        return str(Reference(self.repo, None, self.inner))


def parse(text: str) -> Reference | None:
    """The reference that a text is: `owner/name[@revision][:folder]`, or `hf://owner/name[@revision][/folder]`; None
    for any other.

    >>> parse("me/a@v2:sub")
    Reference(repo='me/a', revision='v2', inner='sub')
    >>> parse("hf://me/a@refs/pr/1/sub/weights.safetensors")
    Reference(repo='me/a', revision='refs/pr/1', inner='sub/weights.safetensors')
    >>> parse("hf://me/a").revision, parse("./me/a"), parse("a"), parse("me/a/b"), parse("me/a.safetensors")
    (None, None, None, None, None)

    Raises:
        OptionError: it begins with hf:// and goes on as nothing that the Hub knows.
    """
    explicit = text.startswith(SCHEME)
    found = LONG.fullmatch(text.removeprefix(SCHEME)) if explicit else SHORT.fullmatch(text)
    reference = (
        Reference(found["repo"], unquote(found["revision"] or "") or None, (found["inner"] or "").strip("/"))
        if found
        else None
    )
    unsafe = reference is not None and not _safe(reference)
    if explicit and (reference is None or unsafe):
        raise OptionError(
            f"{text!r} is not a reference to the Hub",
            hint="write hf://owner/name, hf://owner/name@revision, or hf://owner/name@revision/folder",
        )
    if reference is None or unsafe or (not explicit and _file(reference)):
        return None
    return reference


def _safe(reference: Reference) -> bool:
    """Whether the Hub may have such a model, and its files are inside a folder here."""
    repo = reference.repo
    return not ("--" in repo or ".." in repo or repo.startswith(OTHERS) or ".." in reference.inner.split("/"))


def referred(text: Reference | str) -> Reference:
    """The reference that a text is.

    Raises:
        OptionError: it is none.
    """
    reference = text if isinstance(text, Reference) else parse(text)
    if reference is None:
        raise OptionError(
            f"{text!r} is not a reference to the Hub", hint="write owner/name, or owner/name@revision:folder"
        )
    return reference


def _file(reference: Reference) -> bool:
    """Whether a short form looks like a path to a file here: `runs/a.safetensors`."""
    return (
        not reference.revision
        and not reference.inner
        and reference.repo.endswith((".safetensors", ".bin", ".gguf", ".json", ".pt"))
    )


PAGE = Regex(
    r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<repo>[^/]+/[^/?]+)"
    r"(?:/(?:tree|blob|resolve)/(?P<revision>[^/?]+)(?:/(?P<inner>[^?]*?))?)?/?(?:\?.*)?"
)
"""A page of a repository, or of a folder or a file in it."""


def check_no_address(text: str) -> None:
    """Raise OptionError for an address of the web, with the reference that a page of the Hub is about."""
    if re.match(r"https?://", text):
        page = PAGE.fullmatch(text)
        revision = page and page["revision"] != "main" and page["revision"]
        hint = (
            f"write {Reference(page['repo'], unquote(revision or '') or None, page['inner'] or '').uri}"
            if page
            else "download it, and name the file"
        )
        raise OptionError(f"{text}: an address of the web is not opened", hint=hint)


def choose(text: str) -> Path | Reference:
    """A path or a reference. A local path comes before the Hub, and so does one that is missing in a local folder.

    Raises:
        OptionError: it is an address of the web, or as `parse` says.
    """
    check_no_address(text)
    reference = parse(text)
    if reference is None or text.startswith(SCHEME):
        return reference or Path(os.path.expanduser(text))
    path = Path(text)
    return path if path.parent.is_dir() else reference
