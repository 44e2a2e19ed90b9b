"""`fuse BASE A --dry-run`, as on a disk with room for the result: `own_plan.py BASE A`. Fails where torch was imported."""

from __future__ import annotations

import shutil
import sys
from collections import namedtuple

from adapterops.cli.main import run

Usage = namedtuple("Usage", "total used free")
shutil.disk_usage = lambda path: Usage(1 << 50, 0, 1 << 50)
code = run(["fuse", *sys.argv[1:], "--dry-run", "-o", f"{sys.argv[1]}-fused"])
assert "torch" not in sys.modules
sys.exit(code)
