"""`fuse hf://me/base A --push me/merged` with the Hub of the tests, in a folder of its own: `own_wire.py BASE A WORK`.

Prints as JSON the bytes of files of tensors that were sent, read and changed, the most that was on the disk, the largest
file, the seconds of the command, and how many commits were made. The Hub is in this process, the command in another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from hub_server import SECRET, running

BASE, A, WORK = (Path(each).resolve() for each in sys.argv[1:4])
TARGET = "me/merged"


def held(folder: Path) -> int:
    """Bytes on the disk."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512
    return total


with running() as hub:
    hub.put("me/base", BASE)
    hub.sent, before = 0, set(hub.objects)
    WORK.mkdir()
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(WORK), "HF_TOKEN": SECRET}
    begin = time.perf_counter()
    command = [sys.executable, "-m", "adapterops", "fuse", "hf://me/base", str(A), "--push", TARGET]
    process = subprocess.Popen(command, cwd=WORK, env={**os.environ, **settings}, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        most = max(most, held(WORK))
        time.sleep(0.002)
    seconds = time.perf_counter() - begin
    assert process.returncode == 0
    merged = hub.repos[TARGET].at("main").files
    tensors = {name: file for name, file in merged.items() if name.endswith(".safetensors")}
    print(
        json.dumps(
            {
                "sent": sum(len(each.body) for each in hub.asked("PUT /lfs")),
                "read": hub.sent,
                "changed": sum(file.size for file in tensors.values() if file.sha256 not in before),
                "disk": most,
                "largest": max(file.size for file in tensors.values()),
                "seconds": seconds,
                "commits": len(hub.repos[TARGET].history()) - 1,
            }
        )
    )
