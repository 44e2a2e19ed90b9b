"""Models that run, for those who have transformers and PEFT."""
