"""Truncation alone, without start, files and hashes: `own_truncate.py ADAPTER`. Prints the seconds of all modules."""

import sys
import time

import adapterops as ao
from adapterops.engine.local import run
from adapterops.engine.process import tune
from adapterops.linalg.factor import truncate

tune()  # as the command does
adapter = ao.open_adapter(sys.argv[1])
updates = [adapter.updates[module] for module in adapter.layout]
list(run(lambda update: truncate(update, 8), updates[:7]))
begin = time.perf_counter()
list(run(lambda update: truncate(update, 8), updates))
print(time.perf_counter() - begin)
