"""Fusing without start-up: `own_fuse.py BASE ADAPTER OUT [--sync]`. Prints the seconds from opening to the last byte."""

import sys
import time

import torch  # noqa: F401  # what start-up mostly is

import adapterops as ao

base, adapter, out = sys.argv[1:4]
sys.setswitchinterval(0.0005)  # as the command does
begin = time.perf_counter()
ao.save_checkpoint(ao.fuse(ao.open_checkpoint(base), ao.open_adapter(adapter)), out, sync="--sync" in sys.argv)
print(time.perf_counter() - begin)
