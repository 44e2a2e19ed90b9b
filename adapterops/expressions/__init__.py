"""Expressions of adapters: reading them and computing them."""
