"""Seconds of `fuse BASE A -o OUT` by processes of Ray, or by threads, without Python's start, Ray's, and that of its
processes; what these import of ours, open and hand over counts:
`own_ray.py ray|threads WORKERS BASE A OUT`.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

from adapterops.engine import ray
from adapterops.engine.execution import Execution
from adapterops.expressions.expression import parse
from adapterops.requests.fields import Input, Model
from adapterops.requests.parts import spread
from adapterops.requests.request import Request
from adapterops.requests.running import make, save

engine, workers, base, adapter, out = sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:])
request = Request({"a": Input(str(adapter))}, parse("a", ["a"]), base=Model(str(base)))
how, starting = Execution(workers=workers, sync=False), 0.0


def started(connect, *arguments):
    """Ray's start, which is not counted: it is over when all its processes are at work at once."""
    global starting
    begin = time.perf_counter()
    found = connect(*arguments)
    wait = found.remote(num_cpus=1)(lambda: time.sleep(1))
    found.get([wait.remote() for _ in range(workers)])
    starting += time.perf_counter() - begin
    return found


ray._connect = partial(started, ray._connect)
begin = time.perf_counter()
made = make(request, out, how=how)
if engine == "ray":
    spread(made, out, ray.run, how=how)
else:
    save(made, out, how=how)
print(starting, time.perf_counter() - begin - starting)
