"""The files of a model, and what the names in them mean."""
