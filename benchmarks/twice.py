"""A command in two processes at once: `twice.py COMMAND ...`, in which `-o OUT` becomes OUT/1 and OUT/2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

command = sys.argv[1:]
place = command.index("-o") + 1
out = Path(command[place])
out.mkdir()
both = [subprocess.Popen([*command[:place], str(out / each), *command[place + 1 :]]) for each in "12"]
sys.exit(max(process.wait() for process in both))
