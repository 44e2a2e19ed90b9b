"""Configs and combinations that make no sense: refused with the file, the field or module, and the remedy."""

import json
import subprocess
import sys
import time

import pytest
import torch
from corpus import MODULES, PREFIX, config, deltas, factors, write_adapter
from safetensors.torch import load_file

from adapterops.cli.main import run

Q = MODULES[0]


@pytest.fixture
def refused_config(refused, tmp_path):
    """Refuses a good file under this config, given as text or as the fields that differ from a good one."""

    def check(fields, exit_code, code, *phrases, tensor=None):
        folder = write_adapter(tmp_path / "bad")
        path = folder / "adapter_config.json"
        path.write_bytes(fields if isinstance(fields, bytes) else json.dumps(config(**fields)).encode())
        return refused(["truncate", folder, "--rank", "1"], exit_code, code, path, *phrases, tensor=tensor)

    return check


TEXTS = {
    "not JSON": (b"r = 8", "is not JSON"),
    "cut off": (b'{"r": 8', "is not JSON"),
    "empty": (b"", "is not JSON"),
    "NaN": (b'{"r": 2, "lora_alpha": NaN}', "NaN is not a number"),
    "Infinity": (b'{"r": 2, "lora_alpha": Infinity}', "Infinity is not a number"),
    "a key twice": (b'{"r": 2, "lora_alpha": 4, "r": 3}', "'r' appears twice"),
    "byte-order mark": (b"\xef\xbb\xbf{}", "byte-order mark"),
    "UTF-16": ("{}".encode("utf-16"), "UTF-8"),
    "50 MB": (b" " * 50_000_000, "larger than 1048576 bytes"),
    "nested too deep": (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
    "a number of 5000 digits": (b'{"r": ' + b"9" * 5000 + b"}", "not readable JSON"),
    "alpha that overflows": (b'{"lora_alpha": ' + b"9" * 400 + b"}", "lora_alpha"),
    "alpha that overflows as a float": (b'{"lora_alpha": 1e999}', "lora_alpha: 1e999 is beyond"),
    "201 levels": (b'{"lora_dropout": ' + b"[" * 200 + b"]" * 200 + b"}", "nested more than 200 deep"),
    "half a surrogate": (b'{"base_model_name_or_path": "\\udcff"}', "surrogate"),
}


@pytest.mark.parametrize(("text", "phrase"), TEXTS.values(), ids=TEXTS)
def test_config_that_is_not_strict_json(refused_config, text, phrase):
    refused_config(text, 3, "E-JSON", phrase)


VALUES = {
    "r of 0": ({"r": 0}, "r is 0"),
    "negative r": ({"r": -2}, "r is -2"),
    "r that is true": ({"r": True}, "r is true"),
    "r with a fraction": ({"r": 2.0}, "r is 2.0"),
    "no r": ({"r": None}, "r is null"),
    "alpha of 0": ({"lora_alpha": 0}, "lora_alpha is 0"),
    "negative alpha": ({"lora_alpha": -1}, "lora_alpha is -1"),
    "alpha that is true": ({"lora_alpha": True}, "lora_alpha is true"),
    "rank in a pattern of 0": ({"rank_pattern": {"q_proj": 0}}, "rank_pattern['q_proj'] is 0"),
    "rank pattern that is a list": ({"rank_pattern": ["q_proj"]}, 'rank_pattern is ["q_proj"]'),
    "alpha in a pattern of 0": ({"alpha_pattern": {"q_proj": 0}}, "alpha_pattern['q_proj'] is 0"),
    "use_rslora that is a string": ({"use_rslora": "yes"}, "use_rslora is 'yes'"),
    "base that is a number": ({"base_model_name_or_path": 7}, "base_model_name_or_path is 7"),
}


@pytest.mark.parametrize(("fields", "phrase"), VALUES.values(), ids=VALUES)
def test_impossible_value(refused_config, fields, phrase):
    refused_config(fields, 3, "E-CONFIG", phrase)


def test_config_that_is_a_list(refused_config):
    refused_config(b"[]", 3, "E-CONFIG", "is a list")


def test_rank_that_is_not_that_of_the_tensors(refused_config):
    refused_config({"r": 3}, 3, "E-RANK", "the config says rank 3, the tensors have rank 2", tensor=Q)


def test_pattern_that_is_not_a_regular_expression(refused_config):
    refused_config({"rank_pattern": {"(q_proj": 2}}, 3, "E-PATTERN", "(q_proj", "cannot be used")


@pytest.mark.parametrize("pattern", ["(.*)*X", r"(\w+\.?)+X"])
def test_pattern_that_takes_for_ever(tmp_path, pattern):
    modules = [f"model.{'deep.' * 12}layers.{index}.q_proj" for index in range(3)]
    fields = config(rank_pattern={pattern: 2})
    folder = write_adapter(tmp_path / "bad", factors(modules), fields)
    begin = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-m", "adapterops", "show", folder], capture_output=True, text=True, timeout=60
    )
    assert time.monotonic() - begin < 5
    assert child.returncode == 3
    assert "Traceback" not in child.stderr
    assert str(folder / "adapter_config.json") in child.stderr
    assert "take more than" in child.stderr


