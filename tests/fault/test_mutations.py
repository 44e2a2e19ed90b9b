"""Faults planted in what fuses: `verify` runs with the same fault, and finds it all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mutations import (
    WIDTH,
    Case,
    Plant,
    a_third_too_low,
    all_turned,
    as_sum,
    biased,
    by_W_alone,
    check,
    classifier,
    clipped,
    coded,
    coders,
    columns_swapped,
    cut,
    decoded,
    deepseek,
    dense,
    direction_alone,
    dora,
    embedding,
    exchanged,
    experts,
    experts_saved_whole,
    fewer,
    gpt2,
    halves,
    head,
    head_kept,
    hunyuan,
    item,
    loha,
    lokr,
    misnamed,
    more,
    moved,
    next_expert,
    nomic,
    not_rounded,
    not_turned,
    of_rows,
    one_further,
    one_too_low,
    ones,
    other_bias,
    other_codebook,
    other_way_round,
    packed,
    pairs,
    pi0,
    placed,
    planted,
    product,
    put,
    renamed,
    resized,
    reversed_experts,
    rows,
    settled,
    started,
    switched,
    table,
    thirds,
    turned,
    turned_experts,
    turned_square,
    ungated,
    value_before_key,
    whole,
    with_biases,
    without_an_expert,
    without_head,
    without_scale,
    wrapped,
)

import adapterops as ao

NORMS = ("input_layernorm", "post_attention_layernorm")
FAULTS: dict[str, tuple[Callable[[Path], Case], Plant]] = {
    "another module of its shape": (dense, renamed("v_proj", "k_proj")),
    "another layer": (dense, renamed("layers.0", "layers.1")),
    "a layer of the encoder": (coders, renamed("decoder", "encoder")),
    "a module left out": (dense, table(fewer)),
    "a tensor too many": (dense, table(more)),
    "a square weight turned": (dense, table(turned)),
    "twice the scale": (dense, product(lambda delta: 2 * delta)),
    "no scale": (dense, without_scale),
    "the other sign": (dense, product(lambda delta: -delta)),
    "rows in the other order": (dense, product(lambda delta: delta[::-1])),
    "columns one further on": (dense, product(lambda delta: np.roll(delta, 1, axis=1))),
    "the last column left out": (dense, product(lambda delta: delta * (np.arange(WIDTH) < WIDTH - 1))),
    "the first row left out": (dense, product(lambda delta: delta * (np.arange(len(delta)) > 0)[:, None])),
    "a thousandth too much": (dense, product(lambda delta: 1.01 * delta)),
    "rounded towards zero": (dense, cut("zero")),
    "rounded by way of float16": (gpt2, cut("F16")),
    "a head from another tensor": (head, wrapped("adapterops.formats.models.naming.Names.candidates", started)),
    "a head that the config does not tell of": (head, put("operations.fusion.untied", lambda config: config)),
    "a head that follows its embedding": (whole, put("operations.targets.table.kept_ends", lambda *_: {})),
    "a config of the old vocabulary": (resized, put("operations.fusion.with_vocabulary", lambda config, *_: config)),
    "one embedding that is said to be two": (resized, settled(untied=True)),
    "a bias with ones for new words": (biased, put("operations.fusion.with_words", ones)),
    "a bias one word further on": (biased, put("operations.fusion.with_words", one_further)),
    "a head that follows an adapted embedding": (embedding, put("operations.targets.table.kept_ends", lambda *_: {})),
    "rows one further on": (rows, put("operations.fusion.with_rows", moved)),
    "rows in each other's place": (rows, put("operations.fusion.with_rows", exchanged)),
    "rows left out": (rows, put("operations.fusion.with_rows", lambda before, *_: before)),
    "labels that the config does not tell of": (classifier, put("operations.targets.classifiers.as_classifier", lambda config, *_: config)),
    "a head that the class of the adapter alone has": (
        without_head,
        put("operations.targets.table.with_head", lambda config, *_: config),
    ),
    "the head of another task": (classifier, head_kept),
    "two weights of a renamed layer in each other's place": (hunyuan, misnamed("fc1", "fc2")),
    "two layers of a renamed tower in each other's place": (hunyuan, misnamed("layers.0.mlp", "layers.1.mlp")),
    "two norms of a renamed layer in each other's place": (hunyuan, misnamed("layer_norm1", "layer_norm2")),
    "one half of a low-rank query for the other": (deepseek, misnamed("q_a_proj", "q_b_proj")),
    "keys and values for the query": (deepseek, misnamed("kv_proj", "q_b_proj")),
    "gate for up where files number them": (deepseek, misnamed("gate_proj", "up_proj")),
    "down for up where files number them": (deepseek, misnamed("down_proj", "up_proj")),
    "one of two language models for the other": (pi0, misnamed("dit", "vlm.language_model")),
    "gate for up where files count from above": (nomic, misnamed("gate_proj", "up_proj")),
    "norms in each other's place": (whole, switched(*NORMS)),
    "a full tensor left out": (
        whole,
        table(lambda edits: {name: edit for name, edit in edits.items() if NORMS[0] not in name}),
    ),
    "a Conv1D for a Linear": (gpt2, put("operations.targets.fitting.conv1d", lambda *_: False)),
    "a square Conv1D not turned": (gpt2, put("updates.lowrank.LowRank.T", property(not_turned))),
    "an expert left out": (experts, placed(without_an_expert)),
    "value before key": (thirds, placed(value_before_key)),
    "a third in the rows of another": (thirds, placed(a_third_too_low)),
    "a bias of LoRA left out": (with_biases, table(lambda edits: {name: each for name, each in edits.items() if ".bias" not in name})),
    "the bias of one layer on another": (with_biases, wrapped("adapterops.formats.models.naming.Names.candidates", other_bias)),
    "w1 for w3": (experts, item("formats.models.naming.EXPERT_SYNONYMS", w1="up_proj", w3="gate_proj")),
    "gate and up in each other's place": (
        experts,
        item("formats.models.naming.FUSED", gate_proj=("gate_up_proj", 1, 2), up_proj=("gate_up_proj", 0, 2)),
    ),
    "gate for up of experts that were saved whole": (
        experts_saved_whole,
        item("operations.targets.whole_experts.SPLIT", gate_up_proj=("up_proj", "gate_proj")),
    ),
    "the next of experts that were saved whole": (experts_saved_whole, table(next_expert)),
    "an expert that was saved whole left out": (
        experts_saved_whole,
        table(lambda edits: {name: edit for name, edit in edits.items() if ".experts.1.down_proj" not in name}),
    ),
    "experts from the last on": (experts, reversed_experts),
    "experts without gates from the last on": (ungated, reversed_experts),
    "square experts without gates turned": (ungated, wrapped("adapterops.operations.targets.fitting._fit_expert", all_turned)),
    "rows of one tensor from the last weight on": (
        of_rows,
        wrapped("adapterops.formats.models.loading.Loading.parts", lambda found, *_: found[::-1]),
    ),
    "square experts turned": (experts, put("operations.targets.fitting._stored_transposed", turned_square)),
    "columns of gate for up": (turned_experts, table(columns_swapped)),
    "rows of a GGUF file in the order that they are stored in": (
        pairs,
        put("formats.models.gguf_models.field_of_heads", lambda *_: None),
    ),
    "DoRA without its magnitude": (dora, put("updates.magnitude.Magnitude.change", direction_alone)),
    "DoRA by the length of W alone": (dora, put("updates.magnitude.Magnitude.change", by_W_alone)),
    "LoHa as a sum": (loha, put("updates.hadamard.Hadamard.rows", as_sum)),
    "LoKr with its matrices the other way round": (lokr, put("updates.kronecker.Kronecker.rows", other_way_round)),
    "NF4 by another table": (coded("nf4", back=True), other_codebook),
    "NF4 with halves of bytes exchanged": (coded("nf4", back=True), wrapped("adapterops.quant.fourbit.FourBit.blocks", halves)),
    "NF4 not rounded to its dtype": (coded("nf4", back=True), put("checkpoints.checkpoint.Checkpoint.used", not_rounded)),
    "int8 by 128": (coded("int8", back=True), put("quant.int8.STEP", 1 / 128)),
    "int8 by way of bfloat16": (coded("int8", back=True), decoded("int8.Int8", lambda found: found.bfloat16().float())),
    "FP8 by way of bfloat16": (packed("fp8"), decoded("fp8.FP8", lambda found: found.bfloat16().float())),
    "AWQ in plain order": (packed("awq"), put("quant.awq.PLACES", tuple(range(8)))),
    "AWQ by way of float16": (packed("awq"), decoded("awq.AWQ", lambda found: found.half().float())),
    "GPTQ without its order": (packed("gptq"), wrapped("adapterops.quant.gptq.column_groups", lambda found, *_: found.sort().values)),
    "GPTQ by way of bfloat16": (packed("gptq"), decoded("gptq.GPTQ", lambda found: found.bfloat16().float())),
    "NF4 codes one too low": (coded("nf4"), wrapped("adapterops.quant.blocks.Nearest._packed", one_too_low)),
    "NF4 scales too large": (coded("nf4"), wrapped("adapterops.quant.blocks.Nearest._absmax", lambda found, *_: found * 1.25)),
    "int8 codes one too low": (coded("int8"), wrapped("adapterops.quant.int8._Nearest.rows", clipped)),
    "a third of the change": (
        coded("nf4", seed=1),
        wrapped("adapterops.quant.fourbit.FourBit.scales", lambda found, *_: (3 * found[0], found[1])),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "case", list(dict.fromkeys(case for case, _ in FAULTS.values())), ids=lambda case: case.__name__
)
def test_without_a_fault_it_is_verified(case: Callable[[Path], Case], tmp_path: Path) -> None:
    made = case(tmp_path)
    found = check(made, tmp_path / "out")
    assert found.ok, found.problems
    diagnosis = ao.diagnose(ao.open_checkpoint(tmp_path / "out"), made[0], {"a": made[1]})
    assert diagnosis.healthy, diagnosis


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not planted(*FAULTS[name], tmp_path, monkeypatch).ok
