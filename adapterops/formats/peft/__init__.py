"""PEFT's format: names, config, folder."""
