"""What was trained with another scale than every loader takes: the header says so."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import adapterops as ao
from adapterops.errors import AdapterWarning


def test_split_qkv_is_told(tmp_path: Path) -> None:
    module = "lora_unet_double_blocks_0_img_attn_qkv"
    save_file(
        {
            f"{module}.lora_down.weight": torch.ones(12, 6),
            f"{module}.lora_up.weight": torch.ones(18, 12),
            f"{module}.alpha": torch.tensor(4.0),
        },
        tmp_path / "a.safetensors",
        {"ss_network_args": json.dumps({"split_qkv": "True"})},
    )
    with pytest.warns(AdapterWarning, match="split_qkv.*1/3 of the one it was trained with"):
        assert ao.open_adapter(tmp_path / "a.safetensors").scalings[module].scale == pytest.approx(1 / 3)


@pytest.mark.parametrize("whole", [True, False])
def test_rs_lora_of_lokr_is_told_where_no_file_has_it(tmp_path: Path, whole: bool) -> None:
    """LyCORIS has the square root of the dimension in its alpha, which of two whole matrices nothing reads, LyCORIS included."""
    lokr = pytest.importorskip("lycoris.modules.lokr")
    torch.manual_seed(0)
    layer = torch.nn.Linear(32, 32, bias=False)
    before = layer.weight.detach().clone()
    name, dim = "lora_unet_blocks_0_attn_q", 2
    module = lokr.LokrModule(name, layer, 1, dim, 1, factor=4, rs_lora=True, full_matrix=whole)
    for each in module.parameters():
        torch.nn.init.normal_(each)
    module.apply_to()
    module.eval()
    trained = layer(torch.eye(32)).detach().T - before
    tensors = {f"{name}.{key}": each.contiguous() for key, each in module.state_dict().items() if "lokr" in key}
    tensors |= {f"{name}.alpha": module.alpha}
    header = {"ss_network_args": json.dumps({"algo": "lokr", "rs_lora": "True"}), "ss_network_dim": str(dim)}
    save_file(tensors, tmp_path / "a.safetensors", header)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        (update,) = ao.open_adapter(tmp_path / "a.safetensors").updates.values()
    ratio = trained.norm() / torch.tensor(update.dense()).norm()
    assert any("square root of the dimension, 1.41421," in str(each.message) for each in said) == whole
    assert float(ratio) == pytest.approx(dim**0.5 if whole else 1)
