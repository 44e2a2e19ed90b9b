"""TIES on entries alone, without start, files and hashes: `own_ties.py ADAPTER ADAPTER`. Prints the processor's seconds for each million
entries of the result, trim included, in one thread: of the modules of the first layer.
"""

import os
import sys
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy

import numpy as np

import adapterops as ao

merged = ao.merge([ao.open_adapter(path) for path in sys.argv[1:3]], "ties", scale="sum")
modules = [module for module in merged.layout if ".layers.0." in module]


def entries(module: str) -> int:
    """All of a module, some rows at a time."""
    update, (height, width) = merged.updates[module], merged.layout[module].shape
    out = np.empty((256, width), np.float32)
    for first in range(0, height, 256):
        last = min(first + 256, height)
        update.rows((slice(first, last), slice(0, width)), out[: last - first])
    return height * width


entries(modules[-1])  # once, to begin with
begin = time.process_time()
total = sum(map(entries, modules))
print((time.process_time() - begin) / total * 1e6)
