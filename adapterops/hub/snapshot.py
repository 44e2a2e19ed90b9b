"""One commit of a repository: what is in it, and its files, which come when they are needed."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from adapterops.errors import InputError, NotFoundError, ResourceError
from adapterops.formats.adapter_files import CONFIG
from adapterops.hub.client import UNANSWERED, WAITS, api, ask, explained, offline, say, timeout
from adapterops.hub.ranges import Fetched, Streamed
from adapterops.hub.references import COMMIT, Reference, referred
from adapterops.storage.checksums import BLAKE3, SHA256, file_digests
from adapterops.storage.content import Content
from adapterops.storage.place import PICKLES, SHOWN, Place
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.strict import read_all

SPARE = 1 << 26
"""Bytes that a download leaves free on the disk."""


TENSORS = ".safetensors"
TAKEN = (TENSORS, ".json", ".txt", ".model", ".jinja", ".tiktoken", ".yaml", ".md", ".py", "")
"""Ends of the names of files that belong to an adapter or a model."""


@dataclass(frozen=True)
class Known:
    """What the Hub says of a file: its size, and the sha256 of a large one or git's hash of a small one."""

    size: int
    sha256: str | None = None
    blob: str | None = None


class Snapshot:
    """The files of one commit, or of one folder of it, or one file and the config next to it, by where they are in the Hub's
    cache, or will be.
    """

    def __init__(
        self, reference: Reference, revision: str, root: Path, files: Mapping[str, Known], *, streamed: bool = False
    ) -> None:
        """`streamed`: files of tensors that are not here are read as they come, and not kept."""
        self.reference, self.revision, self._streamed = reference.place, revision, streamed
        self._repo, self._root, self._files = reference.repo, root, files
        known = (name for name in files if name == reference.inner or PurePosixPath(name).suffix in (*TAKEN, *PICKLES))
        config = str(PurePosixPath(reference.inner).with_name(CONFIG)) if reference.inner in files else None
        begin = f"{reference.inner}/" if reference.inner else ""
        inside = (name for name in known if f"{name}/".startswith(begin) or name == config)
        self.sizes: Mapping[Path, int] = {root / name: files[name].size for name in inside}
        self._locks: dict[Path, threading.Lock] = {path: threading.Lock() for path in self.sizes}

    def name(self, path: Path) -> str:
        """A file's name in the repository."""
        return path.relative_to(self._root).as_posix()

    def comes(self, path: Path) -> bool:
        return not (self._streamed and path.suffix == TENSORS)

    def open(self, path: Path) -> SafetensorsFile:
        known = self._files[self.name(path)]
        origin = (int(known.sha256 or known.blob or "0", 16), known.size)
        algorithms = (BLAKE3, SHA256) if known.sha256 else (BLAKE3,)
        part = partial(self.read, path)
        if not (self.comes(path) or path.exists()):
            content: Content = Streamed(
                path, self._what(path), known.size, origin, part, partial(self._pieces, path), algorithms
            )
        else:
            content = Fetched(path, known.size, origin, part, partial(self.fetch, path), algorithms)
        return SafetensorsFile(path, content=content)

    def _what(self, path: Path) -> str:
        return f"{self._repo}@{self.revision[:SHOWN]}:{self.name(path)}"

    def _pieces(self, path: Path, begin: int) -> AbstractContextManager[Iterator[bytes]]:
        return _answer(
            self._repo, self.name(path), self.revision, (begin, self._files[self.name(path)].size), self._what(path)
        )

    def fetch(self, path: Path) -> None:
        with self._locks[path]:
            if path.exists():
                return
            known, what = self._files[self.name(path)], self._what(path)
            self.check_room(known.size)
            from huggingface_hub import hf_hub_download

            hub = api()
            ask(
                what,
                lambda: hf_hub_download(
                    self._repo,
                    self.name(path),
                    revision=self.revision,
                    endpoint=hub.endpoint,
                    library_name="adapterops",
                ),
            )
            if known.sha256 is None:
                self.verify(path)

    def read(self, path: Path, begin: int, count: int) -> bytes:
        """Some bytes of a file that is not here."""
        what, name = self._what(path), self.name(path)

        def asked() -> bytes:
            data = bytearray()
            with _answer(self._repo, name, self.revision, (begin, begin + count), what) as pieces:
                for piece in pieces:  # never more than asked for, whatever the answer
                    data += piece
                    if len(data) >= count:
                        break
            return bytes(data[:count])

        return ask(what, asked)

    def check_room(self, size: int) -> None:
        there = next(folder for folder in (self._root, *self._root.parents) if folder.exists())
        free = shutil.disk_usage(there).free
        if size and size + SPARE > free:
            hint = "free some space, or set HF_HOME to a folder on another disk"
            raise ResourceError(
                f"takes {size} bytes, {free} bytes are free in the Hub's cache", path=self.reference, hint=hint
            )

    def sha256(self, path: Path) -> str | None:
        return self._files[self.name(path)].sha256

    def check(self, path: Path, sha256: str) -> None:
        wanted = self.sha256(path)
        if wanted is not None and wanted != sha256:
            raise _changed(path, sha256, wanted)

    def verify(self, path: Path) -> None:
        """Raise InputError if a file that is here is not the one that the Hub has."""
        known = self._files[self.name(path)]
        if known.sha256 is not None:
            self.check(path, file_digests(path, SHA256)[SHA256])
        elif known.blob is None:
            hint = "leave --verify-inputs out, or HF_HUB_OFFLINE"
            raise NotFoundError(
                "cannot be compared with the Hub's: HF_HUB_OFFLINE is set", path=path, hint=hint, code="E-HUB-OFFLINE"
            )
        elif (found := blob_hash(read_all(path))) != known.blob:
            raise _changed(path, found, known.blob)


