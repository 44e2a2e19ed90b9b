"""Schemes of quantization: how a weight is stored in few bits, and what it stands for."""
