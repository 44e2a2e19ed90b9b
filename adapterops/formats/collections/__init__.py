"""Collections: many adapters in one file, which share what they have in common."""
