"""Files in an adapter's folder that may hold trained weights."""

import pytest
from corpus import write_adapter

from adapterops.adapters.opening import open_adapter
from adapterops.errors import InputError
from adapterops.formats.further import further_weights
from adapterops.operations.analysis import inspect
from adapterops.storage.place import Place

TRAINED = ("non_lora_trainables.bin", "new_embeddings.safetensors", "vit.safetensors", "value_head.pt", "a.pth")
OTHERS = ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "adapter_model.bin", "README.md")


@pytest.mark.parametrize("inner", ["", "default"])
@pytest.mark.parametrize("name", TRAINED)
def test_weights_in_a_file_of_their_own_stop_the_work_and_are_shown(tmp_path, name, inner):
    adapter = write_adapter(tmp_path / "adapter" / inner)
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
    (adapter / name).write_bytes(b"of any content")
    assert not further_weights(Place.of(adapter), adapter / "adapter_model.safetensors")
    assert open_adapter(adapter)