def _changed(path: Path, found: str, wanted: str) -> InputError:
    hint = f"remove it, so that it is downloaded again: {path.resolve()}"
    return InputError(f"is damaged: its hash is {found}, the Hub's is {wanted}", path=path, hint=hint, code="E-HASH")


def blob_hash(data: bytes) -> str:
    """Git's hash of a file.

    >>> blob_hash(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def locate(source: Reference | str, *, verify: bool = False, streamed: bool = False) -> Place:
    """What a reference stands for, pinned to the commit that its revision is now. Nothing but the listing is read.

    Args:
        verify: bring everything here and compare it with the hashes that the Hub states.
        streamed: read files of tensors as they come, and keep none of them.

    Raises:
        NotFoundError: it is not there, or the Hub does not say, and the cache does not know.
        InputError: with `verify`, a file is not what the Hub says.
    """
    reference = referred(source)
    root = _cache(reference.repo)
    reference = replace(reference, revision=_in_full(root, reference.revision))
    try:
        if offline():
            from huggingface_hub.errors import OfflineModeIsEnabled

            raise explained(OfflineModeIsEnabled(), str(reference))
        here = _cached(root, reference)
        has_tensors = here is not None and any(name.endswith(TENSORS) for name in here[1])
        waits = WAITS[:1] if has_tensors else WAITS  # for what is here nobody waits long
        revision, files = ask(str(reference), lambda: _listing(reference), waits)
        _note(root, reference, revision)
        if reference.revision != revision:
            say(f"{reference} is commit {revision[:SHOWN]}")
    except NotFoundError as error:
        found = _cached(root, reference) if error.code in UNANSWERED else None
        if found is None:
            raise
        revision, files = found
        say(
            f"{reference} is commit {revision[:SHOWN]}, as the cache has it; {'offline' if offline() else error.message}"
        )
    snapshot = Snapshot(reference, revision, root / "snapshots" / revision, files, streamed=streamed)
    if not snapshot.sizes:
        top = sorted({name.partition("/")[0] for name in files})
        raise NotFoundError(
            f"has no {reference.inner or 'files of a model'}; it has {', '.join(top[:8]) or 'nothing'}",
            path=reference.repo,
            hint=f"name a folder that it has, or leave {reference.inner} out"
            if reference.inner
            else "is it the right repository? a folder in it is OWNER/NAME:FOLDER",
            code="E-HUB-FILE",
        )
    place = Place(root / "snapshots" / revision / reference.inner, snapshot)
    if verify:
        for path in wanted(place):
            snapshot.verify(place.here(path))
    return place


def _listing(reference: Reference) -> tuple[str, dict[str, Known]]:
    """The commit and its files, of names that can be paths here."""
    info = api().model_info(reference.repo, revision=reference.revision, files_metadata=True, timeout=timeout())
    if not COMMIT.fullmatch(info.sha or ""):
        raise NotFoundError(
            f"the Hub answers with the commit {info.sha!r}, which is not one",
            path=str(reference),
            hint="is HF_ENDPOINT right?",
            code="E-HUB",
        )
    files = {}
    for each in info.siblings or ():
        if _safe(each.rfilename):
            sha256 = each.lfs["sha256"] if each.lfs else None
            files[each.rfilename] = Known((each.lfs["size"] if each.lfs else each.size) or 0, sha256, each.blob_id)
    return str(info.sha), files


def _safe(name: str) -> bool:
    parts = name.split("/")
    return (
        name.isprintable()
        and "\\" not in name
        and not any(part in ("", ".", "..") or part.startswith(".") for part in parts)
    )


def _cache(repo: str) -> Path:
    """The folder of a repository in the Hub's cache, whose layout is documented and shared by other programs."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser().resolve() / f"models--{repo.replace('/', '--')}"


