"""A folder, mounted again as a disk on a network might be: `slow_disk.py FOLDER PLACE MB_PER_SECOND MILLISECONDS`.

Every read waits so many milliseconds, and all of them together get so many bytes a second. It is read only, and there
until this process gets SIGTERM. A file system in user space (FUSE), spoken to by /dev/fuse itself; whoever mounts it has
to be root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, FORGETS = (
    *(1, 2, 3, 14, 15, 17, 18, 25, 26, 27, 28, 29),
    42,
)
ASKED, ANSWERED = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
READ_ONLY, THREADS, LARGEST, VALID = 1, 8, 1 << 20, 3600
FLAGS = 1 | 1 << 22
"""Reads in any order, of as many pages as `READY` says."""

READY = struct.Struct("<IIIIHHIIHHI28x")


class Disk:
    def __init__(self, folder: Path, speed: float, delay: float) -> None:
        self.speed, self.delay = speed, delay
        self.paths, self.numbers, self.files = {1: folder}, {folder: 1}, dict[int, int]()
        self.lock, self.free_at = threading.Lock(), 0.0

    def answer(self, kind: int, node: int, data: bytes) -> bytes | None:
        """What the kernel is told; None where it waits for nothing."""
        if kind in (FORGET, FORGETS):
            return None
        if kind == INIT:
            major, minor, ahead, _ = struct.unpack_from("<IIII", data)
            return READY.pack(major, min(minor, 31), ahead, FLAGS, 64, 48, 1 << 17, 1, LARGEST >> 12, 0, 0)
        if kind == LOOKUP:
            path = self.paths[node] / os.fsdecode(data.rstrip(b"\0"))
            status = os.stat(path)
            with self.lock:
                number = self.numbers.setdefault(path, len(self.numbers) + 1)
                self.paths[number] = path
            return struct.pack("<QQQQII", number, 0, VALID, VALID, 0, 0) + attributes(number, status)
        if kind == GETATTR:
            return struct.pack("<QII", VALID, 0, 0) + attributes(node, os.stat(self.paths[node]))
        if kind in (OPEN, OPENDIR):
            return struct.pack("<QII", os.open(self.paths[node], os.O_RDONLY), 0, 0)
        if kind == READ:
            file, position, size = struct.unpack_from("<QQI", data)
            found = os.pread(file, size, position)
            self.wait(len(found))
            return found
        if kind == READDIR:
            _, position, size = struct.unpack_from("<QQI", data)
            return listed(sorted(os.listdir(self.paths[node])), position, size)
        if kind == STATFS:
            return struct.pack("<QQQQQIIII24x", 1, 0, 0, 1, 0, 4096, 255, 4096, 0)
        if kind in (RELEASE, RELEASEDIR):
            os.close(struct.unpack_from("<Q", data)[0])
        elif kind != FLUSH:
            raise OSError(errno.ENOSYS, "not needed")
        return b""

    def wait(self, size: int) -> None:
        """As long as a disk of this speed takes, which serves one after the other."""
        with self.lock:
            now = time.perf_counter()
            self.free_at = max(now, self.free_at) + size / self.speed
            until = self.free_at + self.delay
        time.sleep(max(0.0, until - now))

    def serve(self, device: int) -> None:
        while True:
            try:
                request = os.read(device, LARGEST + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return  # it is no longer mounted
            _, kind, unique, node, *_ = ASKED.unpack_from(request)
            try:
                answer, failed = self.answer(kind, node, request[ASKED.size :]), 0
            except OSError as error:
                answer, failed = b"", -(error.errno or errno.EIO)
            if answer is not None:
                os.write(device, ANSWERED.pack(ANSWERED.size + len(answer), failed, unique) + answer)


def attributes(number: int, status: os.stat_result) -> bytes:
    times = (int(each) for each in (status.st_atime, status.st_mtime, status.st_ctime))
    parts = (each % 10**9 for each in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns))
    owner = status.st_mode, 1, status.st_uid, status.st_gid, 0, 4096, 0
    return struct.pack("<6Q10I", number, status.st_size, status.st_blocks, *times, *parts, *owner)


def listed(names: list[str], position: int, size: int) -> bytes:
    found = b""
    for place, name in enumerate(names[position:], position + 1):
        text = os.fsencode(name)
        entry = struct.pack("<QQII", place, place, len(text), 0) + text
        entry += bytes(-len(entry) % 8)
        if len(found) + len(entry) > size:
            break
        found += entry
    return found


def main() -> None:
    folder, place = map(Path, sys.argv[1:3])
    speed, delay = float(sys.argv[3]) * 1e6, float(sys.argv[4]) / 1e3
    device, libc = os.open("/dev/fuse", os.O_RDWR), ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if libc.mount(b"slow", os.fsencode(place), b"fuse", READ_ONLY, options.encode()):
        raise SystemExit(f"cannot mount {place}: {os.strerror(ctypes.get_errno())}")
    signal.signal(signal.SIGTERM, lambda *_: subprocess.run(["umount", "-l", place], check=False))
    disk = Disk(folder, speed, delay)
    threads = [threading.Thread(target=disk.serve, args=(device,)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)


if __name__ == "__main__":
    main()
