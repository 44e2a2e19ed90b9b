"""Exact low-rank arithmetic: the (out, in) matrix is formed only where a method needs its entries."""
