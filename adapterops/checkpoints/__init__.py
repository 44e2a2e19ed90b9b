"""Opened models, and saving them."""