def _in_full(root: Path, revision: str | None) -> str | None:
    """The commit that the beginning of one stands for, as messages show it, of those that the cache has seen: the Hub takes
    whole ones alone.
    """
    if not re.fullmatch(rf"[0-9a-f]{{{SHOWN}}}", revision or "") or (root / "refs" / str(revision)).exists():
        return revision
    noted = (path.read_text(errors="replace").strip() for path in (root / "refs").rglob("*") if path.is_file())
    seen = {*noted, *(path.name for path in (root / "snapshots").glob("*"))}
    found = [each for each in seen if each.startswith(str(revision)) and COMMIT.fullmatch(each)]
    return found[0] if len(found) == 1 else revision


def _note(root: Path, reference: Reference, revision: str) -> None:
    """Let the cache know what a branch or tag is, as the Hub's own client does, so that its name is known offline."""
    name = reference.revision or "main"
    if name != revision and re.fullmatch(r"[\w./-]+", name) and ".." not in name:
        try:
            (root / "refs" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "refs" / name).write_text(revision)
        except OSError:  # a cache that is read-only knows what it knows
            return


def _cached(root: Path, reference: Reference) -> tuple[str, dict[str, Known]] | None:
    """The commit and its files as the cache has them."""
    name = reference.revision or "main"
    if COMMIT.fullmatch(name):
        revision = name
    elif ".." not in name and (root / "refs" / name).is_file():
        revision = read_all(root / "refs" / name).decode(errors="replace").strip()
    else:
        return None
    snapshot = root / "snapshots" / revision
    found = [path for path in snapshot.rglob("*") if path.is_file()] if COMMIT.fullmatch(revision) else []
    files = {path.relative_to(snapshot).as_posix(): _kept(path) for path in found}
    return (revision, files) if any(_safe(each) for each in files) else None


def _kept(path: Path) -> Known:
    """What the Hub said of a file that is in the cache: the client names by it what its links lead to."""
    name, size = path.resolve().name, path.stat().st_size
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return Known(size, sha256=name)
    return Known(size, blob=name) if re.fullmatch(r"[0-9a-f]{40}", name) else Known(size)


@contextmanager
def _answer(repo: str, name: str, revision: str, span: tuple[int, int], what: str) -> Iterator[Iterator[bytes]]:
    """Bytes [begin, end) of a file, in one request, as they come."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    begin, end = span
    headers = build_hf_headers(library_name="adapterops") | {
        "Range": f"bytes={begin}-{end - 1}",
        "Accept-Encoding": "identity",
    }
    url = hf_hub_url(repo, name, revision=revision, endpoint=api().endpoint)
    with get_session().stream("GET", url, headers=headers, timeout=timeout()) as answer:
        if answer.status_code >= 400:
            answer.read()
        hf_raise_for_status(answer)
        if answer.status_code != 206:
            raise NotFoundError(
                "the Hub sends whole files where a part is asked for",
                path=what,
                hint="download it: adapterops pull",
                code="E-HUB-RANGE",
            )
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            raise NotFoundError(
                "the Hub sends another part than was asked for", path=what, hint="run it again", code="E-HUB-RANGE"
            )
        yield answer.iter_raw()


def wanted(place: Place) -> list[Path]:
    """The files of a place that `pull` takes: those in the folder itself, and no pickles."""
    if place.remote is None or not place.folder:
        return [place.path]
    return [path for path in place.entries() if path in place.remote.sizes and path.suffix in TAKEN]
