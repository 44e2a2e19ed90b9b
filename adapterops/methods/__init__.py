"""Ways to combine updates. Each is a function under `@method`; flags, help and checks are generated from it."""

from adapterops.methods import linear, sparse
from adapterops.methods.registry import METHODS, PARAMETERS, Method, method

__all__ = ["METHODS", "PARAMETERS", "Method", "linear", "method", "sparse"]
