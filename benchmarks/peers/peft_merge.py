"""PEFT's add_weighted_adapter: `peft_merge.py A B OUT cat LAYERS`, or `... ties_svd LAYERS`. Prints the seconds of the
merge alone.

The model has Qwen2.5-0.5B's layers, at most LAYERS of them, and a small vocabulary, so that it is cheap to make.
"""

import sys
import time
import warnings

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import Qwen2Config, Qwen2ForCausalLM

warnings.simplefilter("ignore")
a, b, out, kind, layers = *sys.argv[1:5], int(sys.argv[5])
config = Qwen2Config(
    vocab_size=1000,
    hidden_size=896,
    intermediate_size=4864,
    num_hidden_layers=layers,
    num_attention_heads=14,
    num_key_value_heads=2,
)
torch.nn.init.normal_ = torch.nn.init.uniform_ = lambda tensor, *_, **__: (
    tensor
)  # the weights of the base do not matter
model = Qwen2ForCausalLM(config)
if layers == 24:
    model = PeftModel.from_pretrained(model, a, adapter_name="a")
    model.load_adapter(b, adapter_name="b")
else:
    fields = LoraConfig.from_pretrained(a)
    model = PeftModel(model, fields, adapter_name="a")
    model.add_adapter("b", LoraConfig.from_pretrained(b))
    for name, path in (("a", a), ("b", b)):
        tensors = load_file(f"{path}/adapter_model.safetensors")
        kept = {key: value for key, value in tensors.items() if int(key.split(".layers.")[1].split(".")[0]) < layers}
        set_peft_model_state_dict(model, kept, adapter_name=name)
begin = time.perf_counter()
options = {} if kind == "cat" else {"svd_rank": 16, "density": 0.2}
model.add_weighted_adapter(["a", "b"], [1.0, 1.0], "merged", combination_type=kind, **options)
print(time.perf_counter() - begin)
model.save_pretrained(out, selected_adapters=["merged"])
