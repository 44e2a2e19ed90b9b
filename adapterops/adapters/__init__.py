"""Opened adapters, and saving them."""
