"""Recipes: what to make, of what, and where it goes, in a file."""