def test_pattern_that_matches_nothing_is_a_warning(refused, tmp_path, capsys):
    folder = write_adapter(tmp_path / "odd", fields=config(rank_pattern={"k_proj": 8}))
    arguments = ["truncate", folder, "--rank", "1"]
    refused([*arguments, "--strict"], 3, "E-STRICT", "rank_pattern 'k_proj' matches no module")
    assert run([*map(str, arguments), "-o", str(tmp_path / "out")]) == 0
    assert "warning: rank_pattern 'k_proj' matches no module" in capsys.readouterr().err


def test_patterns_that_contradict_each_other_are_a_warning(refused, tmp_path, capsys):
    folder = write_adapter(tmp_path / "odd", fields=config(alpha_pattern={"q_proj": 8, "0.q_proj": 16}))
    refused(
        ["truncate", folder, "--rank", "1", "--strict"], 3, "E-STRICT", "several of alpha_pattern match layers.0.q_proj"
    )
    assert run(["show", str(folder)]) == 0
    assert "warning: several of alpha_pattern match layers.0.q_proj" in capsys.readouterr().err


KINDS = {
    "RandLoRA": ({"peft_type": "RANDLORA"}, "peft_type is 'RANDLORA', RandLoRA: it is not handled"),
    "a prompt": ({"peft_type": "P_TUNING"}, "it changes no weight of its base"),
    "a type from the future": ({"peft_type": "QUANTUM"}, "peft_type is 'QUANTUM': it is not handled"),
    "aLoRA": ({"alora_invocation_tokens": [1]}, "aLoRA is active only after certain tokens"),
    "PiSSA": ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4'"),
    "a joined layer of the first PEFT": (
        {"enable_lora": [True, False]},
        "PEFT before 0.3 had LoRA on parts of a joined layer",
    ),
    "a field from the future": ({"use_quantum": True}, "'use_quantum' is set and not known"),
}


@pytest.mark.parametrize(("fields", "phrase"), KINDS.values(), ids=KINDS)
def test_config_of_a_kind_that_is_not_handled(refused_config, fields, phrase):
    refused_config(fields, 4, "E-UNSUPPORTED", phrase)


NAMES = {
    "RandLoRA": f"{PREFIX}{Q}.randlora_gamma",
    "LILY": f"{PREFIX}{Q}.lily_A.weight",
    "PSOFT": f"{PREFIX}{Q}.psoft_R.weight",
    "HRA": f"{PREFIX}{Q}.hra_u",
    "a prompt of virtual tokens": "prompt_embeddings",
    "a full tensor": f"{PREFIX}model.norm.weight",
    "a trained bias that the config does not announce": f"{PREFIX}{Q}.bias",
    "the value head of a critic": "v_head.summary.weight",
    "LoRA in small letters": "base_model.model.layers.0.self_attn.q_proj.lora_a.weight",
    "LoRA in the names of torchtune": "layers.0.attn.q_proj.lora_a.weight",
    "LoRA in the names of NeMo": "model.decoder.layers.0.mlp.linear_fc2.adapter.linear_in.weight",
    "a kohya or diffusers LoRA": "lora_unet_down_blocks_0.lora_down.weight",
    "LoHa in the names of kohya": "lora_unet_down_blocks_0.hada_w1_a",
    "LoKr in the names of kohya": "lora_unet_down_blocks_0.lokr_w1",
    "DoRA in the names of kohya": "lora_unet_down_blocks_0.dora_scale",
}


