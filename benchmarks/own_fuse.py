"""Fusing without start-up: `own_fuse.py BASE ADAPTER OUT [--sync]`. Prints the seconds from opening to the last byte.

As in a session that has torch: it converts 16-bit numbers, which numpy does in the command.
"""

import gc
import sys
import time

import torch  # noqa: F401  # loaded before the clock starts, as in a session that has it

import adapterops as ao
from adapterops.updates import application, factors  # noqa: F401  # imported when first used

base, adapter, out = sys.argv[1:4]
ao.save_checkpoint, ao.fuse, ao.open_checkpoint, ao.open_adapter  # noqa: B018  # imports what is needed of adapterops
gc.set_threshold(1_000_000)  # as the command does
sys.setswitchinterval(0.0005)
begin = time.perf_counter()
ao.save_checkpoint(ao.fuse(ao.open_checkpoint(base), ao.open_adapter(adapter)), out, sync="--sync" in sys.argv)
print(time.perf_counter() - begin)
