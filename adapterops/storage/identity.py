"""What an open file is known by: its size, whether it is still the one that was opened, and its hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adapterops.errors import at
from adapterops.storage.checksums import BLAKE3, FileHash
from adapterops.storage.content import Content
from adapterops.storage.strict import reading


class Identity:
    """Of one file as a whole.

    Args:
        head: bytes at its beginning that are not read again with its tensors.
    """

    def __init__(self, path: Path, content: Content, head: int) -> None:
        self.path, self._content, self._head = path, content, head
        self._hashing: dict[str, FileHash] = {}
        self._digests: dict[str, str] = {}

    @property
    def size(self) -> int:
        return self._content.size

    @property
    def origin(self) -> tuple[int, ...]:
        """What tells whether it was written to or replaced; see `Content`."""
        return self._content.origin

    def check_unchanged(self) -> None:
        """Raise InputError if the file is no longer the one that was opened."""
        self._content.check_unchanged()

    def hash_as_read(self, *algorithms: str) -> None:
        """From now on, take in what is read of the file: these hashes, or those that identify it, will be asked for."""
        for algorithm in algorithms or self._content.algorithms:
            if algorithm not in self._hashing:
                hashed, head = FileHash(self._content.read_into, algorithm), memoryview(bytearray(self._head))
                with at(path=self.path), reading():
                    hashed.saw(0, head[: self._content.read_into(head, 0, single=True)])
                self._hashing = {**self._hashing, algorithm: hashed}  # again: other threads may go through the old one

    def saw(self, begin: int, data: memoryview) -> None:
        """What was read of the file, from `begin` on."""
        for hashed in self._hashing.values():
            hashed.saw(begin, data)

    def digest(self, algorithm: str = BLAKE3) -> str:
        """The hash of the whole file, every byte of which is read once: with its tensors, or now.

        Raises:
            InputError: the file changed since it was opened, or cannot be read.
        """
        if algorithm not in self._digests:
            self.hash_as_read(algorithm)
            with at(path=self.path), reading():
                found = self._hashing[algorithm].hexdigest()
            self.check_unchanged()
            self._digests[algorithm] = found
        return self._digests[algorithm]

    def hashes(self) -> dict[str, str]:
        """What identifies the file, by algorithm."""
        return {algorithm: self.digest(algorithm) for algorithm in self._content.algorithms}

    def note(self, hashes: Mapping[str, str]) -> None:
        """Take these hashes for its own: another process took them, of the same file."""
        self._digests |= hashes
