"""The smallest folder that PEFT could have saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}


def adapter(folder: Path, fields: dict[str, Any], **others: np.ndarray) -> Path:
    tensors = {"q.lora_A.weight": np.ones((2, 4), np.float32), "q.lora_B.weight": np.ones((6, 2), np.float32), **others}
    save_file(
        {f"base_model.model.{name}": each for name, each in tensors.items()}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | fields))
    return folder