@pytest.mark.parametrize(("kind", "name"), NAMES.items(), ids=NAMES)
def test_tensor_of_a_kind_that_is_not_handled(refused, tmp_path, kind, name):
    folder = write_adapter(tmp_path / "bad", {**factors(), name: torch.ones(2, 2)})
    refused(
        ["truncate", folder, "--rank", "1"], 4, "E-UNSUPPORTED", folder / "adapter_model.safetensors", kind, tensor=name
    )


def test_dora_without_its_config_and_the_other_way_round(refused, refused_config, tmp_path):
    refused_config({"use_dora": True}, 3, "E-CONFIG", "is LoRA, and the config sets use_dora")
    folder = write_adapter(tmp_path / "dora", {**factors(), f"{PREFIX}{Q}.lora_magnitude_vector": torch.ones(12)})
    refused(["truncate", folder, "--rank", "1"], 3, "E-CONFIG", "is DoRA, and the config does not set use_dora")


def test_biases_of_lora_without_their_config_and_the_other_way_round(refused, refused_config, tmp_path):
    refused_config({"lora_bias": True}, 3, "E-CONFIG", "there are no biases, and it sets lora_bias")
    tensors = {**factors(), f"{PREFIX}{Q}.lora_B.bias": torch.ones(12)}
    folder = write_adapter(tmp_path / "without", tensors)
    refused(["show", folder], 3, "E-CONFIG", "there are biases of LoRA, and the config does not set lora_bias")
    folder = write_adapter(tmp_path / "short", {**factors(), f"{PREFIX}{Q}.lora_B.bias": torch.ones(7)})
    refused(["show", folder], 3, "E-SHAPE", "has a bias of 7 numbers, and LoRA of 12 outputs")


def test_magnitudes_of_another_shape(refused, tmp_path):
    folder = write_adapter(
        tmp_path / "bad", {**factors(), f"{PREFIX}{Q}.lora_magnitude_vector": torch.ones(5)}, config(use_dora=True)
    )
    refused(["show", folder], 3, "E-SHAPE", "lora_magnitude_vector has the shape [5], expected [12]", tensor=Q)


def test_a_part_of_two_kinds(refused, tmp_path):
    folder = write_adapter(tmp_path / "bad", {**factors(), f"{PREFIX}{Q}.hada_w1_a": torch.ones(12, 2)})
    refused(["show", folder], 3, "E-KEY", "has hada_w1_a, which does not belong to LoRA (lora_A, lora_B)", tensor=Q)


LOKR = {"lokr_w1": torch.ones(3, 2), "lokr_w2_a": torch.ones(4, 2), "lokr_w2_b": torch.ones(2, 4)}
WHOLE = {"lokr_w1": torch.ones(3, 2), "lokr_w2": torch.ones(4, 4)}


@pytest.fixture
def lokr(tmp_path):
    """A folder of LoKr, its config with these fields or none."""

    def write(tensors, fields):
        named = {f"{PREFIX}{Q}.{role}": each for role, each in tensors.items()}
        known = {"peft_type": "LOKR", "r": 2, "alpha": 4, "target_modules": ["q_proj"]}
        folder = write_adapter(tmp_path / "lokr", named, {**known, **(fields or {})})
        if fields is None:
            (folder / "adapter_config.json").unlink()
        return folder

    return write


