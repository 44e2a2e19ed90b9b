"""What single experts take in, against transformers' own loop over them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import GptOssConfig, MixtralConfig
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from transformers.models.mixtral.modeling_mixtral import MixtralExperts

from adapterops.live.experts import experts_of, taken_in, widths

SIZES = {"hidden_size": 8, "intermediate_size": 12, "num_local_experts": 3, "experts_implementation": "eager"}


def made(kind: type, config: type) -> Any:
    torch.manual_seed(0)
    module = kind(config(**SIZES))
    with torch.no_grad():
        for each in module.parameters():
            each.normal_()
    return module


@pytest.mark.parametrize(("kind", "config"), [(MixtralExperts, MixtralConfig), (GptOssExperts, GptOssConfig)])
def test_the_second_projection_of_what_is_taken_in_is_what_the_module_computes(kind: type, config: type) -> None:
    module = made(kind, config)
    network = torch.nn.ModuleDict({"layer": torch.nn.ModuleDict({"experts": module})})
    assert experts_of(network) == {"layer.experts": module}
    assert widths("e", module) == {
        f"e.{n}.{name}": size for n in range(3) for name, size in (("gate_up_proj", 8), ("down_proj", 12))
    }
    tokens, numbers = torch.randn(10, 8), torch.tensor([[0, 2]] * 5 + [[2, 1]] * 3 + [[0, 1]] * 2)
    weights = torch.ones(10, 2)
    with torch.no_grad():
        found = {
            each.projection: each.rows
            for each in taken_in("e", module, (tokens, numbers, weights), torch.ones(2, 5).bool())
        }
        expected, total = module(tokens, numbers, weights), torch.zeros(10, 8)
        for number in range(3):
            rows = (numbers == number).any(dim=1)
            assert torch.equal(found[f"e.{number}.gate_up_proj"], tokens[rows])
            W = module.down_proj[number]
            out = functional.linear(found[f"e.{number}.down_proj"], W.T if module.is_transposed else W)
            total[rows] += out + (module.down_proj_bias[number] if module.has_bias else 0)
    torch.testing.assert_close(total, expected)


def test_padding_and_experts_that_no_token_reaches_take_in_nothing() -> None:
    module = made(MixtralExperts, MixtralConfig)
    tokens, numbers = torch.randn(4, 8), torch.tensor([[0], [0], [2], [1]])
    with torch.no_grad():
        found = {
            e.projection: len(e.rows) for e in taken_in("e", module, (tokens, numbers), torch.tensor([1, 0, 1, 0]) > 0)
        }
    assert found == {
        f"e.{n}.{name}": count for n, count in ((0, 1), (1, 0), (2, 1)) for name in ("gate_up_proj", "down_proj")
    }
