import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.spans import rows_of
from adapterops.storage.tensors import Stored

WHOLE = torch.arange(3 * 4 * 5, dtype=torch.float32).reshape(3, 4, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("begin", "shape"), [(0, (4, 5)), (4, (2, 5)), (10, (2, 5)), (4, (2, 4, 5))])
def test_rows_are_a_tensor_of_their_own(tmp_path, dtype, begin, shape):
    path, expected = tmp_path / "a.safetensors", WHOLE.to(dtype).reshape(-1, 5)[begin:][: int(np.prod(shape[:-1]))]
    save_file({"before": torch.ones(3), "whole": WHOLE.to(dtype), "part": expected.reshape(shape).clone()}, path)
    file = SafetensorsFile(path)
    part, same = rows_of(Stored(file, "whole"), begin, shape), Stored(file, "part")
    assert part.spec == same.spec
    assert torch.equal(part.tensor(), expected.reshape(shape))
    assert torch.equal(part.tensor((1, 2)), expected[1:2])
    assert part.same_bytes(same)
    assert bytes(part.file.read("whole", 8, 16)) == bytes(file.read("part", 8, 16))
    assert np.array_equal(part.array(), same.array())
