"""What diffusers calls the layers of its models: the table is what the models have."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import LoraModel

from adapterops.errors import UnsupportedError
from adapterops.formats.diffusion.layers import TABLE, check_wrapped, layers, missing, without_lora

pytest.importorskip("diffusers")


def test_the_table_is_written_by_its_program() -> None:
    import image_layers

    models = {each.__name__: each for each in image_layers.models()}
    assert layers().keys() == models.keys()
    for name in ("Flux2Transformer2DModel", "HiDreamImageTransformer2DModel", "WanTransformer3DModel"):
        assert image_layers.written(models[name]) in TABLE.read_text().splitlines()


def test_names_are_judged_by_the_models_that_have_most_of_them() -> None:
    assert missing(["transformer_blocks_0_attn_to_q", "transformer_blocks_59_img_mod_1"]) == set()
    assert missing(["transformer_blocks_0_img_mod_1", "single_transformer_blocks_0_proj_mlp"]) == set()
    assert missing(["transformer_blocks_0_audio_attn1_to_gate_logits", "prompt_adaln_linear"]) == set()
    assert missing(["blocks_0_attn1_to_q", "fps_projection_net_2"]) == set()
    assert missing(["one", "other", "proj_out"]) is None
    assert missing([]) == set()


WITHOUT = {
    "SanaTransformer2DModel": "transformer_blocks.0.ff.conv_depth",
    "HiDreamImageTransformer2DModel": "double_stream_blocks.0.block.ff_i.gate",
    "AceStepTransformer1DModel": "proj_out_conv",
}


@pytest.mark.parametrize("model", WITHOUT)
@pytest.mark.filterwarnings("ignore")
def test_weights_that_peft_has_no_lora_for(model: str) -> None:
    import diffusers
    import image_layers

    (given, *_) = image_layers.GIVEN.get(model, [{"num_hidden_layers": 1} if "Ace" in model else {"num_layers": 1}])
    with torch.device("meta"):
        made = getattr(diffusers, model)(**given)
        with pytest.raises((ValueError, NotImplementedError), match=r"Targeting a Conv|is not supported"):
            LoraModel(made, LoraConfig(target_modules=[WITHOUT[model]], r=4), "default")
    grouped = {name for name, each in made.named_modules() if getattr(each, "groups", 1) > 1}
    assert without_lora(f"transformer.{WITHOUT[model]}")
    with pytest.raises(UnsupportedError, match="PEFT would end with an error"):
        check_wrapped(["x_embedder", WITHOUT[model]], "PEFT")
    named = {name for name, _ in made.named_modules() if without_lora(f"transformer.{name}")}
    assert grouped <= named
    assert not any(isinstance(made.get_submodule(name), torch.nn.Linear) for name in named)


def test_no_other_layer_is_taken_for_one_of_these() -> None:
    found = {(model, name) for model, names in layers().items() for name in names if without_lora(name)}
    assert {name for _, name in found} == {"transformer_blocks_0_ff_conv_depth"}
    assert all(model.startswith("Sana") for model, _ in found)
