"""Ways to combine updates. Each is a function under `@method`; flags, help and checks are generated from it."""

from adapterops.methods.registry import METHODS, Method, Parameter, method

__all__ = ["METHODS", "Method", "Parameter", "method"]
