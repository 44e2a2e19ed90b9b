"""PEFT's merge_and_unload and save_pretrained: `peft_fuse.py BASE ADAPTER OUT [--sync]`."""

import os
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

warnings.simplefilter("ignore")
base, adapter, out = sys.argv[1:4]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), adapter)
model.merge_and_unload().save_pretrained(out, max_shard_size="280MB")
if "--sync" in sys.argv:
    for path in Path(out).iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
