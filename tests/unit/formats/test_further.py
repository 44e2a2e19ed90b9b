"""Files in an adapter's folder that may hold trained weights."""

import re

import pytest
import torch
from corpus import write_adapter
from safetensors.torch import save_file

from adapterops.adapters.opening import open_adapter
from adapterops.adapters.saving import save_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.errors import InputError
from adapterops.formats.further import further_weights
from adapterops.hub.package import files
from adapterops.operations.comparing.analysis import inspect
from adapterops.storage.place import Place

TRAINED = (
    "non_lora_trainables.bin", "new_embeddings.safetensors", "vit.safetensors", "value_head.pt", "a.pth",
    "projector.ckpt", "head.npz", "reward.pkl", "scaler_network.safetensors", "optimizer_free_head.bin", "2_Dense/model.safetensors",
    "value_head/model.safetensors", "heads/score/head.bin", "vision_tower/pytorch_model.bin", "checkpoints_of_head/a.pt",
)  # fmt: skip
OTHERS = (
    "optimizer.bin", "optimizer_0.pt", "random_states_0.pkl", "scaler.pt", "optimizer_states.pt", "1_Pooling/config.json",
    "checkpoint-5/model.safetensors", "global_step500/mp_rank_00_model_states.pt", "epoch_3/model.safetensors",
    "checkpoint-5/adapter_model.safetensors", ".cache/a.safetensors", "runs/events.out", "default/adapter_model.safetensors",
    "0000100_adapters.safetensors",
    "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "adapter_model.bin", "README.md",
)  # fmt: skip


@pytest.mark.parametrize("inner", ["", "default"])
@pytest.mark.parametrize("name", TRAINED)
def test_weights_in_a_file_of_their_own_stop_the_work_and_are_shown(tmp_path, name, inner):
    adapter = write_adapter(tmp_path / "adapter" / inner)
    (adapter / name).parent.mkdir(parents=True, exist_ok=True)
    (adapter / name).write_bytes(b"of any content")
    assert inspect(tmp_path / "adapter").further == (name,)
    with pytest.raises(InputError, match=name) as error:
        open_adapter(tmp_path / "adapter")
    assert error.value.code == "E-FURTHER"
    weights = adapter / "adapter_model.safetensors"
    assert str(weights) in error.value.hint
    assert open_adapter(weights)


@pytest.mark.parametrize("name", OTHERS)
def test_files_without_weights_are_no_matter(tmp_path, name):
    adapter = write_adapter(tmp_path / "adapter")
    (adapter / name).parent.mkdir(parents=True, exist_ok=True)
    (adapter / name).write_bytes(b"of any content")
    assert not further_weights(Place.of(adapter), adapter / "adapter_model.safetensors")
    assert open_adapter(adapter)


@pytest.mark.parametrize("by", ["adapter_config.json", "generation_config.json", "tokenizer_config.json"])
def test_other_adapters_and_whole_models_in_the_folder_are_no_matter(tmp_path, by):
    """What axolotl calls `merged` is the same weights once more."""
    adapter = write_adapter(tmp_path / "adapter")
    (adapter / "merged").mkdir()
    for name in ("config.json", "model.safetensors", by):
        (adapter / "merged" / name).write_bytes(b"of any content")
    assert open_adapter(adapter)


def test_what_is_next_to_an_image_adapter_stops_the_work_too(tmp_path):
    """The embeddings of new words, as scripts of diffusers save them."""
    factors = {f"unet.mid_block.attn.to_q.lora_{each}.weight": torch.ones(2, 2) for each in "AB"}
    save_file(factors, tmp_path / "pytorch_lora_weights.safetensors")
    assert open_adapter(tmp_path)
    (tmp_path / "words_emb.safetensors").write_bytes(b"of any content")
    with pytest.raises(InputError, match="words_emb") as error:
        open_adapter(tmp_path)
    assert open_adapter(error.value.hint.split()[1])


def test_they_stop_a_push_too(tmp_path):
    """What is sent would lack them."""
    adapter = write_adapter(tmp_path / "adapter")
    assert files(adapter)
    (adapter / "value_head.safetensors").write_bytes(b"of any content")
    with pytest.raises(InputError, match=r"would not be sent: value_head\.safetensors"):
        files(adapter)


def test_they_stop_the_work_in_the_folder_of_mlx_too(tmp_path):
    save_adapter(open_adapter(write_adapter(tmp_path / "adapter")), tmp_path / "mlx", format="mlx")
    (tmp_path / "mlx/0000100_adapters.safetensors").write_bytes(b"of an earlier step")
    assert open_adapter(tmp_path / "mlx")
    (tmp_path / "mlx/head.safetensors").write_bytes(b"of any content")
    assert inspect(tmp_path / "mlx").further == ("head.safetensors",)
    with pytest.raises(InputError, match="head"):
        open_adapter(tmp_path / "mlx")
    assert open_adapter(tmp_path / "mlx/adapters.safetensors")


@pytest.mark.parametrize("named", ["", "adapter_model-00002-of-00002.safetensors"])
def test_an_adapter_in_several_files_is_no_adapter_in_one(tmp_path, named):
    """Whether its folder is named or one of its files: half of the modules would be left out."""
    folder = write_adapter(tmp_path / "adapter")
    whole = folder / "adapter_model.safetensors"
    for part in (1, 2):
        (folder / f"adapter_model-0000{part}-of-00002.safetensors").write_bytes(whole.read_bytes())
    whole.unlink()
    with pytest.raises(InputError, match=r"in 2 files, such as|is file 2 of 2") as error:
        open_adapter(folder / named if named else folder)
    assert error.value.code == "E-FOLDER"
    assert "put the tensors of all 2 into adapter_model.safetensors" in str(error.value.hint)


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("pytorch_model_fsdp_0/__0_0.distcp", "accelerate merge-weights"),
        ("global_step9/mp_rank_00_model_states.pt", "zero_to_fp32"),
        ("actor/model_world_size_8_rank_0.pt", r"verl\.model_merger"),
    ],
)
def test_parts_of_a_training_are_told_what_puts_them_together(tmp_path, name, tool):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"of any content")
    for opened in (open_adapter, open_checkpoint):
        with pytest.raises(InputError) as error:
            opened(path.parent)
        assert re.search(tool, error.value.hint)
