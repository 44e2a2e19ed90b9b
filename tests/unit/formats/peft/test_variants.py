from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.errors import AdapterOpsError
from adapterops.formats.peft.variants import plain, variant
from adapterops.updates.kinds import KINDS

LORA, DORA = KINDS["LoRA"], KINDS["DoRA"]
BLOCKS = {"target_modules_bd_a": ["down"], "target_modules_bd_b": ["q_"], "nblocks": 2}


def test_what_started_on_a_changed_base() -> None:
    assert variant({"init_lora_weights": "pissa"})("q_proj", LORA).name == "PiSSA"
    assert variant({"init_lora_weights": True})("q_proj", LORA) is LORA
    assert variant(None)("q_proj", LORA) is plain("q_proj", LORA) is LORA
    assert variant({"init_lora_weights": "olora"})("q_proj", DORA) is DORA
    assert variant({"init_lora_weights": "OLoRA"})("q_proj", LORA).name == "OLoRA"  # as PEFT compares it


def test_blocks_are_placed_on_the_diagonal() -> None:
    of = variant({"use_bdlora": BLOCKS})
    assert of("layers.down.o_proj", LORA) is LORA  # PEFT compares the last part of the name
    random = np.random.default_rng(0)
    A, B = random.standard_normal((4, 3)), random.standard_normal((5, 4))
    kind = of("layers.0.down_proj", LORA)
    assert kind.measure({"lora_A": (4, 3), "lora_B": (5, 4)})[:2] == ((5, 6), 4)
    update: Any = kind.build({"lora_A": A, "lora_B": B}, 2.0)
    np.testing.assert_allclose(update.dense(), 2 * np.hstack([B[:, :2] @ A[:2], B[:, 2:] @ A[2:]]))


def test_pooled_inputs() -> None:
    of = variant({"use_qalora": True, "qalora_group_size": 3})
    assert of("q_proj", LORA).name == "QA-LoRA"
    assert of("q_proj", DORA) is DORA


@pytest.mark.parametrize(
    "fields",
    [
        {"use_qalora": True},
        {"use_qalora": True, "qalora_group_size": 4, "lora_bias": True},
        {"use_qalora": True, "qalora_group_size": 4, "use_bdlora": BLOCKS},
        {"use_qalora": True, "qalora_group_size": 4, "init_lora_weights": "pissa"},
        {"use_bdlora": {"nblocks": 0}},
        {"use_bdlora": {"nblocks": 2, "target_modules_bd_a": "q_proj"}},
        {"use_bdlora": True},
        {"init_lora_weights": "pissa", "use_dora": True},
    ],
)
def test_what_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(AdapterOpsError):
        variant(fields)


def test_two_that_are_set_are_both_named() -> None:
    with pytest.raises(AdapterOpsError, match="init_lora_weights is 'pissa', and use_dora is set"):
        variant({"init_lora_weights": "pissa", "use_dora": True})


def test_both_factors_in_blocks() -> None:
    of = variant({"use_bdlora": {**BLOCKS, "target_modules_bd_b": ["down"]}})
    with pytest.raises(AdapterOpsError, match="both of its factors"):
        of("down_proj", LORA)
