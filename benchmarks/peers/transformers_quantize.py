"""A whole model in 4 bits with transformers and bitsandbytes: `transformers_quantize.py BASE OUT`."""

import sys

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
model = AutoModelForCausalLM.from_pretrained(
    sys.argv[1], quantization_config=config, dtype=torch.bfloat16, device_map="cpu"
)
model.save_pretrained(sys.argv[2])
