"""Fusing without start-up, and `cp -r` of the base: `fuse_beside_copy.py BASE ADAPTER OUT TIMES [--sync]`.

Prints the seconds of each, in turn, as JSON. All run in one process that has started up, after a pair that does not
count, and each right after the output before it was deleted: pages that a virtual machine has given back to its host,
as it does after a while, take longer to get again than to write to.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import adapterops as ao
from adapterops.engine.execution import Execution
from adapterops.engine.process import tune

base, adapter, out, times = sys.argv[1:5]
sync = "--sync" in sys.argv
tune()  # as the command does


def fuse() -> None:
    ao.save_checkpoint(ao.fuse(ao.open_checkpoint(base), ao.open_adapter(adapter)), out, how=Execution(sync=sync))


def copy() -> None:
    subprocess.run(["cp", "-r", base, out], check=True)
    if sync:
        subprocess.run(["sync", "-f", out], check=True)


def seconds(work: Callable[[], None]) -> float:
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


pairs = [(seconds(fuse), seconds(copy)) for _ in range(1 + int(times))]
print(json.dumps({"ours": [ours for ours, _ in pairs[1:]], "peer": [peer for _, peer in pairs[1:]]}))
