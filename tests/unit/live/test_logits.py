"""What is compared with `--logits`, against the models of transformers themselves; whole commands are in tests/interop."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import adapted, qwen
from transformers import CLIPVisionConfig, Qwen2Config, T5Config, WhisperConfig

import adapterops as ao
from adapterops.errors import InputError, NotFoundError, OptionError, UnjudgedError, VerificationError
from adapterops.live import logits
from adapterops.live.grams import grams
from adapterops.live.logits import check_comparable, compare, model_class, without_bars


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    adapted(qwen(folder / "base"), folder / "a", target_modules=["q_proj", "down_proj"])
    base, adapter = ao.open_checkpoint(folder / "base"), ao.open_adapter(folder / "a")
    ao.save_checkpoint(ao.fuse(base, adapter), folder / "fused")
    ao.save_checkpoint(ao.fuse(base, 1.1 * adapter), folder / "wrong")
    return folder


def test_a_merge_is_within_the_rounding_of_its_layers(place: Path) -> None:
    model, adapter = ao.open_checkpoint(place / "fused"), ao.open_adapter(place / "a")
    check_comparable(model, adapter)
    found = compare(model, place / "base", adapter, "F32")
    assert found["relative"] <= found["bound"]
    assert math.isclose(found["bound"], 8 * math.sqrt(2) * 2**-23 + 1e-5), "of two layers"
    wide = compare(model, place / "base", adapter, "BF16")
    assert math.isclose(wide["bound"], 8 * math.sqrt(2) * 2**-7 + 1e-5)


def test_a_tenth_too_much_is_found(place: Path) -> None:
    with pytest.raises(VerificationError, match="the logits differ by"):
        compare(ao.open_checkpoint(place / "wrong"), place / "base", ao.open_adapter(place / "a"), "F32")


def test_what_keeps_it_from_being_done_is_said_before_any_work(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, adapter = ao.open_checkpoint(place / "fused"), ao.open_adapter(place / "a")
    with pytest.raises(OptionError, match="this model is quantized"):
        check_comparable(ao.quantize(model, "int8"), adapter)
    with pytest.raises(OptionError, match="names no class of transformers"):
        check_comparable(replace(model, config={}), adapter)
    shutil.copy(next((place / "fused").glob("*.safetensors")), place / "alone.safetensors")
    alone = ao.open_checkpoint(place / "alone.safetensors")
    for refused in (lambda: check_comparable(alone, adapter), lambda: grams(alone, ["a"])):
        with pytest.raises(OptionError, match="loads folders"):
            refused()
    with pytest.raises(OptionError, match="loads folders"):
        compare(model, place / "alone.safetensors", adapter, "F32")
    with pytest.raises(OptionError, match="full rank"):
        check_comparable(model, ao.merge([adapter, adapter], "ties", density=0.5))
    monkeypatch.setattr(logits, "find_spec", {"peft": None}.get)
    with pytest.raises(NotFoundError, match="--logits needs peft") as caught:
        check_comparable(model, adapter)
    assert caught.value.code == "E-NOT-INSTALLED"


def test_a_model_that_transformers_refuses(place: Path, tmp_path: Path) -> None:
    """Its errors have classes of their own."""
    shutil.copytree(place / "fused", tmp_path / "odd")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 12}  # with 32 heads
    (tmp_path / "odd/config.json").write_text(json.dumps(config))
    model = ao.open_checkpoint(tmp_path / "odd")
    with pytest.raises(
        UnjudgedError, match=r"transformers cannot run it .*validat.* multiple of the number of attention heads"
    ):
        compare(model, place / "base", ao.open_adapter(place / "a"), "F32")
    with pytest.raises(OptionError, match=r"transformers cannot run it: .* multiple of the number of attention heads"):
        grams(model, ["some text"])


@pytest.mark.parametrize("error", [MemoryError(), InputError("damaged")])
def test_what_is_no_answer_of_a_library_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)):
        logits.reason(error)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, "Qwen2ForCausalLM"),
        ({"model_type": "qwen2"}, "AutoModel"),
        ({"architectures": ["NoSuchModel"], "model_type": "x"}, None),
        ({}, None),
    ],
)
def test_the_class_is_the_one_that_is_named(place: Path, config: dict[str, Any], name: str | None) -> None:
    found = model_class(replace(ao.open_checkpoint(place / "fused"), config=config))
    assert (found and found.__name__) == name


def test_inputs_are_of_the_size_that_the_config_says() -> None:
    words = logits._tokens(Qwen2Config(vocab_size=50, bos_token_id=3, eos_token_id=7, pad_token_id=0))
    assert words.shape == (1, 32)
    assert not set(words.flatten().tolist()) & {0, 3, 7}, "special tokens stand for something else"
    assert 0 <= words.min() <= words.max() < 50
    assert logits._image(CLIPVisionConfig(image_size=16, num_channels=1)).shape == (1, 1, 16, 16)
    assert logits._sound(WhisperConfig(num_mel_bins=5, max_source_positions=9)).shape == (1, 5, 18)
    assert logits._layers(T5Config(num_layers=3, num_decoder_layers=4)) == 7


def test_how_far_is_a_fraction_of_what_was_wanted() -> None:
    assert math.isclose(logits._far(torch.tensor([3.0, 9.0]), torch.tensor([3.0, 4.0])), 1.0)


@pytest.mark.parametrize("shown", [True, False])
def test_transformers_shows_no_bars_for_a_while(shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import logging

    monkeypatch.setattr(logging, "_tqdm_active", shown)
    with without_bars():
        assert not logging.is_progress_bar_enabled()
    assert logging.is_progress_bar_enabled() == shown
