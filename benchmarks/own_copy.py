"""Ways to copy a file whose bytes have to be hashed: `own_copy.py FOLDER WAY`. Prints the seconds of the best of five.

`memory`: read, hashed and written, a piece at a time, as `fuse` copies tensors. `kernel`: hashed, and copied by
`copy_file_range`. `buffered` and `direct`: read and hashed alone, from the disk, through the system's cache or past it.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from pathlib import Path

from adapterops.storage.checksums import new

SIZE, PIECE = 1 << 29, 1 << 20
folder, way = Path(sys.argv[1]), sys.argv[2]
source, target = folder / "source", folder / "target"
buffer = memoryview(mmap.mmap(-1, PIECE))  # begins at a page, as direct reads need it


def hashed(read: int, write: int | None = None) -> None:
    digest, position = new("blake3"), 0
    while count := os.preadv(read, [buffer], position):
        digest.update(buffer[:count])
        if write is not None:
            os.pwrite(write, buffer[:count], position)
        position += count


def copied(read: int, write: int) -> None:
    hashed(read)
    position = 0
    while position < SIZE:
        position += os.copy_file_range(read, write, SIZE - position, position, position)


def once() -> float:
    read = os.open(source, os.O_RDONLY | (os.O_DIRECT if way == "direct" else 0))
    if way in ("memory", "kernel"):
        write = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.posix_fallocate(write, 0, SIZE)
    else:
        os.posix_fadvise(read, 0, 0, os.POSIX_FADV_DONTNEED)
    begin = time.perf_counter()
    if way == "memory":
        hashed(read, write)
    elif way == "kernel":
        copied(read, write)
    else:
        hashed(read)
    seconds = time.perf_counter() - begin
    os.close(read)
    if target.exists():
        os.close(write)
        target.unlink()
    return seconds


with open(source, "wb") as file:
    for _ in range(SIZE // PIECE):
        file.write(os.urandom(PIECE))
    os.fsync(file.fileno())
try:
    print(min(once() for _ in range(5)))
finally:
    source.unlink()