LOKR_CASES = {
    "one factor of two": ({**WHOLE, "lokr_w1_a": torch.ones(3, 2)}, {}, 3, "E-KEY", "does not belong to LoKr (lokr_w1, lokr_w2)"),
    "one matrix of two": ({"lokr_w1": torch.ones(3, 2)}, {}, 3, "E-KEY", "has lokr_w1 but no lokr_w2"),
    "another rank": (LOKR, {"r": 3}, 3, "E-RANK", "the config says rank 3, the tensors have rank 2"),
    "a convolution": ({**WHOLE, "lokr_w2": torch.ones(4, 4, 3)}, {}, 4, "E-UNSUPPORTED", "of a convolution"),
    "for convolutions": (LOKR, {"use_effective_conv2d": True}, 4, "E-UNSUPPORTED", "use_effective_conv2d is set: LoKr of"),
    "of LoRA's config": (LOKR, {"peft_type": "LORA", "alpha": 0, "lora_alpha": 4}, 3, "E-CONFIG", "is LoKr, and the config says LORA"),
    "a scale that nothing says": (
        {**WHOLE, "alpha": torch.tensor(4.0)}, None, 3, "E-RANK", "do not say the rank that alpha is divided by",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tensors", "fields", "exit_code", "code", "phrase"), LOKR_CASES.values(), ids=LOKR_CASES)
def test_lokr_that_is_not_whole_or_not_handled(refused, lokr, tensors, fields, exit_code, code, phrase):
    refused(["truncate", lokr(tensors, fields), "--rank", "1"], exit_code, code, phrase)


def test_lokr_without_a_config_has_the_rank_of_its_factors(lokr, capsys):
    folder = lokr({**LOKR, "alpha": torch.tensor(4.0)}, None)
    assert run(["show", str(folder), "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    assert (group["rank"], group["alpha"], group["scale"]) == (2, 4, 2)


def test_a_saved_module_that_is_not_in_the_file(refused, tmp_path):
    folder = write_adapter(tmp_path / "bad")
    (folder / "adapter_config.json").write_text(json.dumps(config(modules_to_save=["lm_head"])))
    refused(["truncate", folder, "--rank", "1"], 3, "E-KEY", folder, "modules_to_save names 'lm_head'", "--base")


@pytest.mark.parametrize(
    "fields", [{"modules_to_save": "lm_head"}, {"modules_to_save": [1]}, {"bias": "some"}], ids=str
)
def test_impossible_saved_modules_and_biases(refused_config, fields):
    refused_config(fields, 3, "E-CONFIG", next(iter(fields)))


def test_whole_tensors_cannot_be_added(refused, tmp_path):
    head = {f"{PREFIX}lm_head.weight": torch.ones(5, 8), f"{PREFIX}{Q}.base_layer.bias": torch.ones(12)}
    whole = write_adapter(tmp_path / "whole", {**factors(), **head}, config(modules_to_save=["lm_head"], bias="all"))
    plain = write_adapter(tmp_path / "plain")
    refused(["merge", plain, whole], 4, "E-UNSUPPORTED", whole, "cannot be added", tensor=f"{Q}.bias")
    refused(["merge", whole, "-w", "0.5"], 4, "E-UNSUPPORTED", whole, "cannot be scaled")
    assert run(["truncate", str(whole), "--rank", "1", "-o", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["modules_to_save"] == ["lm_head"]
    for name, tensor in head.items():
        assert torch.equal(load_file(tmp_path / "out" / "adapter_model.safetensors")[name], tensor)


def test_whole_tensors_that_all_have_alike_are_kept(refused, tmp_path):
    head = {f"{PREFIX}lm_head.weight": torch.ones(5, 8)}
    a, b = (write_adapter(tmp_path / each, {**factors(), **head}, config(modules_to_save=["lm_head"])) for each in "ab")
    assert run(["merge", str(a), str(b), "--ties", "-w", "0.7,0.3", "-o", str(tmp_path / "kept")]) == 0
    out = tmp_path / "kept"
    assert torch.equal(load_file(out / "adapter_model.safetensors")[f"{PREFIX}lm_head.weight"], torch.ones(5, 8))
    assert json.loads((out / "adapter_config.json").read_text())["modules_to_save"] == ["lm_head"]
    other = {f"{PREFIX}lm_head.weight": torch.zeros(5, 8)}
    c = write_adapter(tmp_path / "c", {**factors(), **other}, config(modules_to_save=["lm_head"]))
    refused(["merge", a, c], 4, "E-UNSUPPORTED", c, "those that differ cannot be added", tensor="lm_head.weight")


def test_tensor_that_belongs_to_nothing(refused, tmp_path):
    folder = write_adapter(tmp_path / "bad", {**factors(), "step": torch.ones(1)})
    refused(
        ["truncate", folder, "--rank", "1"],
        3,
        "E-KEY",
        folder / "adapter_model.safetensors",
        "not the name of a LoRA",
        tensor="step",
    )


def update(tensors, module, scale):
    return (
        scale
        * tensors[f"{PREFIX}{module}.lora_B.weight"].double()
        @ tensors[f"{PREFIX}{module}.lora_A.weight"].double()
    )


def test_rslora_and_plain_lora_add_up_to_the_sum_of_what_they_do(tmp_path):
    plain, scaled = factors(rank=2, seed=1), factors(rank=4, seed=2)
    a = write_adapter(tmp_path / "a", plain, config(2, lora_alpha=4))
    b = write_adapter(tmp_path / "b", scaled, config(4, lora_alpha=6, use_rslora=True))
    assert run(["merge", str(a), str(b), "--scale", "sum", "-o", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["use_rslora"] is False
    for module, found in deltas(tmp_path / "out").items():
        torch.testing.assert_close(
            found, update(plain, module, 4 / 2) + update(scaled, module, 6 / 4**0.5), rtol=1e-5, atol=1e-5
        )


def test_ranks_that_differ_between_modules_are_written_as_they_are(tmp_path):
    mixed = {**factors([Q], rank=2), **factors([MODULES[1]], rank=4)}
    a = write_adapter(tmp_path / "a", mixed, config(2, rank_pattern={"v_proj": 4}, alpha_pattern={"v_proj": 16}))
    b = write_adapter(tmp_path / "b", factors(MODULES[:2], rank=3, seed=5), config(3))
    assert run(["merge", str(a), str(b), "--scale", "sum", "-o", str(tmp_path / "out")]) == 0
    fields = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert fields["r"] == 7
    assert fields["rank_pattern"] == {r"layers\.0\.q_proj": 5, r"layers\.0\.v_proj": 7}
    other = factors(MODULES[:2], rank=3, seed=5)
    for module, scale in ((Q, 4 / 2), (MODULES[1], 16 / 4)):
        expected = update(mixed, module, scale) + update(other, module, 4 / 3)
        torch.testing.assert_close(deltas(tmp_path / "out")[module], expected, rtol=1e-5, atol=1e-5)
    assert run(["show", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("field", ["base_model_name_or_path", "revision"])
def test_different_bases(refused, tmp_path, field):
    a = write_adapter(tmp_path / "a", fields=config(**{field: "one"}))
    b = write_adapter(tmp_path / "b", fields=config(**{field: "two"}))
    refused(["merge", a, b], 4, "E-BASE", a, b, "one", "two", "--allow-base-mismatch")
    assert run(["merge", str(a), str(b), "--allow-base-mismatch", "-o", str(tmp_path / "out")]) == 0


def test_different_bases_of_different_sizes_are_not_said_to_merge_with_a_flag(refused, tmp_path):
    a = write_adapter(tmp_path / "a", fields=config(base_model_name_or_path="one"))
    b = write_adapter(tmp_path / "b", fields=config(base_model_name_or_path="two"), into=10)
    refused(["merge", a, b], 4, "E-SHAPE", Q, "different shapes", "trained on one base model")


def test_different_shapes_of_one_module(refused, tmp_path):
    a, b = write_adapter(tmp_path / "a"), write_adapter(tmp_path / "b", into=10)
    refused(["merge", a, b], 4, "E-SHAPE", a, b, "[12, 8]", "[12, 10]", tensor=Q)


def test_no_module_in_common(refused, tmp_path):
    a, b = write_adapter(tmp_path / "a"), write_adapter(tmp_path / "b", modules=["layers.9.up_proj"])
    refused(["merge", a, b], 4, "E-OVERLAP", a, b, "0 of 1 modules overlap", "layers.9.up_proj")


def test_modules_of_one_root_under_two_prefixes(refused, tmp_path):
    a, b = write_adapter(tmp_path / "a"), write_adapter(tmp_path / "b", modules=["model.layers.9.up_proj"])
    refused(["merge", a, b], 4, "E-SPELLING", a, b, Q, "model.layers.9.up_proj", "--base")


@pytest.mark.parametrize("mean", [[], ["--full", "mean"]])
def test_heads_of_different_shapes_have_no_mean_to_offer(refused, tmp_path, mean):
    folders = []
    for name, labels in (("a", 2), ("b", 3)):
        tensors = {**factors(), f"{PREFIX}score.weight": torch.ones(labels, 8)}
        folders.append(write_adapter(tmp_path / name, tensors, config(modules_to_save=["score"])))
    a, b = folders
    error = refused(["merge", a, b, *mean], 4, "E-UNSUPPORTED", b, a, "[3, 8]", "[2, 8]", tensor="score.weight")
    assert "--full" not in str(error)
