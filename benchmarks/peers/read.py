"""Every byte of checkpoints, read once with safetensors: `read.py FOLDER ...`."""

import sys
from pathlib import Path

import torch
from safetensors import safe_open

total = 0
for folder in sys.argv[1:]:
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  # safe_open is no mapping
                total += file.get_tensor(name).clone().numel()
print(f"{total} entries, torch {torch.__version__}")
